/*
 * ptrace() for a User-Mode Linux before 6.13, to be preloaded. Such a kernel keeps 2696 bytes of a process's extended
 * state (arch/x86/um/os-Linux/registers.c, have_xstate_support), and a processor with AMX has 11008: PTRACE_GETREGSET
 * fills what there is room for, PTRACE_SETREGSET takes all or nothing (arch/x86/kernel/fpu/regset.c, xstateregs_set)
 * and the kernel ends with "ptrace set fp regs failed". What it does not know of is therefore added here as it is.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LARGEST 65536

static long call(long request, long pid, void *addr, void *data)
{
	return syscall(SYS_ptrace, request, pid, addr, data);
}

long ptrace(enum __ptrace_request request, ...)
{
	static __thread char whole[LARGEST] __attribute__((aligned(64)));
	struct iovec all = { whole, sizeof(whole) };
	const struct iovec *given;
	void *addr, *data;
	long pid, word;
	va_list rest;

	va_start(rest, request);
	pid = va_arg(rest, pid_t);
	addr = va_arg(rest, void *);
	data = va_arg(rest, void *);
	va_end(rest);
	if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) {
		/* The system call stores the word, the C library's function returns it. */
		if (call(request, pid, addr, &word) < 0)
			return -1;
		return word;
	}
	given = data;
	if (request != PTRACE_SETREGSET || (unsigned long)addr != NT_X86_XSTATE)
		return call(request, pid, addr, data);
	if (call(PTRACE_GETREGSET, pid, addr, &all) < 0 || given->iov_len >= all.iov_len)
		return call(request, pid, addr, data);
	memcpy(whole, given->iov_base, given->iov_len);
	return call(PTRACE_SETREGSET, pid, addr, &all);
}
