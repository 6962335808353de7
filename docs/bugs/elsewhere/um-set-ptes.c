/*
 * A forked child sees wrong pages under User-Mode Linux, and the guest's memory is spoilt when it ends.
 *
 * set_ptes() in arch/um/include/asm/pgtable.h goes on by nr frames where one is meant, so fork() maps three
 * pages or more of a large folio wrongly: copy_present_ptes() in mm/memory.c copies them at once. The SQEs of
 * an io_uring are such a folio; so is any ring of provided buffers in kernel memory of 1024 entries or more.
 *
 * Exit status: 1 where the child sees other pages than its parent, 0 where it does not, 77 without io_uring.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16

int main(void)
{
	unsigned int params[30] = { 0 };
	int fd = syscall(425 /* io_uring_setup */, PAGES * 4096 / 64, params);
	int status, wrong = 0;
	char *sqes;

	if (fd < 0)
		return 77;
	sqes = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		    0x10000000 /* IORING_OFF_SQES */);
	if (sqes == MAP_FAILED)
		return 77;
	for (int page = 0; page < PAGES; page++)
		memset(sqes + page * 4096, 'a' + page, 4096);
	if (fork() == 0) {
		for (int page = 0; page < PAGES; page++)
			wrong += sqes[page * 4096] != 'a' + page;
		_exit(wrong);
	}
	wait(&status);
	printf("%d of %d pages are wrong in the child\n", WEXITSTATUS(status), PAGES);
	return !!status;
}
