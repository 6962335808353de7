"""READ and READV into a selected buffer: where in the file, and its position."""

from __future__ import annotations

import os

import pytest

from ringrig.model.shelf import Shelf, spread
from ringrig.model.subject import Subject
from ringrig.model.transfer import Kind, Reply, incoming
from ringrig.uring import consts as c

pytestmark = pytest.mark.ends_within(3)

SIZES = {5: 64, 2: 64, 9: 64}
OPS = {"read": c.IORING_OP_READ, "readv": c.IORING_OP_READV}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
each_issue = pytest.mark.parametrize("flags", [0, c.IOSQE_ASYNC], ids=["locked", "io_wq"])


@pytest.fixture(params=["memfd", pytest.param("disk", marks=pytest.mark.needs("disk_file"))])
def fd(ring: Subject, request: pytest.FixtureRequest) -> int:
    """A file of 100 bytes at its beginning: one that io-wq reads, or one that is read at once, and once more for the rest."""
    arena = ring.arena
    file = arena.own(os.memfd_create("ringrig")) if request.param == "memfd" else arena.disk_file()
    os.write(file, incoming(0, 100))
    os.lseek(file, 0, os.SEEK_SET)
    return file


@each_kind
@each_issue
@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_the_position_moves_by_what_came(ring: Subject, fd: int, opcode: int, flags: int, kind: Kind) -> None:
    """A file of 100 bytes, at its current position: 64, 36, 0, and the position is 64, 100, 100.

    kiocb_done(): REQ_F_CUR_POS, also of a short read
    """
    shelf = Shelf(ring, SIZES, kind=kind)
    found, positions = [], []
    for _ in range(3):
        shelf.queue(opcode, fd, length=64, flags=flags)
        found += [reply.res for reply in shelf.to_the_end()]
        positions.append(os.lseek(fd, 0, os.SEEK_CUR))

    assert (found, positions) == ([64, 36, 0], [64, 100, 100])
    assert shelf.written() == spread(SIZES, (64, 36))


@each_kind
@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_an_offset_leaves_the_position(ring: Subject, fd: int, opcode: int, kind: Kind) -> None:
    """Of 100 bytes those from 10 on, and from 90 on: 64 and 10 bytes, and the position stays 7. io_kiocb_update_pos()"""
    shelf = Shelf(ring, SIZES, kind=kind)
    os.lseek(fd, 7, os.SEEK_SET)
    found = []
    for offset in (10, 90):
        shelf.queue(opcode, fd, length=64).off = offset
        found += shelf.to_the_end()

    assert found == [Reply(res=64, bid=5), Reply(res=10, bid=2)]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 7
    assert shelf.written() == {5: incoming(10, 64), 2: incoming(90, 10)}
    assert shelf.left() == [(9, 64)]


@each_kind
@each_issue
@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
@pytest.mark.parametrize("device", ["zero", "full"])
def test_each_of_those_at_once_has_its_own(
    ring: Subject, device: str, opcode: int, flags: int, kind: Kind
) -> None:
    """Three READs submitted together of a device that has no poll: three buffers, one for each.

    /dev/full cannot be asked without blocking: it has its buffer before a worker runs it. io_ring_buffer_select():
    a file without poll; io_read(): io_file_supports_nowait()
    """
    shelf = Shelf(ring, SIZES, kind=kind)
    fd = ring.arena.own(os.open(f"/dev/{device}", os.O_RDONLY))
    for _ in range(3):
        shelf.queue(opcode, fd, length=64, flags=flags)

    found = [Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(3)]

    assert sorted(found, key=repr) == sorted((Reply(res=64, bid=bid) for bid in SIZES), key=repr)
    assert shelf.written() == dict.fromkeys(SIZES, bytes(64))
    assert shelf.left() == []


@pytest.mark.parametrize("opcode", OPS.values(), ids=OPS)
def test_who_came_first_has_the_first(ring: Subject, opcode: int) -> None:
    """A READ that a worker must run, and one that ends at once, submitted together: the first has the first buffer.

    It is chosen, and gone, as the READ is tried without blocking. io_ring_buffer_select(): a file without poll
    """
    shelf = Shelf(ring, SIZES)
    for number, device in enumerate(("/dev/full", "/dev/zero")):
        fd = ring.arena.own(os.open(device, os.O_RDONLY))
        shelf.queue(opcode, fd, length=64).user_data = number

    found = {cqe.user_data: Reply.of(cqe.res, cqe.flags) for cqe in ring.ring.complete(2)}

    assert found == {0: Reply(res=64, bid=5), 1: Reply(res=64, bid=2)}
    assert shelf.left() == [(9, 64)]
