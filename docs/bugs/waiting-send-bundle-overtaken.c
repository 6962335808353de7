// SPDX-License-Identifier: GPL-2.0-only
/*
 * 300 buffers of 100 bytes, a socket that takes a few thousand: 256 are sent in the end, no
 * F_MORE, 44 stay.
 *
 * On debian:6.18 (6.18.15-1~bpo13+1):
 *   assert [<25600 bid 0...400 bid 1792>] == [<25600 bid 0>]
 *   At index 0 diff: <25600 bid 0 more> != <25600 bid 0>
 *   Left contains one more item: <4400 bid 1792>
 *   Use -v to get more diff
 *
 * Exit status: 1 where the fault is, 0 where it is not, 77 where it cannot tell (git bisect run can use it).
 * Build: cc -Wall -Wextra -O2 reproduce.c -o reproduce
 *
 * Made by ringrig from suites/bundle/test_send.py::test_what_had_to_wait_is_the_last_round,
 * beside the same on host (6.18.44-fc-v782).
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
#define IORING_SETUP_SQE128        0x400U
#define IORING_SETUP_CQE32         0x800U
#define IORING_SETUP_NO_SQARRAY    0x10000U
#define IORING_ENTER_GETEVENTS     1
#define IORING_ENTER_EXT_ARG       8
#define IORING_OFF_SQ_RING         0
#define IORING_OFF_SQES            0x10000000U
#define IORING_OP_SEND             26
#define IOSQE_BUFFER_SELECT        32
#define IORING_RECVSEND_BUNDLE     16
#define IORING_CQE_F_BUFFER        1
#define IORING_CQE_F_MORE          2
#define IORING_CQE_F_SOCK_NONEMPTY 4
#define IORING_CQE_BUFFER_SHIFT    16
#define IORING_REGISTER_PBUF_RING  22

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

static int same(const char *what, struct io_uring_cqe got, struct io_uring_cqe other, unsigned int heeded)
{
	printf("%s CQE: user_data %llu, res %s, flags %#x\n", what, (unsigned long long)other.user_data, say(other.res),
	       other.flags);
	return got.user_data == other.user_data && got.res == other.res && !((got.flags ^ other.flags) & heeded);
}

static void verdict_cqe(struct ring *r, struct io_uring_cqe wrong, struct io_uring_cqe right)
{
	/* Not every kernel says of every socket that there is more in it: heeded where only that is in question. */
	unsigned int more = IORING_CQE_F_SOCK_NONEMPTY;
	unsigned int heeded = wrong.res == right.res && (wrong.flags ^ right.flags) == more ? ~0U : ~more;
	struct io_uring_cqe got = next_cqe(r);
	int good = same("wanted", got, right, heeded), bad = same("broken", got, wrong, heeded);

	same("this  ", got, got, heeded);
	puts(good ? "good" : bad ? "BAD" : "cannot tell");
	exit(good ? 0 : bad ? 1 : 77);
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

/* The bytes 1 to 97, over and over, from the one after the `first`. */
static const unsigned char *cycle(unsigned int first)
{
	static unsigned char text[(1 << 20) + 97];
	unsigned int i;

	for (i = 0; i < sizeof(text) && !text[sizeof(text) - 1]; i++)
		text[i] = i % 97 + 1;
	return text + first;
}

