"""A source tree that builds as a kernel's does, in a second: the same targets, variables and files, one C file."""

import subprocess
from pathlib import Path

MAKEFILE = """\
VERSION = 6
# All that was asked for comes out, but for what the file "drops" names.
allnoconfig:
	grep -v -F -x -f drops $(KCONFIG_ALLCONFIG) > $(O)/.config
olddefconfig: ;
linux bzImage:
	@echo "  CC      io_uring/kbuf.o"
	$(CC) $(KCFLAGS) -c -o $(O)/kbuf.o io_uring/kbuf.c
	@echo "  LD      vmlinux"
	$(CC) -nostdlib -Wl,--build-id -Wl,-e,main -o $(O)/vmlinux $(O)/kbuf.o
	cp $(O)/vmlinux $(O)/linux
	mkdir -p $(O)/include/config $(O)/arch/x86/boot
	cp $(O)/vmlinux $(O)/arch/x86/boot/bzImage
	echo 6.12.0-fake > $(O)/include/config/kernel.release
"""
KBUF = "int main(void)\n{\n\treturn 0;\n}\n\nint commit(int head)\n{\n\treturn head + 1;\n}\n"
PATCH = """\
--- a/io_uring/kbuf.c
+++ b/io_uring/kbuf.c
@@ -6,4 +6,4 @@
 int commit(int head)
 {
-\treturn head + 1;
+\treturn head + 2;
 }
"""


def make(folder: Path, *, repository: bool = True) -> Path:
    """The tree in `folder`, committed if it is to be a repository."""
    (folder / "io_uring").mkdir(parents=True)
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "Kbuild").write_text("")
    (folder / "Kconfig").write_text(
        'config IO_URING\n\tbool "x"\n\tdepends on NET\n\nconfig NET\n\tbool "y"\n'
    )
    (folder / "drops").write_text("nothing\n")
    (folder / ".gitignore").write_text("*.o\n")
    (folder / "io_uring/kbuf.c").write_text(KBUF)
    if repository:
        git(folder, "init", "-q", "-b", "master")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "first")
        git(folder, "tag", "v6.12")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """What git answers in a tree."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, to see that none was touched."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
