/*
 * The kernel's mapping of a buffer ring in memory of the application's is never unmapped.
 *
 * suites/unregister/test_memory.py::test_kernel_mapping_of_user_memory_goes[unregister], by hand: the case reads /proc.
 * io_pin_pbuf_ring() maps the pages with vmap(); 6.10 to 6.13 never call vunmap() for them (io_pages_unmap() with
 * put_pages false). A thousand rings of two pages come and go, and /proc/vmallocinfo still has theirs.
 *
 * Exit status: 1 where their mappings are left, 0 where they are not, 77 without buffer rings, or where nobody but
 * root may read that file.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 1000
#define PAGES 2

struct reg {
	unsigned long long ring_addr;
	unsigned int ring_entries;
	unsigned short bgid, flags;
	unsigned long long resv[3];
};

static int mappings(void)
{
	FILE *file = fopen("/proc/vmallocinfo", "r");
	char line[512];
	int count = file ? 0 : -1;

	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, " io_") && strstr(line, " vmap");
	if (file)
		fclose(file);
	return count;
}

int main(void)
{
	unsigned int params[30] = { 0 };
	long page = sysconf(_SC_PAGESIZE);
	int fd = syscall(425 /* io_uring_setup */, 4, params);
	struct reg reg = { .ring_entries = PAGES * page / 16, .bgid = 7 };
	int before = mappings(), left;
	void *ring = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (fd < 0 || before < 0 || ring == MAP_FAILED)
		return 77;
	reg.ring_addr = (unsigned long)ring;
	for (int round = 0; round < ROUNDS; round++) {
		struct reg unreg = { .bgid = 7 };

		if (syscall(427 /* io_uring_register */, fd, 22 /* REGISTER_PBUF_RING */, &reg, 1) ||
		    syscall(427, fd, 23 /* UNREGISTER_PBUF_RING */, &unreg, 1))
			return 77;
	}
	close(fd);
	left = mappings() - before;
	printf("%d mappings of %d rings are left\n", left, ROUNDS);
	return left >= ROUNDS / 2;
}
