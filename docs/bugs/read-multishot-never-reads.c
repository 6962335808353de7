/*
 * READ_MULTISHOT of a file that blocks and has no read_iter (inotify) waits for ever, though there is something to be read.
 *
 * suites/select/test_kinds_of_files.py::test_one_event_after_the_other[read_multishot-inotify-there-locked-blocking-ring], by
 * hand. loop_rw_iter() cannot ask such a file not to block: -EAGAIN, by which a READ goes to a worker; io_read_mshot() takes it
 * for "nothing there" and waits for the next poll. With O_NONBLOCK, or by a worker (IOSQE_ASYNC), it is read.
 *
 * Exit status: 1 where nothing is read, 0 where the event is, 77 without buffer rings, READ_MULTISHOT or inotify.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sqe {
	unsigned char opcode, flags;
	unsigned short ioprio;
	int fd;
	unsigned long long off, addr;
	unsigned int len, msg_flags;
	unsigned long long user_data;
	unsigned short buf_group, personality;
	int file_index;
	unsigned long long addr3, pad;
};

struct buf {
	unsigned long long addr;
	unsigned int len;
	unsigned short bid, tail;
};

struct reg {
	unsigned long long ring_addr;
	unsigned int ring_entries;
	unsigned short bgid, flags;
	unsigned long long resv[3];
};

static char memory[4096];

int main(void)
{
	/* sq_entries, …; sq_off from 10 on: head, tail, …, array; cq_off from 20 on: head, tail, …, cqes */
	unsigned int p[30] = { 0 }, *tail;
	int fd = syscall(425 /* io_uring_setup */, 4, p), events = inotify_init1(0), tries, *cqe;
	struct buf *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct reg reg = { .ring_addr = (unsigned long)ring, .ring_entries = 8, .bgid = 7 };
	struct pollfd readable = { .fd = events, .events = POLLIN };
	char path[] = "/tmp/inotifyXXXXXX", *queue;
	int file = mkstemp(path);
	struct sqe *sqes;

	if (fd < 0 || ring == MAP_FAILED || syscall(427 /* io_uring_register */, fd, 22 /* REGISTER_PBUF_RING */, &reg, 1))
		return 77;
	if (events < 0 || file < 0 || inotify_add_watch(events, path, IN_ATTRIB) < 0 || fchmod(file, 0600) || unlink(path))
		return 77;
	ring[0].addr = (unsigned long)memory;
	ring[0].len = sizeof(memory);
	ring[0].bid = 5;
	__atomic_store_n(&ring[0].tail, 1, __ATOMIC_RELEASE);

	queue = mmap(NULL, p[25] + p[1] * 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sqes = mmap(NULL, p[0] * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x10000000);
	if (queue == MAP_FAILED || sqes == MAP_FAILED || poll(&readable, 1, 0) != 1)
		return 77;
	sqes[0] = (struct sqe){ .opcode = 49 /* READ_MULTISHOT */, .flags = 1 << 5 /* BUFFER_SELECT */, .fd = events,
				.off = -1ULL, .buf_group = 7 };
	((unsigned int *)(queue + p[16]))[0] = 0;
	__atomic_store_n((unsigned int *)(queue + p[11]), 1, __ATOMIC_RELEASE);
	if (syscall(426 /* io_uring_enter */, fd, 1, 0, 0, NULL, 0) != 1)
		return 77;

	tail = (unsigned int *)(queue + p[21]);
	for (tries = 0; tries < 2000 && !__atomic_load_n(tail, __ATOMIC_ACQUIRE); tries++)
		usleep(1000);
	if (!*tail) {
		printf("BAD: nothing is read in two seconds; poll() says that there is something: %d\n", poll(&readable, 1, 0));
		return 1;
	}
	cqe = (int *)(queue + p[25]);
	printf("res %d, flags %#x\n", cqe[2], cqe[3]);
	return cqe[2] == -22 /* EINVAL */ ? 77 : cqe[2] < (int)sizeof(struct inotify_event);
}