int main(void)
{
	struct ring ring1;
	unsigned char *mem1, *br1;
	int sock1[2];
	static unsigned char room[65536];
	unsigned int i;

	signal(SIGALRM, too_late);
	alarm(60);
	expect("io_uring_setup", setup(&ring1, 8, (struct io_uring_params){ 0 }), 0);
	mem1 = memory(53248);
	memset(mem1, 0xa5, 49264);
	br1 = memory(8192);
	expect("IORING_REGISTER_PBUF_RING", io_uring_register(ring1.fd, IORING_REGISTER_PBUF_RING,
		&(struct io_uring_buf_reg){ .ring_addr = (uintptr_t)br1, .ring_entries = 512, .bgid = 7 }, 1), 0);
	for (i = 0; i < 300; i++)
		buf_ring_add(br1, i, (uintptr_t)(mem1 + 64) + 164 * i, 100, 7 * i);
	buf_ring_tail(br1, 300);
	expect("socketpair", result(socketpair(AF_UNIX, SOCK_STREAM, 0, sock1)), 0);
	expect("setsockopt", result(setsockopt(sock1[0], 1, 7, &(int){ 1 }, sizeof(int))), 0);
	memcpy(mem1 + 64, cycle(0), 100);
	memcpy(mem1 + 228, cycle(3), 100);
	memcpy(mem1 + 392, cycle(6), 100);
	memcpy(mem1 + 556, cycle(9), 100);
	memcpy(mem1 + 720, cycle(12), 100);
	memcpy(mem1 + 884, cycle(15), 100);
	memcpy(mem1 + 1048, cycle(18), 100);
	memcpy(mem1 + 1212, cycle(21), 100);
	memcpy(mem1 + 1376, cycle(24), 100);
	memcpy(mem1 + 1540, cycle(27), 100);
	memcpy(mem1 + 1704, cycle(30), 100);
	memcpy(mem1 + 1868, cycle(33), 100);
	memcpy(mem1 + 2032, cycle(36), 100);
	memcpy(mem1 + 2196, cycle(39), 100);
	memcpy(mem1 + 2360, cycle(42), 100);
	memcpy(mem1 + 2524, cycle(45), 100);
	memcpy(mem1 + 2688, cycle(48), 100);
	memcpy(mem1 + 2852, cycle(51), 100);
	memcpy(mem1 + 3016, cycle(54), 100);
	memcpy(mem1 + 3180, cycle(57), 100);
	memcpy(mem1 + 3344, cycle(60), 100);
	memcpy(mem1 + 3508, cycle(63), 100);
	memcpy(mem1 + 3672, cycle(66), 100);
	memcpy(mem1 + 3836, cycle(69), 100);
	memcpy(mem1 + 4000, cycle(72), 100);
	memcpy(mem1 + 4164, cycle(75), 100);
	memcpy(mem1 + 4328, cycle(78), 100);
	memcpy(mem1 + 4492, cycle(81), 100);
	memcpy(mem1 + 4656, cycle(84), 100);
	memcpy(mem1 + 4820, cycle(87), 100);
	memcpy(mem1 + 4984, cycle(90), 100);
	memcpy(mem1 + 5148, cycle(93), 100);
	memcpy(mem1 + 5312, cycle(96), 100);
	memcpy(mem1 + 5476, cycle(2), 100);
	memcpy(mem1 + 5640, cycle(5), 100);
	memcpy(mem1 + 5804, cycle(8), 100);
	memcpy(mem1 + 5968, cycle(11), 100);
	memcpy(mem1 + 6132, cycle(14), 100);
	memcpy(mem1 + 6296, cycle(17), 100);
	memcpy(mem1 + 6460, cycle(20), 100);
	memcpy(mem1 + 6624, cycle(23), 100);
	memcpy(mem1 + 6788, cycle(26), 100);
	memcpy(mem1 + 6952, cycle(29), 100);
	memcpy(mem1 + 7116, cycle(32), 100);
	memcpy(mem1 + 7280, cycle(35), 100);
	memcpy(mem1 + 7444, cycle(38), 100);
	memcpy(mem1 + 7608, cycle(41), 100);
	memcpy(mem1 + 7772, cycle(44), 100);
	memcpy(mem1 + 7936, cycle(47), 100);
	memcpy(mem1 + 8100, cycle(50), 100);
	memcpy(mem1 + 8264, cycle(53), 100);
	memcpy(mem1 + 8428, cycle(56), 100);
	memcpy(mem1 + 8592, cycle(59), 100);
	memcpy(mem1 + 8756, cycle(62), 100);
	memcpy(mem1 + 8920, cycle(65), 100);
	memcpy(mem1 + 9084, cycle(68), 100);
	memcpy(mem1 + 9248, cycle(71), 100);
	memcpy(mem1 + 9412, cycle(74), 100);
	memcpy(mem1 + 9576, cycle(77), 100);
	memcpy(mem1 + 9740, cycle(80), 100);
	memcpy(mem1 + 9904, cycle(83), 100);
	memcpy(mem1 + 10068, cycle(86), 100);
	memcpy(mem1 + 10232, cycle(89), 100);
	memcpy(mem1 + 10396, cycle(92), 100);
	memcpy(mem1 + 10560, cycle(95), 100);
	memcpy(mem1 + 10724, cycle(1), 100);
	memcpy(mem1 + 10888, cycle(4), 100);
	memcpy(mem1 + 11052, cycle(7), 100);
	memcpy(mem1 + 11216, cycle(10), 100);
	memcpy(mem1 + 11380, cycle(13), 100);
	memcpy(mem1 + 11544, cycle(16), 100);
	memcpy(mem1 + 11708, cycle(19), 100);
	memcpy(mem1 + 11872, cycle(22), 100);
	memcpy(mem1 + 12036, cycle(25), 100);
	memcpy(mem1 + 12200, cycle(28), 100);
	memcpy(mem1 + 12364, cycle(31), 100);
	memcpy(mem1 + 12528, cycle(34), 100);
	memcpy(mem1 + 12692, cycle(37), 100);
	memcpy(mem1 + 12856, cycle(40), 100);
	memcpy(mem1 + 13020, cycle(43), 100);
	memcpy(mem1 + 13184, cycle(46), 100);
	memcpy(mem1 + 13348, cycle(49), 100);
	memcpy(mem1 + 13512, cycle(52), 100);
	memcpy(mem1 + 13676, cycle(55), 100);
	memcpy(mem1 + 13840, cycle(58), 100);
	memcpy(mem1 + 14004, cycle(61), 100);
	memcpy(mem1 + 14168, cycle(64), 100);
	memcpy(mem1 + 14332, cycle(67), 100);
	memcpy(mem1 + 14496, cycle(70), 100);
	memcpy(mem1 + 14660, cycle(73), 100);
	memcpy(mem1 + 14824, cycle(76), 100);
	memcpy(mem1 + 14988, cycle(79), 100);
	memcpy(mem1 + 15152, cycle(82), 100);
	memcpy(mem1 + 15316, cycle(85), 100);
	memcpy(mem1 + 15480, cycle(88), 100);
	memcpy(mem1 + 15644, cycle(91), 100);
	memcpy(mem1 + 15808, cycle(94), 100);
	memcpy(mem1 + 15972, cycle(0), 100);
	memcpy(mem1 + 16136, cycle(3), 100);
	memcpy(mem1 + 16300, cycle(6), 100);
	memcpy(mem1 + 16464, cycle(9), 100);
	memcpy(mem1 + 16628, cycle(12), 100);
	memcpy(mem1 + 16792, cycle(15), 100);
	memcpy(mem1 + 16956, cycle(18), 100);
	memcpy(mem1 + 17120, cycle(21), 100);
	memcpy(mem1 + 17284, cycle(24), 100);
	memcpy(mem1 + 17448, cycle(27), 100);
	memcpy(mem1 + 17612, cycle(30), 100);
	memcpy(mem1 + 17776, cycle(33), 100);
	memcpy(mem1 + 17940, cycle(36), 100);
	memcpy(mem1 + 18104, cycle(39), 100);
	memcpy(mem1 + 18268, cycle(42), 100);
	memcpy(mem1 + 18432, cycle(45), 100);
	memcpy(mem1 + 18596, cycle(48), 100);
	memcpy(mem1 + 18760, cycle(51), 100);
	memcpy(mem1 + 18924, cycle(54), 100);
	memcpy(mem1 + 19088, cycle(57), 100);
	memcpy(mem1 + 19252, cycle(60), 100);
	memcpy(mem1 + 19416, cycle(63), 100);
	memcpy(mem1 + 19580, cycle(66), 100);
	memcpy(mem1 + 19744, cycle(69), 100);
	memcpy(mem1 + 19908, cycle(72), 100);
	memcpy(mem1 + 20072, cycle(75), 100);
	memcpy(mem1 + 20236, cycle(78), 100);
	memcpy(mem1 + 20400, cycle(81), 100);
	memcpy(mem1 + 20564, cycle(84), 100);
	memcpy(mem1 + 20728, cycle(87), 100);
	memcpy(mem1 + 20892, cycle(90), 100);
	memcpy(mem1 + 21056, cycle(93), 100);
	memcpy(mem1 + 21220, cycle(96), 100);
	memcpy(mem1 + 21384, cycle(2), 100);
	memcpy(mem1 + 21548, cycle(5), 100);
	memcpy(mem1 + 21712, cycle(8), 100);
	memcpy(mem1 + 21876, cycle(11), 100);
	memcpy(mem1 + 22040, cycle(14), 100);
	memcpy(mem1 + 22204, cycle(17), 100);
	memcpy(mem1 + 22368, cycle(20), 100);
	memcpy(mem1 + 22532, cycle(23), 100);
	memcpy(mem1 + 22696, cycle(26), 100);
	memcpy(mem1 + 22860, cycle(29), 100);
	memcpy(mem1 + 23024, cycle(32), 100);
	memcpy(mem1 + 23188, cycle(35), 100);
	memcpy(mem1 + 23352, cycle(38), 100);
	memcpy(mem1 + 23516, cycle(41), 100);
	memcpy(mem1 + 23680, cycle(44), 100);
	memcpy(mem1 + 23844, cycle(47), 100);
	memcpy(mem1 + 24008, cycle(50), 100);
	memcpy(mem1 + 24172, cycle(53), 100);
	memcpy(mem1 + 24336, cycle(56), 100);
	memcpy(mem1 + 24500, cycle(59), 100);
	memcpy(mem1 + 24664, cycle(62), 100);
	memcpy(mem1 + 24828, cycle(65), 100);
	memcpy(mem1 + 24992, cycle(68), 100);
	memcpy(mem1 + 25156, cycle(71), 100);
	memcpy(mem1 + 25320, cycle(74), 100);
	memcpy(mem1 + 25484, cycle(77), 100);
	memcpy(mem1 + 25648, cycle(80), 100);
	memcpy(mem1 + 25812, cycle(83), 100);
	memcpy(mem1 + 25976, cycle(86), 100);
	memcpy(mem1 + 26140, cycle(89), 100);
	memcpy(mem1 + 26304, cycle(92), 100);
	memcpy(mem1 + 26468, cycle(95), 100);
	memcpy(mem1 + 26632, cycle(1), 100);
	memcpy(mem1 + 26796, cycle(4), 100);
	memcpy(mem1 + 26960, cycle(7), 100);
	memcpy(mem1 + 27124, cycle(10), 100);
	memcpy(mem1 + 27288, cycle(13), 100);
	memcpy(mem1 + 27452, cycle(16), 100);
	memcpy(mem1 + 27616, cycle(19), 100);
	memcpy(mem1 + 27780, cycle(22), 100);
	memcpy(mem1 + 27944, cycle(25), 100);
	memcpy(mem1 + 28108, cycle(28), 100);
	memcpy(mem1 + 28272, cycle(31), 100);
	memcpy(mem1 + 28436, cycle(34), 100);
	memcpy(mem1 + 28600, cycle(37), 100);
	memcpy(mem1 + 28764, cycle(40), 100);
	memcpy(mem1 + 28928, cycle(43), 100);
	memcpy(mem1 + 29092, cycle(46), 100);
	memcpy(mem1 + 29256, cycle(49), 100);
	memcpy(mem1 + 29420, cycle(52), 100);
	memcpy(mem1 + 29584, cycle(55), 100);
	memcpy(mem1 + 29748, cycle(58), 100);
	memcpy(mem1 + 29912, cycle(61), 100);
	memcpy(mem1 + 30076, cycle(64), 100);
	memcpy(mem1 + 30240, cycle(67), 100);
	memcpy(mem1 + 30404, cycle(70), 100);
	memcpy(mem1 + 30568, cycle(73), 100);
	memcpy(mem1 + 30732, cycle(76), 100);
	memcpy(mem1 + 30896, cycle(79), 100);
	memcpy(mem1 + 31060, cycle(82), 100);
	memcpy(mem1 + 31224, cycle(85), 100);
	memcpy(mem1 + 31388, cycle(88), 100);
	memcpy(mem1 + 31552, cycle(91), 100);
	memcpy(mem1 + 31716, cycle(94), 100);
	memcpy(mem1 + 31880, cycle(0), 100);
	memcpy(mem1 + 32044, cycle(3), 100);
	memcpy(mem1 + 32208, cycle(6), 100);
	memcpy(mem1 + 32372, cycle(9), 100);
	memcpy(mem1 + 32536, cycle(12), 100);
	memcpy(mem1 + 32700, cycle(15), 100);
	memcpy(mem1 + 32864, cycle(18), 100);
	memcpy(mem1 + 33028, cycle(21), 100);
	memcpy(mem1 + 33192, cycle(24), 100);
	memcpy(mem1 + 33356, cycle(27), 100);
	memcpy(mem1 + 33520, cycle(30), 100);
	memcpy(mem1 + 33684, cycle(33), 100);
	memcpy(mem1 + 33848, cycle(36), 100);
	memcpy(mem1 + 34012, cycle(39), 100);
	memcpy(mem1 + 34176, cycle(42), 100);
	memcpy(mem1 + 34340, cycle(45), 100);
	memcpy(mem1 + 34504, cycle(48), 100);
	memcpy(mem1 + 34668, cycle(51), 100);
	memcpy(mem1 + 34832, cycle(54), 100);
	memcpy(mem1 + 34996, cycle(57), 100);
	memcpy(mem1 + 35160, cycle(60), 100);
	memcpy(mem1 + 35324, cycle(63), 100);
	memcpy(mem1 + 35488, cycle(66), 100);
	memcpy(mem1 + 35652, cycle(69), 100);
	memcpy(mem1 + 35816, cycle(72), 100);
	memcpy(mem1 + 35980, cycle(75), 100);
	memcpy(mem1 + 36144, cycle(78), 100);
	memcpy(mem1 + 36308, cycle(81), 100);
	memcpy(mem1 + 36472, cycle(84), 100);
	memcpy(mem1 + 36636, cycle(87), 100);
	memcpy(mem1 + 36800, cycle(90), 100);
	memcpy(mem1 + 36964, cycle(93), 100);
	memcpy(mem1 + 37128, cycle(96), 100);
	memcpy(mem1 + 37292, cycle(2), 100);
	memcpy(mem1 + 37456, cycle(5), 100);
	memcpy(mem1 + 37620, cycle(8), 100);
	memcpy(mem1 + 37784, cycle(11), 100);
	memcpy(mem1 + 37948, cycle(14), 100);
	memcpy(mem1 + 38112, cycle(17), 100);
	memcpy(mem1 + 38276, cycle(20), 100);
	memcpy(mem1 + 38440, cycle(23), 100);
	memcpy(mem1 + 38604, cycle(26), 100);
	memcpy(mem1 + 38768, cycle(29), 100);
	memcpy(mem1 + 38932, cycle(32), 100);
	memcpy(mem1 + 39096, cycle(35), 100);
	memcpy(mem1 + 39260, cycle(38), 100);
	memcpy(mem1 + 39424, cycle(41), 100);
	memcpy(mem1 + 39588, cycle(44), 100);
	memcpy(mem1 + 39752, cycle(47), 100);
	memcpy(mem1 + 39916, cycle(50), 100);
	memcpy(mem1 + 40080, cycle(53), 100);
	memcpy(mem1 + 40244, cycle(56), 100);
	memcpy(mem1 + 40408, cycle(59), 100);
	memcpy(mem1 + 40572, cycle(62), 100);
	memcpy(mem1 + 40736, cycle(65), 100);
	memcpy(mem1 + 40900, cycle(68), 100);
	memcpy(mem1 + 41064, cycle(71), 100);
	memcpy(mem1 + 41228, cycle(74), 100);
	memcpy(mem1 + 41392, cycle(77), 100);
	memcpy(mem1 + 41556, cycle(80), 100);
	memcpy(mem1 + 41720, cycle(83), 100);
	memcpy(mem1 + 41884, cycle(86), 100);
	memcpy(mem1 + 42048, cycle(89), 100);
	memcpy(mem1 + 42212, cycle(92), 100);
	memcpy(mem1 + 42376, cycle(95), 100);
	memcpy(mem1 + 42540, cycle(1), 100);
	memcpy(mem1 + 42704, cycle(4), 100);
	memcpy(mem1 + 42868, cycle(7), 100);
	memcpy(mem1 + 43032, cycle(10), 100);
	memcpy(mem1 + 43196, cycle(13), 100);
	memcpy(mem1 + 43360, cycle(16), 100);
	memcpy(mem1 + 43524, cycle(19), 100);
	memcpy(mem1 + 43688, cycle(22), 100);
	memcpy(mem1 + 43852, cycle(25), 100);
	memcpy(mem1 + 44016, cycle(28), 100);
	memcpy(mem1 + 44180, cycle(31), 100);
	memcpy(mem1 + 44344, cycle(34), 100);
	memcpy(mem1 + 44508, cycle(37), 100);
	memcpy(mem1 + 44672, cycle(40), 100);
	memcpy(mem1 + 44836, cycle(43), 100);
	memcpy(mem1 + 45000, cycle(46), 100);
	memcpy(mem1 + 45164, cycle(49), 100);
	memcpy(mem1 + 45328, cycle(52), 100);
	memcpy(mem1 + 45492, cycle(55), 100);
	memcpy(mem1 + 45656, cycle(58), 100);
	memcpy(mem1 + 45820, cycle(61), 100);
	memcpy(mem1 + 45984, cycle(64), 100);
	memcpy(mem1 + 46148, cycle(67), 100);
	memcpy(mem1 + 46312, cycle(70), 100);
	memcpy(mem1 + 46476, cycle(73), 100);
	memcpy(mem1 + 46640, cycle(76), 100);
	memcpy(mem1 + 46804, cycle(79), 100);
	memcpy(mem1 + 46968, cycle(82), 100);
	memcpy(mem1 + 47132, cycle(85), 100);
	memcpy(mem1 + 47296, cycle(88), 100);
	memcpy(mem1 + 47460, cycle(91), 100);
	memcpy(mem1 + 47624, cycle(94), 100);
	memcpy(mem1 + 47788, cycle(0), 100);
	memcpy(mem1 + 47952, cycle(3), 100);
	memcpy(mem1 + 48116, cycle(6), 100);
	memcpy(mem1 + 48280, cycle(9), 100);
	memcpy(mem1 + 48444, cycle(12), 100);
	memcpy(mem1 + 48608, cycle(15), 100);
	memcpy(mem1 + 48772, cycle(18), 100);
	memcpy(mem1 + 48936, cycle(21), 100);
	memcpy(mem1 + 49100, cycle(24), 100);
	push(&ring1, (struct io_uring_sqe){ .opcode = IORING_OP_SEND, .flags = IOSQE_BUFFER_SELECT,
		.ioprio = IORING_RECVSEND_BUNDLE, .fd = sock1[0], .user_data = 1, .buf_group = 7 });
	expect("io_uring_enter", enter(&ring1, 1, 0), 1);
	expect("recv", result(recv(sock1[1], room, 1, MSG_WAITALL)), 1);
	expect("recv", result(recv(sock1[1], room, 65536, MSG_DONTWAIT)), 4479);
	expect("io_uring_enter", enter(&ring1, 0, 0), 0);
	expect("recv", result(recv(sock1[1], room, 1, MSG_WAITALL)), 1);
	expect("recv", result(recv(sock1[1], room, 65536, MSG_DONTWAIT)), 4479);
	expect("io_uring_enter", enter(&ring1, 0, 0), 0);
	expect("recv", result(recv(sock1[1], room, 1, MSG_WAITALL)), 1);
	expect("recv", result(recv(sock1[1], room, 65536, MSG_DONTWAIT)), 4479);
	expect("io_uring_enter", enter(&ring1, 0, 0), 0);
	expect("recv", result(recv(sock1[1], room, 1, MSG_WAITALL)), 1);
	expect("recv", result(recv(sock1[1], room, 65536, MSG_DONTWAIT)), 4479);
	expect("io_uring_enter", enter(&ring1, 0, 0), 0);
	expect("recv", result(recv(sock1[1], room, 1, MSG_WAITALL)), 1);
	expect("recv", result(recv(sock1[1], room, 65536, MSG_DONTWAIT)), 4479);

	/* What is in question: the completion. The fault, then what is right: */
	verdict_cqe(&ring1, (struct io_uring_cqe){ 1, 25600,
		IORING_CQE_F_BUFFER | IORING_CQE_F_MORE | 0U << IORING_CQE_BUFFER_SHIFT },
		(struct io_uring_cqe){ 1, 25600, IORING_CQE_F_BUFFER | 0U << IORING_CQE_BUFFER_SHIFT });
}
