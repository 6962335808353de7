/*
 * 6.12.117, IORING_SETUP_DEFER_TASKRUN: the ring's eventfd is told once that a request can go on, and never again.
 *
 * suites/commit/test_eventfd.py::test_each_completion_tells[recv-deferring-ring], by hand. io_req_local_work_add() lets
 * io_eventfd_signal() defer each of these (IOU_F_TWQ_IN_WAKE), for which IO_EVENTFD_OP_SIGNAL_BIT is set; nobody clears it.
 * 7.3.4's io_eventfd_do_signal() does.
 *
 * Exit status: 1 where the second is not told, 0 where it is, 77 without buffer rings or DEFER_TASKRUN.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SINGLE_ISSUER (1u << 12)
#define DEFER_TASKRUN (1u << 13)
#define GETEVENTS 1

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
	/* sq_entries, cq_entries, flags, …; sq_off from 10 on: head, tail, ring_mask, ring_entries, flags, dropped, array */
	unsigned int p[30] = { [2] = SINGLE_ISSUER | DEFER_TASKRUN }, round;
	int fd = syscall(425 /* io_uring_setup */, 4, p), socks[2], bell = eventfd(0, EFD_NONBLOCK);
	struct buf *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct reg reg = { .ring_addr = (unsigned long)ring, .ring_entries = 8, .bgid = 7 };
	struct pollfd told = { .fd = bell, .events = POLLIN };
	struct sqe *sqes;
	char *queue;
	eventfd_t count;

	if (fd < 0 || ring == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, socks) ||
	    syscall(427 /* io_uring_register */, fd, 22 /* REGISTER_PBUF_RING */, &reg, 1) ||
	    syscall(427, fd, 4 /* REGISTER_EVENTFD */, &bell, 1))
		return 77;
	for (round = 0; round < 2; round++) {
		ring[round].addr = (unsigned long)(memory + round * 64);
		ring[round].len = 64;
		ring[round].bid = 5 + round;
	}
	__atomic_store_n(&ring[0].tail, 2, __ATOMIC_RELEASE);

	queue = mmap(NULL, p[16] + p[0] * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sqes = mmap(NULL, p[0] * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x10000000);
	if (queue == MAP_FAILED || sqes == MAP_FAILED)
		return 77;
	for (round = 0; round < 2; round++) {
		sqes[round] = (struct sqe){ .opcode = 27 /* RECV */, .flags = 1 << 5 /* BUFFER_SELECT */, .fd = socks[0],
					    .buf_group = 7 };
		((unsigned int *)(queue + p[16]))[round] = round;
		__atomic_store_n((unsigned int *)(queue + p[11]), round + 1, __ATOMIC_RELEASE);
		if (syscall(426 /* io_uring_enter */, fd, 1, 0, 0, NULL, 0) != 1 || poll(&told, 1, 0) != 0)
			return 77;
		if (write(socks[1], "data", 4) != 4)
			return 77;
		if (poll(&told, 1, 2000) != 1) {
			printf("%s: data came for receive %u, and the eventfd is told nothing\n", round ? "BAD" : "cannot tell",
			       round + 1);
			return round ? 1 : 77;
		}
		if (syscall(426, fd, 0, 1, GETEVENTS, NULL, 0) < 0 || eventfd_read(bell, &count))
			return 77;
	}
	puts("good");
	return 0;
}
