// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hot loop of `rig bench nops`: an io_uring of 128 entries, 32 requests submitted and completed at a time,
 * and every completion checked, so that a kernel that loses, repeats or misnames a buffer gives a fault and no
 * figure. There are as many buffers as requests in flight: one lost buffer is an -ENOBUFS at once.
 *
 * Raw system calls and own mappings: a library's care would be in the figures.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "nops.h"

/* Names of their own: the headers of a distribution may be older than the ABI. */
enum { REGISTER_PBUF_RING = 22, OP_PROVIDE_BUFFERS = 31 };
enum { ENTRIES = 128, BATCH = 32, SLOTS = 128, BUFFER = 64, GROUP = 7, PAGE = 4096 };

/* One entry of a buffer ring. RFC: `bid` is 32 bits wide. Merged: 16, and what follows it in entry 0 is the tail. */
struct slot {
	uint64_t addr;
	uint32_t len;
	uint16_t bid;
	uint16_t resv;
};

struct slots_reg {
	uint64_t addr;
	uint32_t entries;
	uint32_t bgid;
	uint64_t resv[3];
};

struct nops {
	struct nops_row row;
	int fd;

	char *queues;
	size_t queues_size;
	unsigned *sq_tail, *cq_head, *cq_tail, sq_mask, cq_mask;
	struct io_uring_sqe *sqes;
	size_t sqes_size;
	struct io_uring_cqe *cqes;
	struct io_uring_sqe request;
	unsigned queued, submitted; /* SQEs written, SQEs the kernel has taken; both run freely */

	char *buffers;
	uint8_t given[BATCH]; /* provided buffers: the kernel has it */

	char *ring;
	struct slot *slots;
	unsigned added;    /* entries written, runs freely */
	unsigned next_bid; /* a buffer ring is a queue: the bid that the next completion must have */
};

static int failed(struct nops_fault *fault, const char *what, int64_t got, int64_t wanted)
{
	*fault = (struct nops_fault){ .what = what, .got = got, .wanted = wanted };
	return -1;
}

static void *map(size_t size, int fd, uint64_t offset)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, fd, (off_t)offset);

	return at == MAP_FAILED ? NULL : at;
}

static int open_queues(struct nops *n, struct nops_fault *fault)
{
	struct io_uring_params p = { 0 };
	size_t sq_end, cq_end;
	unsigned *array;

	n->fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &p);
	if (n->fd < 0)
		return failed(fault, "io_uring_setup()", -errno, 0);
	if (!(p.features & IORING_FEAT_SINGLE_MMAP))
		return failed(fault, "IORING_FEAT_SINGLE_MMAP", 0, 1);
	sq_end = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	cq_end = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	n->queues_size = sq_end > cq_end ? sq_end : cq_end;
	n->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
	n->queues = map(n->queues_size, n->fd, IORING_OFF_SQ_RING);
	n->sqes = map(n->sqes_size, n->fd, IORING_OFF_SQES);
	if (!n->queues || !n->sqes)
		return failed(fault, "mmap() of the queues", -errno, 0);
	n->sq_tail = (unsigned *)(n->queues + p.sq_off.tail);
	n->cq_head = (unsigned *)(n->queues + p.cq_off.head);
	n->cq_tail = (unsigned *)(n->queues + p.cq_off.tail);
	n->cqes = (struct io_uring_cqe *)(n->queues + p.cq_off.cqes);
	n->sq_mask = p.sq_entries - 1;
	n->cq_mask = p.cq_entries - 1;
	array = (unsigned *)(n->queues + p.sq_off.array);
	for (unsigned i = 0; i < p.sq_entries; i++)
		array[i] = i;
	return 0;
}

static struct io_uring_sqe *next_sqe(struct nops *n)
{
	return &n->sqes[n->queued & n->sq_mask];
}

/* The request goes with the next submission, before the requests that want its buffers. */
static void provide(struct nops *n, unsigned bid, unsigned count)
{
	struct io_uring_sqe *sqe = next_sqe(n);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = OP_PROVIDE_BUFFERS;
	sqe->fd = (int)count;
	sqe->addr = (uint64_t)(uintptr_t)(n->buffers + bid * BUFFER);
	sqe->len = BUFFER;
	sqe->off = bid;
	sqe->buf_group = GROUP;
	sqe->user_data = n->queued++;
}

/* What provide() queued is done. Its SQE is as it was: 128 have room for a batch and the next one's refills. */
static int provided(struct nops *n, unsigned index, const struct io_uring_cqe *cqe, struct nops_fault *fault)
{
	const struct io_uring_sqe *sqe = &n->sqes[index & n->sq_mask];

	if (cqe->res || cqe->flags)
		return failed(fault, "cqe->res of IORING_OP_PROVIDE_BUFFERS", cqe->res, 0);
	memset(n->given + sqe->off, 1, (size_t)sqe->fd);
	return 0;
}

static void add(struct nops *n, unsigned bid)
{
	struct slot *slot = &n->slots[n->added++ & (SLOTS - 1)];

	slot->addr = (uint64_t)(uintptr_t)(n->buffers + bid * BUFFER);
	slot->len = BUFFER;
	slot->bid = (uint16_t)bid;
	if (n->row.layout == NOPS_RFC)
		slot->resv = 0;
}

static void publish(struct nops *n)
{
	if (n->row.layout == NOPS_RFC)
		__atomic_store_n((uint32_t *)n->ring, n->added, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&((struct slot *)n->ring)->resv, (uint16_t)n->added, __ATOMIC_RELEASE);
}

