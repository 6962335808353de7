// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entries of 2 GiB and more, of 64 bytes, and of 2 GiB, 20 bytes for each: told, and it goes
 * on in the next.
 *
 * On host (6.18.44-fc-v657):
 *   assert [<16 bid 3>] == [<36 bid 3 mo...6 bid 1 more>]
 *   At index 0 diff: <16 bid 3> != <36 bid 3 more>
 *   Right contains 2 more items, first extra item: <36 bid 6 more>
 *   Use -v to get more diff
 *
 * Exit status: 1 where the fault is, 0 where it is not, 77 where it cannot tell (git bisect run can use it).
 * Build: cc -Wall -Wextra -O2 reproduce.c -o reproduce
 *
 * Made by ringrig from suites/multishot/test_long_entries.py::test_one_after_the_other[recvmsg_multishot-all_bits],
 * beside the same on source:6.12 (6.12.117-1~deb12u1) [uml].
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif
#ifndef __NR_io_uring_enter
#define __NR_io_uring_enter 426
#endif
#ifndef __NR_io_uring_register
#define __NR_io_uring_register 427
#endif

/* include/uapi/linux/io_uring.h */
#define IORING_SETUP_SQE128       0x400U
#define IORING_SETUP_CQE32        0x800U
#define IORING_SETUP_NO_SQARRAY   0x10000U
#define IORING_ENTER_GETEVENTS    1
#define IORING_ENTER_EXT_ARG      8
#define IORING_OFF_SQ_RING        0
#define IORING_OFF_SQES           0x10000000U
#define IORING_OP_RECVMSG         10
#define IOSQE_BUFFER_SELECT       32
#define IORING_RECV_MULTISHOT     2
#define IORING_REGISTER_PBUF_RING 22

struct io_uring_params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
	struct {
		uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
		uint64_t user_addr;
	} sq_off;
	struct {
		uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
		uint64_t user_addr;
	} cq_off;
};

struct io_uring_sqe {
	uint8_t opcode, flags;
	uint16_t ioprio;
	int32_t fd;
	uint64_t off, addr;
	uint32_t len;
	union { uint32_t rw_flags, msg_flags; };
	uint64_t user_data;
	uint16_t buf_group, personality;
	int32_t splice_fd_in;
	uint64_t addr3, pad2;
};

struct io_uring_buf {
	uint64_t addr;
	uint32_t len;
	uint16_t bid, resv;		/* slot 0: the ring's tail */
};

struct io_uring_buf_reg {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t bgid, flags;
	uint32_t min_left, resv[5];
};

static long result(long res)
{
	return res < 0 ? -errno : res;
}

static const char *say(long long value)
{
	static char text[4][64];
	static unsigned int next;
	char *room = text[next++ % 4];

	if (value < 0 && value > -4096)
		snprintf(room, sizeof(text[0]), "%lld (%s)", value, strerror(-value));
	else
		snprintf(room, sizeof(text[0]), "%lld (%#llx)", value, (unsigned long long)value);
	return room;
}

/* The way to the call in question must be the recorded one: else nothing can be told. */
static void expect(const char *what, long long got, long long want)
{
	if (got == want)
		return;
	printf("cannot tell: %s: got %s, recorded %s\n", what, say(got), say(want));
	exit(77);
}

static void verdict(const char *what, long long got, long long wrong, long long right)
{
	if (got == right) {
		printf("good: %s: %s\n", what, say(got));
		exit(0);
	}
	if (got == wrong) {
		printf("BAD: %s: got %s, want %s\n", what, say(got), say(right));
		exit(1);
	}
	printf("cannot tell: %s: got %s, want %s, and the fault is %s\n", what, say(got), say(right), say(wrong));
	exit(77);
}

/* On another kernel a call may wait for what never comes. */
static void too_late(int number)
{
	printf("cannot tell: a call does not end (signal %d)\n", number);
	exit(77);
}

/* Zeroed pages of the application's. */
static unsigned char *memory(size_t length)
{
	void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	expect("mmap", addr == MAP_FAILED ? -errno : 0, 0);
	return addr;
}

static long io_uring_register(int fd, unsigned int opcode, const void *arg, unsigned int nr_args)
{
	return result(syscall(__NR_io_uring_register, fd, opcode, arg, nr_args));
}

struct ring {
	int fd;
	struct io_uring_params p;
	unsigned char *queue;		/* SQ and CQ ring */
	unsigned char *sqes;
	unsigned int seen;		/* CQEs that were looked at */
};

static uint32_t *at(const struct ring *r, uint32_t offset)
{
	return (uint32_t *)(r->queue + offset);
}

