/* part: result */
static long result(long res)
{
	return res < 0 ? -errno : res;
}
/* part: say */
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
/* part: expect */
/* The way to the call in question must be the recorded one: else nothing can be told. */
static void expect(const char *what, long long got, long long want)
{
	if (got == want)
		return;
	printf("cannot tell: %s: got %s, recorded %s\n", what, say(got), say(want));
	exit(77);
}
/* part: verdict */
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
/* part: too_late */
/* On another kernel a call may wait for what never comes. */
static void too_late(int number)
{
	printf("cannot tell: a call does not end (signal %d)\n", number);
	exit(77);
}
/* part: mapped */
static long mapped(const void *addr)
{
	return addr == MAP_FAILED ? -errno : 0;
}
/* part: memory */
/* Zeroed pages of the application's. */
static unsigned char *memory(size_t length)
{
	void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	expect("mmap", addr == MAP_FAILED ? -errno : 0, 0);
	return addr;
}
/* part: opened */
static long opened(int fd)
{
	return fd < 0 ? -errno : 0;
}
/* part: io_uring_register */
static long io_uring_register(int fd, unsigned int opcode, const void *arg, unsigned int nr_args)
{
	return result(syscall(__NR_io_uring_register, fd, opcode, arg, nr_args));
}
/* part: setup */
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
/* part: push */
/* Queue a request, and let the kernel see it. */
static void push(struct ring *r, struct io_uring_sqe sqe)
{
	uint32_t *tail = at(r, r->p.sq_off.tail), slot = *tail & (r->p.sq_entries - 1);

	memcpy(r->sqes + slot * (r->p.flags & IORING_SETUP_SQE128 ? 128 : 64), &sqe, sizeof(sqe));
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}
/* part: enter_with */
static long enter_with(struct ring *r, unsigned int to_submit, unsigned int wait, unsigned int flags)
{
	struct { int64_t sec, nsec; } limit = { .sec = 10 };
	struct { uint64_t sigmask; uint32_t size, pad; uint64_t ts; } arg = { .ts = (uintptr_t)&limit };

	if (!(flags & IORING_ENTER_EXT_ARG))
		return result(syscall(__NR_io_uring_enter, r->fd, to_submit, wait, flags, NULL, 0));
	return result(syscall(__NR_io_uring_enter, r->fd, to_submit, wait, flags, &arg, sizeof(arg)));
}
/* part: enter */
/* io_uring_enter(), for 10 s at most: SQEs that were consumed, or -errno. */
static long enter(struct ring *r, unsigned int to_submit, unsigned int wait)
{
	return enter_with(r, to_submit, wait, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG);
}
/* part: completions */
/* CQEs that nobody has looked at. */
static long completions(struct ring *r)
{
	return __atomic_load_n(at(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) - r->seen;
}
/* part: next_cqe */
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
/* part: expect_cqe */
static void expect_cqe(struct ring *r, struct io_uring_cqe want)
{
	struct io_uring_cqe got = next_cqe(r);

	if (got.user_data == want.user_data && got.res == want.res && got.flags == want.flags)
		return;
	printf("cannot tell: CQE { %llu, %s, %#x }, recorded { %llu, %s, %#x }\n", (unsigned long long)got.user_data,
	       say(got.res), got.flags, (unsigned long long)want.user_data, say(want.res), want.flags);
	exit(77);
}
/* part: verdict_cqe */
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
	unsigned int heeded = wrong.user_data == right.user_data && wrong.res == right.res &&
			      (wrong.flags ^ right.flags) == more ? ~0U : ~more;
	struct io_uring_cqe got = next_cqe(r);
	int good = same("wanted", got, right, heeded), bad = same("broken", got, wrong, heeded);

	same("this  ", got, got, heeded);
	puts(good ? "good" : bad ? "BAD" : "cannot tell");
	exit(good ? 0 : bad ? 1 : 77);
}
/* part: advance */
/* CQEs are taken off the CQ ring. */
static void advance(struct ring *r, unsigned int count)
{
	uint32_t *head = at(r, r->p.cq_off.head);

	__atomic_store_n(head, *head + count, __ATOMIC_RELEASE);
}
/* part: buf_ring_add */
/* Fill a slot of a buffer ring, and leave the tail alone, which lies in slot 0. */
static void buf_ring_add(void *ring, unsigned int slot, uint64_t addr, uint32_t len, uint16_t bid)
{
	struct io_uring_buf *buf = (struct io_uring_buf *)ring + slot;

	buf->addr = addr;
	buf->len = len;
	buf->bid = bid;
}
/* part: buf_ring_tail */
static void buf_ring_tail(void *ring, uint16_t tail)
{
	__atomic_store_n(&((struct io_uring_buf *)ring)->resv, tail, __ATOMIC_RELEASE);
}
/* part: buf_ring_slot */
static struct io_uring_buf *buf_ring_slot(void *ring, unsigned int slot)
{
	return (struct io_uring_buf *)ring + slot;
}
/* part: cycle */
/* The bytes 1 to 97, over and over, from the one after the `first`. */
static const unsigned char *cycle(unsigned int first)
{
	static unsigned char text[(1 << 20) + 97];
	unsigned int i;

	for (i = 0; i < sizeof(text) && !text[sizeof(text) - 1]; i++)
		text[i] = i % 97 + 1;
	return text + first;
}
/* part: filled */
static const unsigned char *filled(unsigned char byte)
{
	static unsigned char text[1 << 20];

	return memset(text, byte, sizeof(text));
}
/* part: ramp */
static void ramp(unsigned char *to, unsigned int first, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		to[i] = (first + i) & 0x7f;
}
/* part: settle */
/* What was set going needs a moment to get to where it waits. */
static void settle(void)
{
	usleep(50000);
}
/* part: tcp_pair */
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
/* part: sent */
/* Send all: the number of bytes, or -errno. */
static long sent(int fd, const void *data, size_t length)
{
	return result(send(fd, data, length, MSG_NOSIGNAL));
}
/* part: io_uring_params */
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
/* part: io_uring_sqe */
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
/* part: io_uring_cqe */
struct io_uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};
/* part: io_uring_buf */
struct io_uring_buf {
	uint64_t addr;
	uint32_t len;
	uint16_t bid, resv;		/* slot 0: the ring's tail */
};
/* part: io_uring_buf_reg */
struct io_uring_buf_reg {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t bgid, flags;
	uint32_t min_left, resv[5];
};
/* part: io_uring_buf_status */
struct io_uring_buf_status {
	uint32_t buf_group, head, resv[8];
};
/* part: io_uring_restriction */
struct io_uring_restriction {
	uint16_t opcode;
	uint8_t register_op, resv;
	uint32_t resv2[3];
};
/* part: io_uring_rsrc_update */
struct io_uring_rsrc_update {
	uint32_t offset, resv;
	uint64_t data;
};
/* part: watched */
static long tainted(void)
{
	long value = -1;
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");

	if (!file || fscanf(file, "%ld", &value) != 1)
		expect("/proc/sys/kernel/tainted can be read", 0, 1);
	fclose(file);
	/* Machine check, bad page, oops, warning, soft lockup: the kernel complained. */
	return value & (1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14);
}

