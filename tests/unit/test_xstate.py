"""The preloaded ptrace(): a state that the processor's outgrew is set all the same."""

import shutil
import subprocess

import pytest

from ringrig import cache
from ringrig.errors import HostLacks
from ringrig.vm import xstate

# Gets the first 576 bytes of a stopped child's extended state, which every processor has more of, and sets them again.
TRACER = r"""
#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	static char state[576];
	struct iovec part = { state, sizeof(state) };
	static long word = 4711;
	pid_t pid = fork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	if (ptrace(PTRACE_PEEKDATA, pid, &word, 0) != 4711)
		return 2;
	if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &part) < 0)
		return 3;
	if (ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &part) < 0)
		return 1;
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, NULL, 0);
	return 0;
}
"""
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")


@needs_gcc
def test_a_part_of_the_state_can_be_set(tmp_path):
    """Exit code 1 (EFAULT) without the library, 0 with it; other requests pass through."""
    (tmp_path / "tracer.c").write_text(TRACER)
    tracer = tmp_path / "tracer"
    subprocess.run(["gcc", "-o", tracer, tmp_path / "tracer.c"], check=True, timeout=60)

    xstate.compile_into(tmp_path)

    library = {"LD_PRELOAD": str(tmp_path / "xstate.so")}
    assert subprocess.run([tracer], timeout=20, check=False).returncode == 1
    assert subprocess.run([tracer], env=library, timeout=20, check=False).returncode == 0


@needs_gcc
def test_only_a_processor_with_amx_wants_it(tmp_path, monkeypatch):
    """Elsewhere nothing is compiled; there it is compiled once."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(xstate, "_CPUINFO", cpuinfo)
    cpuinfo.write_text("flags\t: fpu avx\n")
    assert xstate.preload(say=print) is None
    assert not (tmp_path / "cache").exists()

    cpuinfo.write_text("flags\t: fpu amx_bf16 amx_tile\n")

    assert xstate.preload(say=print).read_bytes().startswith(b"\x7fELF")


def test_without_a_compiler_it_is_said_what_to_install(tmp_path, monkeypatch):
    """HostLacks."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(HostLacks, match="there is no gcc"):
        xstate.compile_into(tmp_path)
