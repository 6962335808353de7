/*
 * Linked with nops.c, whose syscall() and mmap() are these: the running kernel, whose last completion of every
 * batch is made wrong on its way.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

enum lie { NONE, LOST_COMPLETION, STRANGE_RESULT, NO_BUFFER, SAME_BUFFER, UNKNOWN_BUFFER, SWAPPED, SHORT_SUBMIT };

int lie;
static struct io_uring_params params;
static char *queues;

void *noting_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *at = mmap(addr, size, prot, flags, fd, offset);

	if (fd >= 0 && offset == IORING_OFF_SQ_RING)
		queues = at;
	return at;
}

long lying_syscall(long number, ...)
{
	struct io_uring_cqe *cqes, *last, *before;
	unsigned *tail;
	long a[6], res;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	res = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (number == __NR_io_uring_setup)
		params = *(struct io_uring_params *)a[1];
	if (number != __NR_io_uring_enter)
		return res;
	cqes = (struct io_uring_cqe *)(queues + params.cq_off.cqes);
	tail = (unsigned *)(queues + params.cq_off.tail);
	last = &cqes[(*tail - 1) & (params.cq_entries - 1)];
	before = &cqes[(*tail - 2) & (params.cq_entries - 1)];
	switch ((enum lie)lie) {
	case NONE:
		break;
	case LOST_COMPLETION:
		--*tail;
		break;
	case STRANGE_RESULT:
		last->res = 1;
		break;
	case NO_BUFFER:
		last->flags = 0;
		break;
	case SAME_BUFFER:
		last->flags = before->flags;
		break;
	case UNKNOWN_BUFFER:
		last->flags = 99 << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER;
		break;
	case SWAPPED:
		last->user_data = before->user_data;
		break;
	case SHORT_SUBMIT:
		res--;
		break;
	}
	return res;
}
