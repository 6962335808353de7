// SPDX-License-Identifier: GPL-2.0-only
/*
 * One completion: all its bytes, the first bid, the head moved by the buffers that have
 * bytes in them.
 *
 * On debian:6.16 (6.16.12-1~bpo13+1):
 *   assert [(0, 64), (0,... 64), (0, 64)] == [(0, 64), (0,... 64), (0, 64)]
 *   At index 1 diff: (0, 36) != (0, 64)
 *   Use -v to get more diff
 *
 * Exit status: 1 where the fault is, 0 where it is not, 77 where it cannot tell (git bisect run can use it).
 * Build: cc -Wall -Wextra -O2 short-bundle-shrinks-second.c -o short-bundle-shrinks-second
 *
 * Made by ringrig from suites/bundle/test_receive.py::test_a_bundle_fills_buffers_in_order[tcp-ends_within_the_second],
 * beside the same on host (6.18.44-fc-v657).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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
#define IORING_OP_READ            22
#define IORING_OP_RECV            27
#define IOSQE_BUFFER_SELECT       32
#define IORING_RECVSEND_BUNDLE    16
#define IORING_CQE_F_BUFFER       1
#define IORING_CQE_BUFFER_SHIFT   16
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

struct io_uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
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

static long opened(int fd)
{
	return fd < 0 ? -errno : 0;
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

/* The next CQE; a worker of the kernel's may need a moment for it. */
static struct io_uring_cqe next_cqe(struct ring *r)
{
	size_t size = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
	struct io_uring_cqe cqe;
	int tries;

	for (tries = 0; tries < 1000 && !completions(r); tries++)
		usleep(1000);
	expect("is there a completion", completions(r) != 0, 1);
	memcpy(&cqe, r->queue + r->p.cq_off.cqes + (r->seen++ & (r->p.cq_entries - 1)) * size, sizeof(cqe));
	return cqe;
}

static void expect_cqe(struct ring *r, struct io_uring_cqe want)
{
	struct io_uring_cqe got = next_cqe(r);

	if (got.user_data == want.user_data && got.res == want.res && got.flags == want.flags)
		return;
	printf("cannot tell: CQE { %llu, %s, %#x }, recorded { %llu, %s, %#x }\n", (unsigned long long)got.user_data,
	       say(got.res), got.flags, (unsigned long long)want.user_data, say(want.res), want.flags);
	exit(77);
}

/* CQEs are taken off the CQ ring. */
static void advance(struct ring *r, unsigned int count)
{
	uint32_t *head = at(r, r->p.cq_off.head);

	__atomic_store_n(head, *head + count, __ATOMIC_RELEASE);
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

static struct io_uring_buf *buf_ring_slot(void *ring, unsigned int slot)
{
	return (struct io_uring_buf *)ring + slot;
}

/* The bytes 1 to 97, over and over, from the one after the `first`. */
static const unsigned char *cycle(unsigned int first)
{
	static unsigned char text[(1 << 20) + 97];
	unsigned int i;

	for (i = 0; i < sizeof(text) && !text[sizeof(text) - 1]; i++)
		text[i] = i % 97 + 1;
	return text + first;
}

/* What was set going needs a moment to get to where it waits. */
static void settle(void)
{
	usleep(50000);
}

/* Two ends of a TCP connection over loopback: 0 or -errno. */
static long tcp_pair(int ends[2])
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(name);
	int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);

	ends[0] = -1;
	ends[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (server < 0 || bind(server, (void *)&name, size) || listen(server, 1) ||
	    getsockname(server, (void *)&name, &size) || connect(ends[1], (void *)&name, size))
		return -errno;
	ends[0] = accept(server, NULL, NULL);
	setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	close(server);
	return ends[0] < 0 ? -errno : 0;
}

/* Send all: the number of bytes, or -errno. */
static long sent(int fd, const void *data, size_t length)
{
	return result(send(fd, data, length, MSG_NOSIGNAL));
}

int main(void)
{
	struct ring ring1;
	int sock1[2], fd1;
	unsigned char *mem1, *mem2, *br1;

	signal(SIGALRM, too_late);
	alarm(60);
	expect("io_uring_setup", setup(&ring1, 8, (struct io_uring_params){ 0 }), 0);
	expect("tcp_pair", tcp_pair(sock1), 0);
	mem1 = memory(4096);
	memset(mem1, 0xa5, 576);
	mem2 = memory(4096);
	br1 = memory(4096);
	expect("IORING_REGISTER_PBUF_RING", io_uring_register(ring1.fd, IORING_REGISTER_PBUF_RING,
		&(struct io_uring_buf_reg){ .ring_addr = (uintptr_t)br1, .ring_entries = 8, .bgid = 7 }, 1), 0);
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 1);
	expect("open", opened(fd1 = open("/dev/zero", O_RDONLY | O_CLOEXEC, 0600)), 0);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_add(br1, 1, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 2);
	advance(&ring1, 1);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_add(br1, 2, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 3);
	advance(&ring1, 1);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_add(br1, 3, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 4);
	advance(&ring1, 1);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_add(br1, 4, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 5);
	advance(&ring1, 1);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)mem2, 1, 0);
	buf_ring_add(br1, 5, (uintptr_t)mem2, 1, 0);
	buf_ring_tail(br1, 6);
	advance(&ring1, 1);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .flags = IOSQE_BUFFER_SELECT,
		.fd = fd1, .off = -1ULL, .len = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 0, 1,
		IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
	buf_ring_add(br1, 0, (uintptr_t)(mem1 + 320), 64, 32768);
	buf_ring_add(br1, 1, (uintptr_t)(mem1 + 448), 64, 4);
	buf_ring_add(br1, 6, (uintptr_t)(mem1 + 64), 64, 9);
	buf_ring_add(br1, 7, (uintptr_t)(mem1 + 192), 64, 300);
	buf_ring_tail(br1, 10);
	advance(&ring1, 1);
	expect("sendall", sent(sock1[1], cycle(0), 100), 100);
	settle();
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_RECV, .flags = IOSQE_BUFFER_SELECT,
		.ioprio = IORING_RECVSEND_BUNDLE, .fd = sock1[0], .len = 256, .user_data = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 1), 1);
	expect_cqe(&ring1, (struct io_uring_cqe){ 1, 100,
		IORING_CQE_F_BUFFER | 9U << IORING_CQE_BUFFER_SHIFT });

	/* What is in question: len of slot 7. The fault, then what is right: */
	verdict("len of slot 7", buf_ring_slot(br1, 7)->len, 36, 64);
}
