"""A ring in two processes: inherited, fetched, kept over exec(); and what of a process outlives it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from ringrig.model.profiles import Profile
from ringrig.model.subject import Subject
from ringrig.uring import bufring
from ringrig.uring import consts as c
from ringrig.uring.counters import PinWatch
from ringrig.uring.group import Group, bids, legacy, remove_legacy
from ringrig.uring.neighbour import Neighbour
from ringrig.uring.ring import Cqe, Ring
from ringrig.uring.structs import io_uring_params

pytestmark = pytest.mark.ends_within(5)

_PROGRAM = "/bin/cat"
"""It waits for its input."""
USER, KERNEL, LEGACY = "user_memory", "kernel_memory", "legacy"
each_ring = pytest.mark.parametrize("kind", [USER, pytest.param(KERNEL, marks=pytest.mark.needs("mmap"))])
each_kind = pytest.mark.parametrize(
    "kind", [USER, pytest.param(KERNEL, marks=pytest.mark.needs("mmap")), LEGACY]
)

Again = Callable[[Subject], Ring]


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    """A process that was forked before there was a ring."""
    with Neighbour() as made:
        yield made


@pytest.fixture
def again() -> Iterator[Again]:
    """again(subject): its ring, with the queues as another process left them."""
    made: list[Ring] = []

    def adopt(subject: Subject) -> Ring:
        made.append(Ring.adopt(os.dup(subject.ring.fd), subject.ring.params))
        return made[-1]

    yield adopt
    for ring in made:
        ring.close()


def _flags(kind: str) -> int:
    return c.IOU_PBUF_RING_MMAP if kind == KERNEL else 0


def _stocked(subject: Subject, kind: str, *bids_: int) -> Group:
    """Group 7 of that kind, with these buffers."""
    group = Group(subject.ring, subject.arena, flags=_flags(kind))
    if kind == LEGACY:
        for bid in bids_:
            assert legacy(subject.ring, bgid=7, addr=group.address_of(bid), count=1, bid=bid) == 0
        return group
    assert group.register() == 0
    subject.owns(7)
    group.publish(*bids_)
    return group


def _read(ring: Ring, group: Group, data: bytes) -> Cqe:
    """A READ by `ring` that selects from the group, of a pipe with `data`."""
    group.ring = ring
    reader, writer = os.pipe()
    os.write(writer, data)
    cqe = group.read(reader)
    os.close(reader)
    os.close(writer)
    return cqe


def _taken_over(neighbour: Neighbour, params: bytes) -> Ring:
    """The ring that the neighbour made, through a descriptor of this process's own."""
    fd = neighbour.descriptor(neighbour.ask("descriptor"))
    assert fd >= 0
    return Ring.adopt(fd, io_uring_params.from_buffer_copy(params))


@each_kind
def test_a_child_takes_from_the_same_group(ring: Subject, again: Again, kind: str) -> None:
    """fork(): the child reads and gets the group's first buffer, at that address in its own memory; the parent gets
    the next.

    Groups are the ring's; an address is one of whoever issues the request. io_buffer_select()
    """
    group = _stocked(ring, kind, 5, 3, 1)

    def read() -> tuple[Cqe, bytes]:
        with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as mine:
            return _read(mine, group, b"child"), group.content(5, 6)

    with Neighbour(read) as child:
        cqe, content = child.work()

    assert (cqe.res, cqe.bid, content) == (5, 5, b"child\0")
    assert group.content(5, 5) == bytes(5)
    cqe = _read(again(ring), group, b"parent")
    assert (cqe.res, cqe.bid, group.content(3, 7)) == (6, 3, b"parent\0")


@each_kind
def test_what_a_child_makes_outlives_it(ring: Subject, again: Again, kind: str) -> None:
    """A child registers a group, or provides one, and ends: the parent gets its buffers, in their order.

    The pinned page outlives the memory it came from. io_pin_pages()
    """
    group = Group(ring.ring, ring.arena)
    with Neighbour() as child:
        child.ask("take", bytes(ring.ring.params), ring.ring.fd)
        if kind == LEGACY:
            assert child.ask("provide", group.address_of(2), 64, 2, 2, bgid=7) == 0
        else:
            assert child.ask("register", bgid=7, flags=_flags(kind)) == 0
            child.ask("publish", group.address_of(2), 64, 2, 3)
            ring.owns(7)
        child.end()

    ring_now = again(ring)
    found = [_read(ring_now, group, data) for data in (b"one", b"two", b"three")]

    assert [(cqe.res, cqe.bid) for cqe in found] == [(3, 2), (3, 3), (-errno.ENOBUFS, None)]
    assert (group.content(2, 3), group.content(3, 3)) == (b"one", b"two")