/* io_uring_setup() and the two mappings: 0 or -errno. */
static long setup(struct ring *r, unsigned int entries, struct io_uring_params p)
{
	size_t queue, sqe = p.flags & IORING_SETUP_SQE128 ? 128 : 64;
	unsigned int i;

	*r = (struct ring){ .p = p };
	r->fd = syscall(__NR_io_uring_setup, entries, &r->p);
	if (r->fd < 0)
		return -errno;
	queue = r->p.cq_off.cqes + r->p.cq_entries * (p.flags & IORING_SETUP_CQE32 ? 32 : 16);
	if (queue < r->p.sq_off.array + r->p.sq_entries * 4)
		queue = r->p.sq_off.array + r->p.sq_entries * 4;
	r->queue = mmap(NULL, queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sqe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		       IORING_OFF_SQES);
	expect("mmap of the io_uring", r->queue == MAP_FAILED || r->sqes == MAP_FAILED ? -errno : 0, 0);
	for (i = 0; i < r->p.sq_entries && !(p.flags & IORING_SETUP_NO_SQARRAY); i++)
		at(r, r->p.sq_off.array)[i] = i;
	return 0;
}

/* Queue a request, and let the kernel see it. */
static void push(struct ring *r, struct io_uring_sqe sqe)
{
	uint32_t *tail = at(r, r->p.sq_off.tail), slot = *tail & (r->p.sq_entries - 1);

	memcpy(r->sqes + slot * (r->p.flags & IORING_SETUP_SQE128 ? 128 : 64), &sqe, sizeof(sqe));
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}

static long enter_with(struct ring *r, unsigned int to_submit, unsigned int wait, unsigned int flags)
{
	struct { int64_t sec, nsec; } limit = { .sec = 10 };
	struct { uint64_t sigmask; uint32_t size, pad; uint64_t ts; } arg = { .ts = (uintptr_t)&limit };

	if (!(flags & IORING_ENTER_EXT_ARG))
		return result(syscall(__NR_io_uring_enter, r->fd, to_submit, wait, flags, NULL, 0));
	return result(syscall(__NR_io_uring_enter, r->fd, to_submit, wait, flags, &arg, sizeof(arg)));
}

/* io_uring_enter(), for 10 s at most: SQEs that were consumed, or -errno. */
static long enter(struct ring *r, unsigned int to_submit, unsigned int wait)
{
	return enter_with(r, to_submit, wait, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG);
}

/* CQEs that nobody has looked at. */
static long completions(struct ring *r)
{
	return __atomic_load_n(at(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) - r->seen;
}

/* Fill a slot of a buffer ring, and leave the tail alone, which lies in slot 0. */
static void buf_ring_add(void *ring, unsigned int slot, uint64_t addr, uint32_t len, uint16_t bid)
{
	struct io_uring_buf *buf = (struct io_uring_buf *)ring + slot;

	buf->addr = addr;
	buf->len = len;
	buf->bid = bid;
}

static void buf_ring_tail(void *ring, uint16_t tail)
{
	__atomic_store_n(&((struct io_uring_buf *)ring)->resv, tail, __ATOMIC_RELEASE);
}

int main(void)
{
	struct ring ring1;
	unsigned char *mem1, *br1;
	int sock1[2];
	struct iovec iov1[1];
	struct msghdr msg1;

	signal(SIGALRM, too_late);
	alarm(60);
	expect("io_uring_setup", setup(&ring1, 8, (struct io_uring_params){ 0 }), 0);
	mem1 = memory(4096);
	br1 = memory(4096);
	expect("IORING_REGISTER_PBUF_RING", io_uring_register(ring1.fd, IORING_REGISTER_PBUF_RING,
		&(struct io_uring_buf_reg){ .ring_addr = (uintptr_t)br1, .ring_entries = 8, .bgid = 7 }, 1), 0);
	expect("socketpair", result(socketpair(AF_UNIX, SOCK_STREAM, 0, sock1)), 0);
	iov1[0] = (struct iovec){ .iov_len = 0 };
	msg1 = (struct msghdr){ .msg_iov = iov1, .msg_iovlen = 1 };
	buf_ring_add(br1, 0, (uintptr_t)(mem1 + 192), 0xffffffffULL, 3);
	buf_ring_add(br1, 1, (uintptr_t)(mem1 + 384), 64, 6);
	buf_ring_add(br1, 2, (uintptr_t)(mem1 + 64), 0xffffffffULL, 1);
	buf_ring_add(br1, 3, (uintptr_t)mem1, 64, 8);
	buf_ring_tail(br1, 4);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_RECVMSG, .flags = IOSQE_BUFFER_SELECT,
		.ioprio = IORING_RECV_MULTISHOT, .fd = sock1[0], .addr = (uintptr_t)&msg1, .len = 1,
		.user_data = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 0), 1);

	/* What is in question: completions that are left. The fault, then what is right: */
	verdict("completions that are left", completions(&ring1), 1, 0);
}
