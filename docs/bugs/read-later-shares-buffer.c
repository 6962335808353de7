/*
 * Two READs of a file that can be polled and that complete later get the same buffer of a ring.
 *
 * suites/commit/test_later.py::test_two_on_their_way_have_two_buffers[ring], by hand: a second process answers for the
 * file, which is FUSE's, mounted nowhere, and is read past the page cache. A file that can be polled does not have its
 * buffer committed as it is selected; io_read() then takes -EIOCBQUEUED (IOU_ISSUE_SKIP_COMPLETE) for a failure and
 * puts the buffer back while the file system has still to write to it. So the next READ gets it too, and neither
 * completion has IORING_CQE_F_BUFFER (6.16, 6.17: both have it, with the same id).
 *
 * Exit status: 1 where the two READs are not told two buffers, 0 where they are, 77 without buffer rings, FUSE or root.
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

#define ROOM 64
#define LENGTH (2 * ROOM)
#define BGID 7
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
			for (size_t at = 0; at < size; at++)
				told.data[at] = wanted->offset + at < ROOM ? 'a' : 'b';
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

struct reg {
	unsigned long long ring_addr;
	unsigned int ring_entries;
	unsigned short bgid, flags;
	unsigned long long resv[3];
};

int main(void)
{
	struct io_uring_params params = { 0 };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqes;
	struct io_uring_buf *slots;
	struct reg reg = { .ring_entries = 4, .bgid = BGID };
	unsigned int *head, *tail, *array;
	int line = open("/dev/fuse", O_RDWR), root, file, ring, told[2] = { -1, -1 };
	static char buffers[2][ROOM];
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
	slots = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	need(queues != MAP_FAILED && sqe != MAP_FAILED && slots != MAP_FAILED, "mmap");
	head = (void *)(queues + params.cq_off.head);
	tail = (void *)(queues + params.cq_off.tail);
	cqes = (void *)(queues + params.cq_off.cqes);
	array = (void *)(queues + params.sq_off.array);

	reg.ring_addr = (unsigned long)slots;
	need(!syscall(427 /* io_uring_register */, ring, 22 /* REGISTER_PBUF_RING */, &reg, 1), "REGISTER_PBUF_RING");
	for (unsigned int i = 0; i < 2; i++) {
		slots[i].addr = (unsigned long)buffers[i];
		slots[i].len = ROOM;
		slots[i].bid = i;
		sqe[i] = (struct io_uring_sqe){
			.opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT, .fd = file, .off = i * ROOM, .len = ROOM,
			.buf_group = BGID, .user_data = i,
		};
		array[i] = i;
	}
	__atomic_store_n(&slots[0].resv, 2, __ATOMIC_RELEASE);	/* the ring's tail */
	__atomic_store_n((unsigned int *)(queues + params.sq_off.tail), 2, __ATOMIC_RELEASE);
	need(syscall(426 /* io_uring_enter */, ring, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0) == 2, "io_uring_enter");

	for (int i = 0; i < 2; i++) {
		struct io_uring_cqe *cqe = &cqes[*head % params.cq_entries];

		while (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE)) {
			struct pollfd wait = { .fd = ring, .events = POLLIN };

			if (!poll(&wait, 1, 10000))
				need(0, "nothing comes");
		}
		if (cqe->res != ROOM)
			return printf("READ %d: %d\n", (int)cqe->user_data, cqe->res), CANNOT_TELL;
		if (cqe->flags & IORING_CQE_F_BUFFER)
			told[cqe->user_data] = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
		printf("READ %d: %d bytes, flags %#x\n", (int)cqe->user_data, cqe->res, cqe->flags);
		__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	}
	for (int i = 0; i < 2; i++)
		printf("buffer %d holds bytes of %s\n", i,
		       buffers[i][0] == 'a' ? "READ 0" : buffers[i][0] == 'b' ? "READ 1" : "neither");
	return told[0] < 0 || told[1] < 0 || told[0] == told[1];
}
