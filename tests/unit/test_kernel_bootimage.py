"""Boot images: the setup header, the kernel inside in every compression, its build-id."""

import bz2
import lzma
import struct

import pytest
import zstandard
from kernel_images import BUILD_ID, bzimage, gzipped, vmlinux

from ringrig.errors import NotAKernel
from ringrig.kernel import bootimage, lz4
from ringrig.kernel.buildid import build_id, of_notes


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lz4_legacy(data):
    """Literals only: one sequence with a length that needs extension bytes."""
    more = len(data) - 15
    block = b"\xf0" + b"\xff" * (more // 255) + bytes([more % 255]) + data
    return lz4.LEGACY_MAGIC + struct.pack("<I", len(block)) + block


PACKERS = {
    "none": lambda data: data,
    "gzip": gzipped,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "lz4": lz4_legacy,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_the_build_id_is_found_in_every_compression(tmp_path, packer):
    """What the kernel's build can make, but for LZO."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(PACKERS[packer](vmlinux())))

    assert build_id(image) == BUILD_ID.hex()
    assert build_id(image) == BUILD_ID.hex(), "the same from the cache"


def test_an_unknown_compression_is_an_unknown_build_id(tmp_path):
    """None, so that the caller can say that the check was not made."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(b"\x89LZO\0\r\n\x1a\n" + bytes(64)))

    assert build_id(image) is None


def test_a_damaged_kernel_is_no_kernel(tmp_path):
    """Not an unknown build-id: this would not boot."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(b"\xfd7zXZ\0" + bytes(64)))

    with pytest.raises(NotAKernel, match="cannot be unpacked"):
        build_id(image)


def test_the_release_is_the_first_word_of_the_version(tmp_path):
    """What uname -r will say."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(gzipped(vmlinux()), release="7.3.0-rc1+"))

    assert bootimage.read(image).release == "7.3.0-rc1+"


def test_a_32_bit_kernel_is_refused(tmp_path):
    """Guests are x86-64."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(b"", xloadflags=0))

    with pytest.raises(NotAKernel, match="32-bit"):
        bootimage.read(image)


def test_an_image_that_is_cut_short_is_refused(tmp_path):
    """An interrupted copy must not cost a boot's time-out."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(bytes(5000))[:-100])

    with pytest.raises(NotAKernel, match="cut short"):
        bootimage.read(image)


def test_notes_without_a_build_id_give_none():
    """CONFIG_BUILD_SALT and friends leave other notes."""
    assert of_notes(b"") is None
    assert of_notes(struct.pack("<III", 6, 0, 0x101) + b"Linux\0\0\0") is None


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"\x10A\x01\x00\x50" + b"BCDEF", b"AAAAABCDEF"),
        (b"\x31ABC\x03\x00\x10Z", b"ABCABCABZ"),
        (b"\x20AB", b"AB"),
    ],
)
def test_lz4_matches_may_overlap_what_they_write(block, text):
    """A distance shorter than the length repeats."""
    assert lz4.decompress_legacy(lz4.LEGACY_MAGIC + struct.pack("<I", len(block)) + block) == text


@pytest.mark.parametrize("block", [b"\x10A\x02\x00", b"\x10A\x00\x00", b"\xf0"])
def test_lz4_damage_is_an_error(block):
    """Distances that point nowhere, lengths that never end."""
    with pytest.raises(ValueError, match="LZ4"):
        lz4.decompress_legacy(lz4.LEGACY_MAGIC + struct.pack("<I", len(block)) + block)