@pytest.mark.needs("pin_counters")
def test_a_dead_childs_page_is_pinned_for_the_ring(make_ring: Callable[..., Subject], pins: PinWatch) -> None:
    """A child registers a ring in its own memory and is killed: the page stays pinned, until it is unregistered. io_pin_pages()"""
    subject = make_ring()

    def register_and_die() -> None:
        with Neighbour() as child:
            child.ask("take", bytes(subject.ring.params), subject.ring.fd)
            assert child.ask("register", bgid=7) == 0
            child.kill()

    def there_and_back() -> None:
        register_and_die()
        assert bufring.unregister(subject.ring, 7) == 0

    assert pins.after(there_and_back, wanted=0) == 0
    assert pins.after(register_and_die, wanted=1) == 1
    assert bufring.unregister(subject.ring, 7) == 0


@each_kind
def test_a_child_takes_a_group_away(ring: Subject, again: Again, profile: Profile, kind: str) -> None:
    """A child unregisters the group, or removes its buffers: the parent's requests find none, and it is gone.

    io_unregister_pbuf_ring(), io_remove_buffers(): groups are the io_uring's, not a task's
    """
    group = _stocked(ring, kind, 5, 3)

    def remove() -> int:
        with Ring.adopt(os.dup(ring.ring.fd), ring.ring.params) as mine:
            return remove_legacy(mine, bgid=7, count=9) if kind == LEGACY else bufring.unregister(mine, 7)

    with Neighbour(remove) as child:
        assert child.work() == (2 if kind == LEGACY else 0)

    refused = kind == LEGACY and "upgrade_refused" in profile.traits
    assert _read(again(ring), group, b"data").res == -errno.ENOBUFS
    assert bufring.register(ring.ring, addr=ring.arena.anon(1), bgid=7) == (-errno.EEXIST if refused else 0)


@pytest.mark.needs("single_issuer", "status")
def test_a_single_issuers_ring_is_not_its_childs(make_ring: Callable[..., Subject], again: Again) -> None:
    """IORING_SETUP_SINGLE_ISSUER: to a child every call is -EEXIST, and nothing is changed.

    io_uring_register(): ctx->submitter_task
    """
    subject = make_ring(flags=c.IORING_SETUP_SINGLE_ISSUER)
    group = _stocked(subject, USER, 5)
    with Neighbour() as child:
        child.ask("take", bytes(subject.ring.params), subject.ring.fd)
        said = [child.ask("register", bgid=8), child.ask("unregister", bgid=7), child.ask("head", bgid=7)]

    assert said == [-errno.EEXIST] * 3
    assert group.head() == 0
    assert bufring.head(subject.ring, 8) == -errno.ENOENT
    assert _read(again(subject), group, b"data").bid == 5


def test_a_ring_does_not_go_over_a_socket(ring: Subject) -> None:
    """SCM_RIGHTS with an io_uring's descriptor: -EINVAL, and the receiver gets nothing.

    scm_fp_copy() refuses them since 705318a99a13 (6.7 and stable kernels): sockets in rings and rings in sockets
    were more than unix_gc() could count.
    """
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(OSError, match="Invalid argument"):
            socket.send_fds(near, [b"x"], [ring.ring.fd])
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)


@each_ring
def test_a_ring_that_was_fetched_is_used_there(
    neighbour: Neighbour, ring: Subject, again: Again, kind: str
) -> None:
    """pidfd_getfd(): a process that has nothing of the ring but a descriptor maps its queues, registers a group,
    publishes, reads into its own memory; whoever made the ring sees the group and goes on with it.
    """
    group = Group(ring.ring, ring.arena)
    neighbour.ask("fetch", bytes(ring.ring.params), os.getpid(), ring.ring.fd)
    room = neighbour.ask("room", 64)

    assert neighbour.ask("register", bgid=7, flags=_flags(kind)) == 0
    ring.owns(7)
    neighbour.ask("publish", room, 64, 5)
    neighbour.ask("publish", group.address_of(3), 64, 3)
    cqe = neighbour.ask("read", b"there", bgid=7)

    assert (cqe.res, cqe.bid, neighbour.ask("content", room, 6)) == (5, 5, b"there\0")
    assert bufring.register(ring.ring, addr=ring.arena.anon(1), bgid=7) == -errno.EEXIST
    cqe = _read(again(ring), group, b"here")
    assert (cqe.res, cqe.bid, group.content(3, 5)) == (4, 3, b"here\0")


