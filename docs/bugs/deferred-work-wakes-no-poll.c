/*
 * IORING_SETUP_DEFER_TASKRUN: who sleeps in poll() of the io_uring is not woken when a receive that waits can go on.
 *
 * suites/commit/test_ring_poll.py::test_who_sleeps_in_poll_is_woken[poll-deferring-ring], by hand: another process sleeps.
 * The io_uring is readable from then on (io_uring_poll(): io_has_work()), so poll() without sleeping says so; but
 * io_req_local_work_add() does not wake ctx->poll_wq. 6.12.117 and 7.3.4 do (io_poll_wq_wake_rcu()).
 *
 * Exit status: 1 where the sleeper is not woken, 0 where it is, 77 without buffer rings or DEFER_TASKRUN.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SINGLE_ISSUER (1u << 12)
#define DEFER_TASKRUN (1u << 13)

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

static char memory[4096], room[64];

/* Sleep until the io_uring is readable, two seconds at most: 1 if it took more than one. */
static int sleeper(int fd)
{
	struct pollfd ring = { .fd = fd, .events = POLLIN };
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	poll(&ring, 1, 2000);
	clock_gettime(CLOCK_MONOTONIC, &after);
	return after.tv_sec - before.tv_sec + (after.tv_nsec - before.tv_nsec) / 1e9 > 1;
}

static int asleep(pid_t pid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (file) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(file);
	}
	return state == 'S';
}

int main(void)
{
	/* sq_entries, cq_entries, flags, …; sq_off from 10 on: head, tail, ring_mask, ring_entries, flags, dropped, array */
	unsigned int p[30] = { [2] = SINGLE_ISSUER | DEFER_TASKRUN };
	int fd = syscall(425 /* io_uring_setup */, 4, p), socks[2], status;
	struct buf *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct reg reg = { .ring_addr = (unsigned long)ring, .ring_entries = 8, .bgid = 7 };
	struct pollfd now = { .fd = fd, .events = POLLIN };
	struct sqe *sqes;
	char *queue;
	pid_t pid;

	if (fd < 0 || ring == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, socks) ||
	    syscall(427 /* io_uring_register */, fd, 22 /* REGISTER_PBUF_RING */, &reg, 1))
		return 77;
	ring[0].addr = (unsigned long)memory;
	ring[0].len = sizeof(memory);
	ring[0].bid = 5;
	__atomic_store_n(&ring[0].tail, 1, __ATOMIC_RELEASE);

	queue = mmap(NULL, p[16] + p[0] * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sqes = mmap(NULL, p[0] * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x10000000);
	if (queue == MAP_FAILED || sqes == MAP_FAILED)
		return 77;
	sqes[0] = (struct sqe){ .opcode = 27 /* RECV */, .flags = 1 << 5 /* BUFFER_SELECT */, .fd = socks[0], .buf_group = 7 };
	((unsigned int *)(queue + p[16]))[0] = 0;
	__atomic_store_n((unsigned int *)(queue + p[11]), 1, __ATOMIC_RELEASE);
	if (syscall(426 /* io_uring_enter */, fd, 1, 0, 0, NULL, 0) != 1 || poll(&now, 1, 0) != 0)
		return 77;

	pid = fork();
	if (!pid)
		_exit(sleeper(fd));
	while (!asleep(pid))
		usleep(1000);
	usleep(100000);
	memset(room, 'x', sizeof(room));
	if (write(socks[1], room, sizeof(room)) != sizeof(room))
		return 77;
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || poll(&now, 1, 0) != 1)
		return 77;
	puts(WEXITSTATUS(status) ? "BAD: the io_uring is readable, and who sleeps in poll() was not woken" : "good");
	return WEXITSTATUS(status);
}
