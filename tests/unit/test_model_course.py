"""The rules of transfers: what kernels differ in, a property each."""

import errno
import re
from pathlib import Path

import pytest

from ringrig.model import course
from ringrig.model.course import expect, meaningless
from ringrig.model.profiles import load_profile, profiles
from ringrig.model.traits import TRAITS
from ringrig.model.transfer import Buffer, Issue, Kind, Op, Place, Reply, Source, Stock, Then, Transfer

RING = Stock(kind=Kind.RING, buffers=(Buffer(bid=4), Buffer(bid=2)))
LEGACY = Stock(kind=Kind.LEGACY, buffers=RING.buffers)


def replies(call, stock, profile):
    return expect(call, stock, load_profile(profile).traits).replies


def test_rules_ask_for_traits_that_exist():
    """A misspelt name would never hold."""
    asked = set(re.findall(r'"(\w+)" (?:not )?in (?:self\.)?traits', Path(course.__file__).read_text()))

    assert len(asked) > 10
    assert asked <= TRAITS.keys()


@pytest.mark.parametrize("name", profiles())
@pytest.mark.parametrize("kind", Kind)
def test_what_is_not_left_was_reported(name, kind):
    """On every kernel, of every call without a flaw in it."""
    for op in Op:
        for issue in Issue:
            stock = Stock(kind=kind, buffers=RING.buffers)
            call = Transfer(op=op, issue=issue, ready=40, then=(Then.CANCEL,) * op.multishot)
            if meaningless(call, stock, load_profile(name).traits):
                continue
            got = expect(call, stock, load_profile(name).traits)

            reported = [reply.bid for reply in got.replies if reply.bid is not None]

            assert [*reported, *got.left] == [4, 2]


def test_no_buffer_has_two_names():
    """A SEND to a group that nobody made is -ENOENT, all else -ENOBUFS."""
    for op in (Op.READ, Op.RECV, Op.RECVMSG):
        assert replies(Transfer(op=op), None, "7.3") == (Reply(res=-errno.ENOBUFS),)
    assert replies(Transfer(op=Op.SEND), None, "7.3") == (Reply(res=-errno.ENOENT),)
    assert replies(Transfer(op=Op.SEND), Stock(kind=Kind.RING), "7.3") == (Reply(res=-errno.ENOBUFS),)


def test_a_failed_read_keeps_its_buffer_on_later_kernels():
    """Of a ring, on a file with poll, by the submitter; else it is gone and reported."""
    bad = Transfer(op=Op.READ, source=Source.WRITE_END)

    assert replies(bad, RING, "debian:6.1") == (Reply(res=-errno.EBADF, bid=4),)
    assert replies(bad, RING, "7.3") == (Reply(res=-errno.EBADF),)
    assert replies(bad, LEGACY, "7.3") == (Reply(res=-errno.EBADF, bid=4),)
    in_io_wq = Transfer(op=Op.READ, source=Source.WRITE_END, issue=Issue.IO_WQ)
    assert replies(in_io_wq, RING, "7.3") == (Reply(res=-errno.EBADF, bid=4),)


def test_length_zero_is_nothing_in_the_rfc_ring():
    """And all of the buffer everywhere else."""
    call = Transfer(op=Op.READ, ready=40)

    assert replies(call, RING, "rfc") == (Reply(res=0, bid=4),)
    assert replies(call, LEGACY, "rfc") == replies(call, RING, "rfc-reviewed") == (Reply(res=40, bid=4),)


def test_an_address_in_the_kernel_half_has_three_answers():
    """-EFAULT with the buffer, without it, or no buffer at all."""
    stock = Stock(kind=Kind.RING, buffers=(Buffer(bid=4, place=Place.KERNEL),))
    call = Transfer(op=Op.READ, ready=40)

    assert replies(call, stock, "debian:6.1") == (Reply(res=-errno.EFAULT, bid=4),)
    assert replies(call, stock, "debian:6.12") == (Reply(res=-errno.EFAULT),)
    assert replies(call, stock, "7.3") == (Reply(res=-errno.ENOBUFS),)


def test_a_difference_is_told_line_by_line():
    """What differs, and the rule."""
    want = expect(Transfer(op=Op.READ, ready=3), RING, frozenset())
    got = expect(Transfer(op=Op.READ, ready=2), RING, frozenset())

    assert want.against(got)[0] == "replies: got (<2 bid 4>,), want (<3 bid 4>,)"
    assert want.against(got)[-1].startswith("by io_uring/rw.c kiocb_done()")