static long pinned(void)
{
	char name[64];
	long value, total = 0;
	FILE *file = fopen("/proc/vmstat", "r");

	while (file && fscanf(file, "%63s %ld", name, &value) == 2) {
		if (!strcmp(name, "nr_foll_pin_acquired"))
			total += value;
		if (!strcmp(name, "nr_foll_pin_released"))
			total -= value;
	}
	if (file)
		fclose(file);
	return total;
}

/* Run the course in a child, and look at the kernel from outside. */
static int watched(void (*course)(void), unsigned int seconds)
{
	long before = tainted(), pins = pinned();
	unsigned int tenths;
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		course();
		exit(0);
	}
	for (tenths = 0; tenths < 10 * seconds && waitpid(child, &status, WNOHANG) == 0; tenths++)
		usleep(100000);
	if (tenths == 10 * seconds) {
		puts("BAD: a call does not return");
		kill(child, SIGKILL);
		_exit(1);
	}
	if (WIFSIGNALED(status)) {
		printf("BAD: the process was killed by signal %d: see dmesg\n", WTERMSIG(status));
		return 1;
	}
	if (tainted() != before) {
		puts("BAD: the kernel became tainted: see dmesg");
		return 1;
	}
	for (tenths = 0; tenths < 20 && pinned() > pins; tenths++)
		usleep(100000);
	if (pinned() > pins) {
		printf("BAD: %ld pages stay pinned\n", pinned() - pins);
		return 1;
	}
	if (WEXITSTATUS(status) == 0)
		puts("good: the kernel has nothing to say");
	return WEXITSTATUS(status);
}
