/*
 * A command of a socket that was to go on with selected buffers (IORING_URING_CMD_MULTISHOT), and is done at once, is never completed;
 * nothing can cancel it, and its io_uring never ends (a WARNING in io_ring_exit_work() five minutes after its close).
 *
 * suites/select/test_commands.py::test_a_command_that_is_done_at_once_does_not_go_on, by hand. io_uring_cmd(), 6.18: a result of 0 and
 * more of a multishot command is IOU_ISSUE_SKIP_COMPLETE, as if the driver were to post completions; a socket's SIOCINQ posts none.
 *
 * Exit status: 1 where no completion comes, 0 where one does, 77 where no command may go on (before 6.18).
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sqe {
	unsigned char opcode, flags;
	unsigned short ioprio;
	int fd;
	unsigned long long off, addr;
	unsigned int len, cmd_flags;
	unsigned long long user_data;
	unsigned short buf_group, personality;
	int file_index;
	unsigned long long addr3, pad;
};

struct reg {
	unsigned long long ring_addr;
	unsigned int ring_entries;
	unsigned short bgid, flags;
	unsigned long long resv[3];
};

int main(void)
{
	/* sq_entries, …; sq_off from 10 on: head, tail, …, array; cq_off from 20 on: head, tail, …, cqes */
	unsigned int p[30] = { 0 }, *tail;
	int fd = syscall(425 /* io_uring_setup */, 4, p), listener = socket(AF_INET, SOCK_STREAM, 0), near, far, tries, *cqe;
	void *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct reg reg = { .ring_addr = (unsigned long)ring, .ring_entries = 8, .bgid = 7 };
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(here);
	struct sqe *sqes;
	char *queue;

	if (fd < 0 || ring == MAP_FAILED || syscall(427 /* io_uring_register */, fd, 22 /* REGISTER_PBUF_RING */, &reg, 1))
		return 77;
	if (bind(listener, (void *)&here, size) || listen(listener, 1) || getsockname(listener, (void *)&here, &size))
		return 77;
	far = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(far, (void *)&here, size) || (near = accept(listener, NULL, NULL)) < 0 || send(far, "data", 4, 0) != 4)
		return 77;

	queue = mmap(NULL, p[25] + p[1] * 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sqes = mmap(NULL, p[0] * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x10000000);
	if (queue == MAP_FAILED || sqes == MAP_FAILED)
		return 77;
	sqes[0] = (struct sqe){ .opcode = 46 /* URING_CMD */, .flags = 1 << 5 /* BUFFER_SELECT */, .fd = near,
				.off = 0 /* SOCKET_URING_OP_SIOCINQ */, .cmd_flags = 1 << 1 /* MULTISHOT */, .buf_group = 7 };
	((unsigned int *)(queue + p[16]))[0] = 0;
	__atomic_store_n((unsigned int *)(queue + p[11]), 1, __ATOMIC_RELEASE);
	if (syscall(426 /* io_uring_enter */, fd, 1, 0, 0, NULL, 0) != 1)
		return 77;

	tail = (unsigned int *)(queue + p[21]);
	for (tries = 0; tries < 2000 && !__atomic_load_n(tail, __ATOMIC_ACQUIRE); tries++)
		usleep(1000);
	if (!*tail) {
		puts("BAD: no completion in two seconds");
		return 1;
	}
	cqe = (int *)(queue + p[25]);
	printf("res %d, flags %#x\n", cqe[2], cqe[3]);
	return cqe[2] < 0 ? 77 : 0;
}
