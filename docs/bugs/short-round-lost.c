/*
 * READ_MULTISHOT of a regular file that can be polled: what a short round got is lost.
 *
 * suites/multishot/test_later.py::test_a_short_round_is_told, by hand: a second process answers for the file, which
 * is FUSE's, mounted nowhere. It holds 100 bytes and is read past the page cache into buffers of 64. After the second
 * round's 36 bytes __io_read() wants the rest, as of any regular file, and gets -EAGAIN; io_read_mshot() puts the
 * buffer back, and the next round goes on at the end of the file: nobody is told of the 36 bytes in it.
 *
 * Exit status: 1 where fewer bytes are told than the file has, 0 where all are, 77 without READ_MULTISHOT, FUSE, root.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH 100
#define ROOM 64
#define BUFFERS 4
#define READ_MULTISHOT 49
#define CANNOT_TELL 77

static void need(int fine, const char *what)
{
	if (!fine) {
		perror(what);
		exit(CANNOT_TELL);
	}
}

/* The root of a new FUSE file system, a regular file: fsopen(), fsconfig(), fsmount(). */
static int mount_file(int line)
{
	char number[16];
	const char *options[][2] = {
		{ "fd", number }, { "rootmode", "100444" }, { "user_id", "0" }, { "group_id", "0" },
	};
	int fs = syscall(430 /* fsopen */, "fuse", 0), root;

	need(fs >= 0, "fsopen");
	snprintf(number, sizeof(number), "%d", line);
	for (int i = 0; i < 4; i++)
		need(!syscall(431 /* fsconfig */, fs, 1 /* SET_STRING */, options[i][0], options[i][1], 0), "fsconfig");
	need(!syscall(431, fs, 6 /* CMD_CREATE */, NULL, NULL, 0), "fsconfig");
	root = syscall(432 /* fsmount */, fs, 0, 0);
	need(root >= 0, "fsmount");
	close(fs);
	return root;
}

/* Answers for the file until it is gone. */
static void serve(int line)
{
	static char asked[FUSE_MIN_READ_BUFFER];
	static struct {
		struct fuse_out_header head;
		union {
			struct fuse_init_out init;
			struct fuse_attr_out attr;
			struct fuse_open_out open;
			char data[LENGTH];
		};
	} told;
	struct fuse_in_header *head = (void *)asked;
	struct fuse_read_in *wanted = (void *)(head + 1);

	while (read(line, asked, sizeof(asked)) > 0) {
		size_t size = 0;

		memset(&told, 0, sizeof(told));
		told.head.unique = head->unique;
		switch (head->opcode) {
		case FUSE_INIT:
			told.init.major = 7;
			told.init.minor = 31;
			told.init.flags = FUSE_ASYNC_DIO;
			told.init.max_background = told.init.congestion_threshold = 16;
			told.init.max_write = 4096;
			size = sizeof(told.init);
			break;
		case FUSE_GETATTR:
			told.attr.attr_valid = 3600;
			told.attr.attr.ino = told.attr.attr.nlink = 1;
			told.attr.attr.size = LENGTH;
			told.attr.attr.mode = S_IFREG | 0444;
			size = sizeof(told.attr);
			break;
		case FUSE_OPEN:
			size = sizeof(told.open);
			break;
		case FUSE_READ:
			if (wanted->offset < LENGTH)
				size = LENGTH - wanted->offset;
			if (size > wanted->size)
				size = wanted->size;
			memset(told.data, 'x', size);
			break;
		case FUSE_FORGET:
			continue;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			break;
		default:
			told.head.error = -38 /* ENOSYS */;
		}
		told.head.len = sizeof(told.head) + size;
		if (write(line, &told, told.head.len) < 0)
			continue;	/* who asked has gone */
	}
}

int main(void)
{
	struct io_uring_params params = { 0 };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqes;
	unsigned int *head, *tail, *array, told = 0, rounds = 0;
	int line = open("/dev/fuse", O_RDWR), root, file, ring, more = 1;
	static char buffers[BUFFERS][ROOM];
	char *queues, name[32];

	need(line >= 0, "/dev/fuse");
	root = mount_file(line);
	if (!fork()) {
		close(root);
		serve(line);
		_exit(0);
	}
	close(line);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", root);
	file = open(name, O_RDONLY | O_DIRECT);
	need(file >= 0, "the file");

	ring = syscall(425 /* io_uring_setup */, 8, &params);
	need(ring >= 0, "io_uring_setup");
	queues = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*cqes) + params.sq_entries * 4,
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, 8 * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	need(queues != MAP_FAILED && sqe != MAP_FAILED, "mmap");
	head = (void *)(queues + params.cq_off.head);
	tail = (void *)(queues + params.cq_off.tail);
	cqes = (void *)(queues + params.cq_off.cqes);
	array = (void *)(queues + params.sq_off.array);

	sqe[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_PROVIDE_BUFFERS, .fd = BUFFERS, .addr = (unsigned long)buffers, .len = ROOM, .buf_group = 1,
	};
	sqe[1] = (struct io_uring_sqe){
		.opcode = READ_MULTISHOT, .flags = IOSQE_BUFFER_SELECT, .fd = file, .buf_group = 1, .user_data = 1,
	};
	for (unsigned int i = 0; i < 2; i++)
		array[i] = i;
	__atomic_store_n((unsigned int *)(queues + params.sq_off.tail), 2, __ATOMIC_RELEASE);
	need(syscall(426 /* io_uring_enter */, ring, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0) == 2, "io_uring_enter");

	while (more) {
		struct io_uring_cqe *cqe = &cqes[*head % params.cq_entries];

		while (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE)) {
			struct pollfd wait = { .fd = ring, .events = POLLIN };

			if (!poll(&wait, 1, 10000))
				need(0, "nothing comes");
		}
		if (cqe->user_data) {
			if (cqe->res == -22 /* EINVAL */ && !rounds)
				return puts("there is no READ_MULTISHOT"), CANNOT_TELL;
			printf("%d, flags %#x\n", cqe->res, cqe->flags);
			told += cqe->res > 0 ? cqe->res : 0;
			more = cqe->flags & IORING_CQE_F_MORE;
			rounds++;
		} else if (cqe->res) {
			return printf("PROVIDE_BUFFERS: %d\n", cqe->res), CANNOT_TELL;
		}
		__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	}
	printf("%u of %d bytes are told\n", told, LENGTH);
	return told != LENGTH;
}