@pytest.mark.needs("mmap")
def test_a_kernel_ring_is_mapped_by_who_fetched_it(neighbour: Neighbour, ring: Subject, again: Again) -> None:
    """A ring in kernel memory that this process registered: the other maps it and publishes, and it is seen here.

    io_uring_mmap(): file->private_data, not the task's
    """
    group = _stocked(ring, KERNEL, 5)
    neighbour.ask("fetch", bytes(ring.ring.params), os.getpid(), ring.ring.fd)

    assert neighbour.ask("map", bgid=7) == 0
    neighbour.ask("publish", group.address_of(3), 64, 3)
    neighbour.end()

    assert bids([_read(again(ring), group, b"data") for _ in range(3)]) == [5, 3, None]


def test_the_last_descriptor_is_what_counts(neighbour: Neighbour, make_ring: Callable[..., Subject]) -> None:
    """The process that registered closes its descriptor: who fetched the ring before goes on with the group.

    io_uring_release() comes with the file's last reference
    """
    subject = make_ring()
    neighbour.ask("fetch", bytes(subject.ring.params), os.getpid(), subject.ring.fd)
    room = neighbour.ask("room", 128)
    group = Group(subject.ring, subject.arena)
    assert group.register() == 0
    for bid in (5, 3):
        group.memory.publish(room, 64, bid)

    subject.ring.close()

    found = [neighbour.ask("read", b"data", bgid=7) for _ in range(3)]
    assert [(cqe.res, cqe.bid) for cqe in found] == [(4, 5), (4, 3), (-errno.ENOBUFS, None)]
    assert neighbour.ask("unregister", bgid=7) == 0


@each_ring
@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_ring_outlives_its_maker(neighbour: Neighbour, ring: Subject, how: str, kind: str) -> None:
    """A process sets a ring up, registers a group and publishes, then dies: who has the descriptor gets the buffers,
    unregisters, registers anew. io_uring_release() comes with the file's last reference
    """
    params = neighbour.ask("make")
    group = Group(ring.ring, ring.arena, bgid=700)
    assert neighbour.ask("register", bgid=700, flags=_flags(kind)) == 0
    neighbour.ask("publish", group.address_of(2), 64, 2, 3)
    with _taken_over(neighbour, params) as mine:
        getattr(neighbour, how)()

        found = [_read(mine, group, b"data") for _ in range(3)]

        assert [(cqe.res, cqe.bid) for cqe in found] == [(4, 2), (4, 3), (-errno.ENOBUFS, None)]
        assert group.unregister() == 0
        assert group.register() == 0
        group.publish(6)
        assert _read(mine, group, b"more").bid == 6
        assert group.unregister() == 0


@pytest.mark.needs("pin_counters")
def test_exec_closes_a_ring(pins: PinWatch) -> None:
    """exec(): the descriptor is one that closes, so the ring ends while the process goes on: the page comes back.

    io_uring_install_fd(): O_CLOEXEC
    """
    programs: list[Neighbour] = []

    def register_and_exec() -> None:
        programs.append(Neighbour())
        programs[-1].ask("make")
        assert programs[-1].ask("register", bgid=7) == 0
        fd = programs[-1].ask("descriptor")
        programs[-1].become(_PROGRAM)
        assert programs[-1].descriptor(fd) == -errno.EBADF

    try:
        assert pins.after(register_and_exec, wanted=0) == 0
    finally:
        for program in programs:
            program.kill()


@each_ring
def test_a_ring_kept_over_exec_has_its_groups(neighbour: Neighbour, ring: Subject, kind: str) -> None:
    """exec() with the descriptor kept open: all memory of the process is another, the group goes on as it was."""
    params = neighbour.ask("make")
    group = Group(ring.ring, ring.arena)
    assert neighbour.ask("register", bgid=7, flags=_flags(kind)) == 0
    neighbour.ask("publish", group.address_of(2), 64, 2, 3)
    fd = neighbour.ask("descriptor", keep=True)

    neighbour.become(_PROGRAM)

    with Ring.adopt(neighbour.descriptor(fd), io_uring_params.from_buffer_copy(params)) as mine:
        found = [_read(mine, group, b"data") for _ in range(3)]
        assert [(cqe.res, cqe.bid) for cqe in found] == [(4, 2), (4, 3), (-errno.ENOBUFS, None)]
        assert group.unregister() == 0