static int open_buffers(struct nops *n, struct nops_fault *fault)
{
	struct slots_reg reg = { .entries = SLOTS, .bgid = GROUP };

	n->buffers = map(PAGE, -1, 0);
	if (!n->buffers)
		return failed(fault, "mmap() of the buffers", -errno, 0);
	if (n->row.buffers == NOPS_PROVIDED)
		provide(n, 0, BATCH);
	if (n->row.buffers != NOPS_RING)
		return 0;
	n->ring = map(PAGE, -1, 0);
	if (!n->ring)
		return failed(fault, "mmap() of the buffer ring", -errno, 0);
	n->slots = (struct slot *)n->ring + (n->row.layout == NOPS_RFC);
	reg.addr = (uint64_t)(uintptr_t)n->ring;
	if (syscall(__NR_io_uring_register, n->fd, REGISTER_PBUF_RING, &reg, 1))
		return failed(fault, "IORING_REGISTER_PBUF_RING", -errno, 0);
	for (unsigned bid = 0; bid < BATCH; bid++)
		add(n, bid);
	publish(n);
	return 0;
}

struct nops *nops_open(const struct nops_row *row, struct nops_fault *fault)
{
	struct nops *n = calloc(1, sizeof(*n));

	if (!n) {
		failed(fault, "calloc()", -ENOMEM, 0);
		return NULL;
	}
	n->fd = -1;
	n->row = *row;
	if (row->buffers != NOPS_NONE && row->replenish != 1 && row->replenish != BATCH) {
		/* A PROVIDE_BUFFERS names consecutive ids; of a part of the batch nobody promises that they are. */
		failed(fault, "replenish", row->replenish, BATCH);
	} else if (!open_queues(n, fault) && !open_buffers(n, fault)) {
		n->request.opcode = row->opcode;
		n->request.fd = row->fd;
		n->request.len = row->len;
		if (row->buffers == NOPS_NONE) {
			n->request.addr = row->len ? (uint64_t)(uintptr_t)n->buffers : 0;
		} else {
			n->request.flags = IOSQE_BUFFER_SELECT;
			n->request.buf_group = GROUP;
		}
		return n;
	}
	nops_close(n);
	return NULL;
}

/* A completed request: is it what it must be, and back with its buffer. */
static int reap(struct nops *n, const struct io_uring_cqe *cqe, struct nops_fault *fault)
{
	unsigned bid = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	unsigned flags = n->row.buffers == NOPS_NONE ? 0 : IORING_CQE_F_BUFFER;

	if (cqe->res)
		return failed(fault, "cqe->res of a request", cqe->res, 0);
	if ((cqe->flags & 0xffff) != flags)
		return failed(fault, "cqe->flags of a request", cqe->flags & 0xffff, flags);
	switch (n->row.buffers) {
	case NOPS_PROVIDED:
		if (bid >= BATCH)
			return failed(fault, "buffer id, which has a limit", bid, BATCH - 1);
		if (!n->given[bid])
			return failed(fault, "buffer id, which came twice, given", bid, 1);
		n->given[bid] = 0;
		if (n->row.replenish == 1)
			provide(n, bid, 1);
		break;
	case NOPS_RING:
		if (bid != n->next_bid)
			return failed(fault, "buffer id, in the order of the ring", bid, n->next_bid);
		n->next_bid = (bid + 1) % BATCH;
		add(n, bid);
		if (n->row.replenish == 1)
			publish(n);
		break;
	}
	return 0;
}

static int batch(struct nops *n, struct nops_fault *fault)
{
	unsigned refills = n->queued - n->submitted, count = refills + BATCH;
	unsigned head = *n->cq_head, ready;
	long res;

	for (unsigned i = 0; i < BATCH; i++) {
		struct io_uring_sqe *sqe = next_sqe(n);

		*sqe = n->request;
		sqe->user_data = n->queued++;
	}
	__atomic_store_n(n->sq_tail, n->queued, __ATOMIC_RELEASE);
	res = syscall(__NR_io_uring_enter, n->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0);
	if (res != count)
		return failed(fault, "io_uring_enter()", res < 0 ? -errno : res, count);
	ready = __atomic_load_n(n->cq_tail, __ATOMIC_ACQUIRE) - head;
	if (ready != count)
		return failed(fault, "completions of a batch", ready, count);
	for (unsigned i = 0; i < count; i++) {
		const struct io_uring_cqe *cqe = &n->cqes[(head + i) & n->cq_mask];

		/* Nothing here ever waits, so completions come in the order of submission. */
		if (cqe->user_data != n->submitted + i)
			return failed(fault, "cqe->user_data, in order", (int64_t)cqe->user_data, n->submitted + i);
		if (i < refills ? provided(n, n->submitted + i, cqe, fault) : reap(n, cqe, fault))
			return -1;
	}
	n->submitted += count;
	__atomic_store_n(n->cq_head, head + count, __ATOMIC_RELEASE);
	if (n->row.replenish == BATCH && n->row.buffers == NOPS_PROVIDED)
		provide(n, 0, BATCH);
	if (n->row.replenish == BATCH && n->row.buffers == NOPS_RING)
		publish(n);
	return 0;
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Nanoseconds for `batches` times 32 requests, or -1 and a fault, after which the rest of the row means nothing. */
int64_t nops_run(struct nops *n, uint32_t batches, struct nops_fault *fault)
{
	int64_t began = now();

	while (batches--)
		if (batch(n, fault))
			return -1;
	return now() - began;
}

void nops_close(struct nops *n)
{
	if (n->fd >= 0)
		close(n->fd);
	if (n->queues)
		munmap(n->queues, n->queues_size);
	if (n->sqes)
		munmap(n->sqes, n->sqes_size);
	if (n->ring)
		munmap(n->ring, PAGE);
	if (n->buffers)
		munmap(n->buffers, PAGE);
	free(n);
}
