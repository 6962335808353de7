"""Kernels from files and trees: snapshots in the cache, the user's own folders untouched."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from kernel_images import BUILD_ID, bzimage, gzipped, vmlinux

from ringrig.errors import GuestLacks, KernelUnavailable, NotAKernel
from ringrig.kernel import resolve
from ringrig.kernel.config import requirements

RELEASE = "6.12.0-test"
NEEDED = [
    "IO_URING", "BLK_DEV_INITRD", "DEVTMPFS", "TMPFS", "PROC_FS", "SYSCTL", "SYSFS", "UNIX",
    "BINFMT_ELF", "BINFMT_SCRIPT", "PCI", "SERIAL_8250_CONSOLE", "VIRTIO_PCI", "VIRTIO_CONSOLE", "NET_9P", "NET_9P_VIRTIO",
    "9P_FS", "OVERLAY_FS",
]  # fmt: skip


def quiet(_line):
    pass


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def depmod(tmp_path, monkeypatch):
    """depmod is not what is tested: it writes its main index and nothing else."""
    program = tmp_path / "bin" / "depmod"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ntouch "$2/lib/modules/$3/modules.dep"\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: str(program))


@pytest.fixture
def tree(tmp_path):
    """A built kernel tree with one module."""
    root = tmp_path / "linux"
    image = root / "arch/x86/boot/bzImage"
    image.parent.mkdir(parents=True)
    image.write_bytes(bzimage(gzipped(vmlinux()), release=RELEASE))
    (root / "fs/9p").mkdir(parents=True)
    (root / "fs/9p/9p.ko").write_bytes(b"module")
    (root / "modules.order").write_text("fs/9p/9p.ko\n")
    (root / ".config").write_text("".join(f"CONFIG_{option}=y\n" for option in NEEDED))
    (root / "Kbuild").touch()
    return root


def everything(root):
    return {(str(path), path.stat().st_mtime_ns) for path in root.rglob("*")}


@pytest.mark.parametrize("given", ["", "arch/x86/boot/bzImage", "vmlinux"])
def test_a_tree_is_taken_whole_whichever_part_is_given(tree, given):
    """The tree, its bzImage and its vmlinux all mean: this build, with its modules."""
    (tree / "vmlinux").write_bytes(vmlinux())
    before = everything(tree)

    image = resolve(str(tree / given), say=quiet)

    assert image.release == RELEASE
    assert image.build_id == BUILD_ID.hex()
    assert image.path.is_relative_to(image.modules)
    assert (image.modules / "lib/modules" / RELEASE / "kernel/fs/9p/9p.ko").read_bytes() == b"module"
    assert (image.modules / "lib/modules" / RELEASE / "modules.dep").exists()
    assert requirements(image)
    assert everything(tree) == before


def test_a_tree_that_was_built_again_is_another_kernel(tree):
    """The snapshot follows the build; guests that run keep theirs."""
    first = resolve(str(tree), say=quiet)
    (tree / "fs/9p/9p.ko").write_bytes(b"changed module")

    second = resolve(str(tree), say=quiet)

    assert first.path != second.path
    assert first.path.exists()


def test_a_vmlinux_of_another_build_than_the_image_is_refused(tree):
    """QEMU boots the bzImage: it must be what was meant."""
    (tree / "vmlinux").write_bytes(vmlinux(b"x" * 20))

    with pytest.raises(NotAKernel, match="another build"):
        resolve(str(tree / "vmlinux"), say=quiet)


def test_a_half_built_tree_is_refused(tree):
    """modules.order promises modules that are not there."""
    (tree / "fs/9p/9p.ko").unlink()

    with pytest.raises(KernelUnavailable, match="half built"):
        resolve(str(tree), say=quiet)


@pytest.mark.parametrize(("kbuild", "what"), [(True, "no arch/x86/boot/bzImage"), (False, "no kernel tree")])
def test_a_directory_without_an_image_is_refused(tmp_path, kbuild, what):
    """Sources that are not built, and directories that are something else."""
    if kbuild:
        (tmp_path / "Kbuild").touch()

    with pytest.raises(KernelUnavailable, match=what):
        resolve(str(tmp_path), say=quiet)


@pytest.mark.parametrize("usr", ["lib/modules", "usr/lib/modules"])
def test_a_file_brings_the_modules_that_lie_above_it(tmp_path, usr):
    """An unpacked package: boot/vmlinuz beside lib/modules, old and new places."""
    root = tmp_path / "unpacked"
    modules = root / usr / RELEASE
    (modules / "kernel").mkdir(parents=True)
    (modules / "kernel/a.ko.xz").write_bytes(b"module")
    (modules / "build").symlink_to("/")
    (root / "boot").mkdir()
    image_file = root / "boot" / "vmlinuz"
    image_file.write_bytes(bzimage(gzipped(vmlinux()), release=RELEASE))
    (root / "boot" / f"config-{RELEASE}").write_text("CONFIG_IO_URING=y\n")
    before = everything(root / "boot") | everything(root / usr)

    image = resolve(str(image_file), say=quiet)

    copied = image.modules / "lib/modules" / RELEASE
    assert {path.name for path in copied.rglob("*")} == {"kernel", "a.ko.xz", "modules.dep"}
    assert image.config.read_text() == "CONFIG_IO_URING=y\n"
    assert everything(root / "boot") | everything(root / usr) == before


def test_an_image_alone_has_neither_modules_nor_configuration(tmp_path):
    """Nothing is borrowed from the host, and an unchecked configuration is told apart from a good one."""
    file = tmp_path / "vmlinuz"
    file.write_bytes(bzimage(gzipped(vmlinux())))

    image = resolve(str(file), say=quiet)

    assert image.modules is None
    assert image.config is None
    assert requirements(image) is False


def test_an_unreadable_image_is_unavailable(tmp_path, monkeypatch):
    """Ubuntu's /boot/vmlinuz is readable by root only."""

    def refuse(self, *_arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    (tmp_path / "vmlinuz").touch()
    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(KernelUnavailable, match="Permission denied"):
        resolve(str(tmp_path / "vmlinuz"), say=quiet)


def test_missing_options_are_named_before_a_boot(tree):
    """A kernel without io_uring, and with a built-in-only option as a module."""
    text = (tree / ".config").read_text()
    text = text.replace("CONFIG_IO_URING=y", "# CONFIG_IO_URING is not set").replace(
        "DEVTMPFS=y", "DEVTMPFS=m"
    )
    (tree / ".config").write_text(text)

    with pytest.raises(GuestLacks) as caught:
        requirements(resolve(str(tree), say=quiet))

    assert "CONFIG_IO_URING (" in caught.value.what
    assert "CONFIG_DEVTMPFS" in caught.value.what
    assert "CONFIG_9P_FS" not in caught.value.what


@pytest.mark.parametrize("with_modules", [True, False])
def test_a_module_does_if_it_comes_along(tree, with_modules):
    """9p as =m is fine with modules, and useless without."""
    (tree / ".config").write_text((tree / ".config").read_text().replace("9P_FS=y", "9P_FS=m"))
    if not with_modules:
        (tree / "modules.order").unlink()
    image = resolve(str(tree), say=quiet)

    if with_modules:
        assert requirements(image)
    else:
        with pytest.raises(GuestLacks, match="comes without modules"):
            requirements(image)
