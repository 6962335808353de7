"""Building: cached by content, boxed, broken builds told in the compiler's words and never kept."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import kernel_tree

from ringrig import cache
from ringrig.errors import BadConfig, BadPatch, BadSpec, BuildFailed, HostLacks, NoSpace
from ringrig.kernel import build, resolve, source, toolchain
from ringrig.kernel.spec import Wanted

UML = Wanted(guest="uml")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path):
    return kernel_tree.make(tmp_path / "linux")


@pytest.fixture
def said():
    return []


def built(tree, said, wanted=UML):
    said.clear()
    return resolve(f"tree:{tree}", wanted=wanted, say=said.append)


def was_built(said):
    return any(line.startswith("built ") for line in said)


def test_an_image_with_all_that_goes_with_it(tree, said):
    """Executable, configuration, unstripped kernel, log; the label says what it is."""
    image = built(tree, said)

    assert image.path.name == "linux-6.12.0-fake"
    assert (image.arch, image.release) == ("um", "6.12.0-fake")
    assert image.label == "tree:linux (v6.12) [uml]"
    assert image.config is not None and "CONFIG_IO_URING=y" in image.config.read_text()
    assert image.vmlinux is not None and image.vmlinux.exists()
    assert image.build_id
    assert (image.path.parents[1] / "build.log").exists()


def test_the_same_is_not_built_twice(tree, said):
    """Nor when it comes about in another way: a patch that is in the tree already, or another tree."""
    first = built(tree, said)
    assert was_built(said)
    second = built(tree, said)
    assert not was_built(said)
    patch = tree.parent / "0001.patch"
    patch.write_text(kernel_tree.PATCH)
    patched = built(tree, said, Wanted(guest="uml", patches=(str(patch),)))
    assert was_built(said)
    subprocess.run(["patch", "-p1", "-i", str(patch)], cwd=tree, check=True, capture_output=True)
    by_hand = built(tree, said)
    assert not was_built(said)
    shutil.copytree(tree, tree.parent / "copy")
    copied = built(tree.parent / "copy", said)

    assert not was_built(said)
    assert copied.path == by_hand.path
    assert first.path == second.path
    assert patched.path == by_hand.path != first.path


@pytest.mark.parametrize("change", ["source", "configuration", "guest", "toolchain"])
def test_whatever_else_is_built_anew(tree, said, change, monkeypatch):
    """Source, configuration, architecture, compiler: each is part of the key."""
    first, wanted = built(tree, said), UML
    if change == "source":
        (tree / "io_uring/kbuf.c").write_text(kernel_tree.KBUF.replace("return 0", "return 3"))
    elif change == "configuration":
        wanted = Wanted(guest="uml", configs=("preempt",))
    elif change == "guest":
        wanted = Wanted(guest="qemu")
    else:
        monkeypatch.setattr(toolchain, "identity", lambda: "another")

    assert built(tree, said, wanted).path != first.path
    assert was_built(said)


def test_a_broken_build_shows_the_compilers_words(tree, said):
    """The error with file and line as in the tree, not the last lines of make; the log is kept, an image is not."""
    (tree / "io_uring/kbuf.c").write_text(f"{kernel_tree.KBUF}int broken(void) {{ return nothing; }}\n")

    with pytest.raises(BuildFailed) as caught:
        built(tree, said)

    assert "io_uring/kbuf.c:10:" in str(caught.value)
    assert "'nothing' undeclared" in str(caught.value)
    assert "make" not in str(caught.value).split("\n", 1)[1].split("next:")[0]
    log = str(caught.value).rpartition("the whole log: ")[2]
    assert "undeclared" in Path(log).read_text()
    assert not list((cache.folder() / "builds").glob("*"))
    (tree / "io_uring/kbuf.c").write_text(kernel_tree.KBUF)
    assert built(tree, said).path.exists()


def test_what_vanished_from_the_configuration_is_an_error(tree, said):
    """Before anything is compiled."""
    (tree / "drops").write_text("CONFIG_IO_URING=y\nCONFIG_NET=y\n")

    with pytest.raises(BadConfig, match=r"CONFIG_IO_URING=y \(kconfigs/base:\d+\).* NET"):
        built(tree, said)
    assert not was_built(said)


def test_a_full_disk_is_said_as_such(tree, said):
    """And the half-written output is not built upon."""
    makefile = tree / "Makefile"
    makefile.write_text(
        makefile.read_text().replace(
            '\t@echo "  CC', "\techo 'cc1: error: No space left on device'; exit 1\n\t@echo \"  CC"
        )
    )

    with pytest.raises(NoSpace, match="No space left"):
        built(tree, said)
    assert list((cache.folder() / "origins").glob("*/out/*/.unfinished"))
    makefile.write_text(kernel_tree.MAKEFILE)
    assert built(tree, said).path.exists()


def test_foreign_makefiles_stay_in_the_box(tree, said, tmp_path, monkeypatch):
    """Neither the source, nor $HOME, nor /etc can be written, no secret be read, no address be reached, no process seen."""
    secret = tmp_path / "home" / "key"
    secret.parent.mkdir()
    secret.write_text("secret")
    monkeypatch.setenv("HOME", str(secret.parent))
    monkeypatch.setenv("TOKEN", "secret")
    attempts = [
        "cp $(KCONFIG_ALLCONFIG) $(O)/.config",
        f"-cat {secret} > $(O)/stolen",
        "-env > $(O)/environment",
        "-echo x > /build/src/io_uring/kbuf.c",
        f"-echo x > {secret}",
        "-echo x > /etc/ringrig-was-here",
        "-echo x > /usr/ringrig-was-here",
        "-ls /proc > $(O)/processes",
        "-cat /proc/net/dev > $(O)/network",
        "-ls /root /home > $(O)/homes",
    ]
    rule = "".join(f"\t{attempt}\n" for attempt in attempts)
    head, _, rest = kernel_tree.MAKEFILE.partition("allnoconfig:")
    (tree / "Makefile").write_text(f"{head}allnoconfig:\n{rule}{rest[rest.index('olddefconfig:') :]}")

    built(tree, said)

    [out] = (cache.folder() / "origins").glob("*/out/*")
    assert (out / "stolen").read_text() == ""
    assert "secret" not in (out / "environment").read_text()
    assert secret.read_text() == "secret"
    assert not Path("/etc/ringrig-was-here").exists() and not Path("/usr/ringrig-was-here").exists()
    assert (
        next((cache.folder() / "origins").glob("*/src")) / "io_uring/kbuf.c"
    ).read_text() == kernel_tree.KBUF
    assert str(os.getpid()) not in (out / "processes").read_text().split()
    assert [line.split(":")[0].strip() for line in (out / "network").read_text().splitlines()[2:]] == ["lo"]
    assert (out / "homes").read_text().strip() == ""


def test_two_at_once_build_once(tree):
    """The second waits, says so, and takes what the first made."""
    (tree / "Makefile").write_text(
        kernel_tree.MAKEFILE.replace("linux bzImage:", "linux bzImage:\n\tsleep 3")
    )
    program = (
        "import sys\nfrom ringrig.kernel import resolve\nfrom ringrig.kernel.spec import Wanted\n"
        f"print(resolve('tree:{tree}', wanted=Wanted(guest='uml'), say=lambda s: print(s, file=sys.stderr)).path)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = [one.communicate(timeout=60) for one in both]

    assert results[0][0] == results[1][0] != ""
    assert sum("built " in errors for _, errors in results) == 1
    assert sum("another rig is busy with " in errors for _, errors in results) >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_nothing_stays_and_the_next_build_works(tree, said, number):
    """Ctrl-C, or what ends a job of CI, in the middle of make: no process left, no image, a clean start."""
    mark = f"sleep 54.{os.getpid()}"
    (tree / "Makefile").write_text(
        kernel_tree.MAKEFILE.replace("linux bzImage:", f"linux bzImage:\n\t{mark}")
    )
    # What nohup has ignored here the rig would inherit as ignored.
    inherited = signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "ringrig.cli", "build", f"--kernel=tree:{tree}", "--guest=uml"],
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(number, inherited)
    limit = time.monotonic() + 30
    while not running(mark) and time.monotonic() < limit:
        time.sleep(0.05)
    assert running(mark)

    process.send_signal(number)
    _, said_last = process.communicate(timeout=20)

    assert process.returncode == 130
    assert said_last.endswith("rig: interrupted\n")
    limit = time.monotonic() + 5
    while running(mark) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not running(mark)
    assert not list((cache.folder() / "builds").glob("*"))
    (tree / "Makefile").write_text(kernel_tree.MAKEFILE)
    assert built(tree, said).path.exists()


def test_the_lock_of_a_git_that_was_killed_is_in_nobodys_way(tree, said):
    """TERM in the middle of a checkout, or kill -9: no build of that tree went ahead any more."""
    built(tree, said)
    (tree / "io_uring/kbuf.c").write_text(kernel_tree.KBUF + "int more;\n")
    [git] = (cache.folder() / "origins").glob("*/git")
    for name in ("src.index.lock", "user.index.lock"):
        (git / name).write_bytes(b"")

    image = built(tree, said)

    assert image.path.exists()
    assert not list(git.glob("*.lock"))


def running(command):
    words = command.replace(" ", "\0").encode()
    return any(words in _read(file) for file in Path("/proc").glob("[0-9]*/cmdline"))


def _read(file):
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_what_builds_kernels_is_named_where_it_is_missing(tree, said, monkeypatch):
    """The packages, in a line to copy."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostLacks, match=r"gcc, binutils, make, flex, bison") as caught:
        build.image(source.Origin(spec="", label="", place=Path("/"), tree=""), UML, say=said.append)

    assert "apt-get install" in caught.value.next_step


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        (Wanted(guest="uml", configs=("kasam",)), BadSpec, "did you mean kasan"),
        (Wanted(guest="uml", patches=("/nowhere.patch",)), BadPatch, "There is no /nowhere.patch"),
        (Wanted(guest="uml", patches=("/proc",)), BadPatch, r"holds no \*.patch"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_built(tree, said, wanted, error, words):
    """With the nearest name, or what is not there."""
    with pytest.raises(error, match=words):
        built(tree, said, wanted)
    assert not was_built(said)


@pytest.mark.parametrize("spec", ["host", "debian:6.12"])
def test_what_is_built_already_takes_no_patch(spec):
    """Said before anything is fetched."""
    with pytest.raises(BadSpec, match="is built already"):
        resolve(spec, wanted=Wanted(patches=("x.patch",)), say=print)


def test_patches_may_say_what_to_be_judged_by(tree, said, tmp_path):
    """A directory with a file `profile`: another ABI wants another judge."""
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "0001.patch").write_text(kernel_tree.PATCH)
    (folder / "profile").write_text("rfc\n")

    image = built(tree, said, Wanted(guest="uml", patches=(str(folder),)))

    assert image.profile == "rfc"
    assert image.label == "tree:linux (v6.12) [uml, +series]"
