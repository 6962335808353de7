"""hypothesis drives Lockstep: which steps there are, how many are made, and the shortest script that differs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ringrig.model.lockstep import Difference, Lockstep
from ringrig.model.profiles import Profile
from ringrig.model.shortest import replay, shortest
from ringrig.model.transfer import NEEDS, Op
from ringrig.uring import consts as c
from ringrig.uring.probe import probe

EXAMPLES, STEPS = 25, 30
_SHRINK_SECONDS = 3
_PATIENCE = 3.0
"""Seconds that a completion may take."""
_LOST = 0.1
"""Seconds that a completion may take once a difference is found, and is only to be made shorter."""

# hypothesis now and then draws a number it found in the source of the modules that happen to be loaded, and may shrink
# for minutes; here a seed means the same everywhere, and a case has a deadline.
HypothesisProvider._maybe_draw_constant = lambda *_, **__: None  # type: ignore[method-assign]
engine.MAX_SHRINKING_SECONDS = _SHRINK_SECONDS

BGIDS = st.sampled_from([7, 0, 70])
FLAGS = st.sampled_from([0, c.IOU_PBUF_RING_INC, c.IOU_PBUF_RING_MMAP, 3])
BIDS = st.sampled_from([5, 0, 1, 0x7FFF, 0x8000, 0xFFFF])
SIZES = st.sampled_from([64, 24, 8, 1])
LENGTHS = st.sampled_from([0, 24, 8, 1, 100])
PIECES = st.sampled_from([24, 8, 1, 64, 100])
COUNTS = st.sampled_from([1, 2, 3])
PIPES = st.sampled_from(["pipe_0", "pipe_1"])
SOCKETS = st.sampled_from(["socket_0", "socket_1"])
STREAMS = PIPES | SOCKETS
READABLE = PIPES | st.sampled_from(["zero", "file"])
BY = st.sampled_from(["locked", "locked", "io_wq"])


@cache
def can(capability: str) -> bool:
    return probe()["capabilities"].get(capability, False)


@dataclass(slots=True, kw_only=True)
class Search:
    """What one exploration is made with, and the last example that differed."""

    profile: Profile
    found: Lockstep | None = None


class Machine(RuleBasedStateMachine):
    """One example: a ring and its model, brought through some steps and emptied at the end."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search, self.ended = search, False
        patience = _LOST if search.found else _PATIENCE
        self.both = Lockstep(search.profile.name, patience=patience)
        self.world = self.both.world

    @initialize(flags=FLAGS, sizes=st.lists(SIZES, max_size=6), bids=st.lists(BIDS, min_size=6, max_size=6))
    def begin_with_a_ring(self, flags: int, sizes: list[int], bids: list[int]) -> None:
        if sizes:
            self.register(7, 8, flags, 0)
        for bid, size in zip(bids, sizes, strict=False):
            self.both.publish(7, bid=bid, size=size)

    @initialize(size=SIZES, count=st.sampled_from([0, 1, 3]))
    def begin_with_provided_buffers(self, size: int, count: int) -> None:
        if count:
            self.both.provide(0, bid=9, size=size, count=count)

    @rule(
        bgid=BGIDS,
        entries=st.sampled_from([8, 4, 2, 1, 3]),
        flags=FLAGS,
        min_left=st.sampled_from([0, 0, 9]),
    )
    def register(self, bgid: int, entries: int, flags: int, min_left: int) -> None:
        flags &= c.IOU_PBUF_RING_MMAP * can("mmap") | c.IOU_PBUF_RING_INC * can("inc")
        self.both.register(bgid, entries=entries, flags=flags, min_left=min_left * can("min_left"))

    @rule(bgid=BGIDS)
    def unregister(self, bgid: int) -> None:
        self.both.unregister(bgid)

    @rule(bgid=BGIDS, bid=BIDS, size=SIZES, count=COUNTS)
    def publish(self, bgid: int, bid: int, size: int, count: int) -> None:
        for _ in range(count):
            if not self.world.full(bgid) and not self.world.crowded(size):
                self.both.publish(bgid, bid=bid, size=size)

    @rule(bgid=BGIDS, bid=BIDS, size=SIZES, count=COUNTS)
    def provide(self, bgid: int, bid: int, size: int, count: int) -> None:
        if not self.world.crowded(count * size):
            self.both.provide(bgid, bid=min(bid, 0x10000 - count), size=size, count=count)

    @rule(bgid=BGIDS, count=COUNTS)
    def remove(self, bgid: int, count: int) -> None:
        self.both.remove(bgid, count=count)

    @rule(op=st.sampled_from([Op.READ, Op.READV]), file=READABLE, bgid=BGIDS, length=LENGTHS, by=BY)
    def read(self, op: Op, file: str, bgid: int, length: int, by: str) -> None:
        self._request(op, file, bgid, length=length, by=by)

    @rule(
        op=st.sampled_from([Op.RECV, Op.RECVMSG]),
        file=SOCKETS,
        bgid=BGIDS,
        length=LENGTHS,
        by=BY,
        wait=st.sampled_from([True, True, True, False]),
    )
    def receive(  # noqa: PLR0917
        self, op: Op, file: str, bgid: int, length: int, by: str, wait: bool
    ) -> None:
        self._request(op, file, bgid, length=length, by=by, wait=wait)

    @rule(file=SOCKETS, bgid=BGIDS, length=LENGTHS, by=BY)
    def send(self, file: str, bgid: int, length: int, by: str) -> None:
        self._request(Op.SEND, file, bgid, length=length, by=by)

    @rule(file=PIPES, bgid=BGIDS, by=BY)
    def read_on(self, file: str, bgid: int, by: str) -> None:
        self._request(Op.READ_MULTISHOT, file, bgid, by=by)

    @rule(op=st.sampled_from([Op.RECV_MULTISHOT, Op.RECVMSG_MULTISHOT]), file=SOCKETS, bgid=BGIDS, by=BY)
    def receive_on(self, op: Op, file: str, bgid: int, by: str) -> None:
        self._request(op, file, bgid, by=by)

    def _request(
        self, op: Op, file: str, bgid: int, *, length: int = 0, by: str = "locked", wait: bool = True
    ) -> None:
        """If the kernel knows the operation, and no other request waits for the file."""
        possible = op not in NEEDS or can(NEEDS[op])
        in_doubt = op.multishot and "multishot_in_io_wq" in self.world.traits
        if possible and self.world.files[file].waiting is None:
            options: dict[str, int | str] = {}
            if length:
                options["length"] = length
            if by != "locked" and not in_doubt:
                options["by"] = by
            if not wait:
                options["wait"] = wait
            self.both.request(op.value, file, bgid, **options)  # type: ignore[arg-type]

    @rule(file=SOCKETS, length=PIECES)
    def feed_a_socket(self, file: str, length: int) -> None:
        if not self.world.files[file].ended:
            self.both.feed(file, length)

    @rule(file=PIPES | st.just("file"), length=PIECES)
    def feed_a_pipe(self, file: str, length: int) -> None:
        if file == "file" or not self.world.files[file].ended:
            self.both.feed(file, length)

    @rule(file=STREAMS)
    def end(self, file: str) -> None:
        if not self.world.files[file].ended:
            self.both.end(file)

    @rule(file=STREAMS)
    def cancel(self, file: str) -> None:
        self.both.cancel(file)

    @rule(bgid=BGIDS)
    def mmap(self, bgid: int) -> None:
        if can("mmap"):
            self.both.mmap(bgid)

    def teardown(self) -> None:
        try:
            if not self.both.differs:
                self.both.finish()
        finally:
            if self.both.differs:
                self.search.found = self.both
            self.both.close()


def explore(number: int, profile: Profile, *, examples: int = EXAMPLES) -> str:
    """Seed `number`: the shortest script found on which kernel and model differ, or "".

    `examples`: sequences that are made; fewer are the first of more.
    """
    search = Search(profile=profile)
    manner = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )

    @seed(number)
    class Seeded(Machine):
        def __init__(self) -> None:
            super().__init__(search)

    try:
        run_state_machine_as_test(Seeded, settings=manner)
    except Difference:
        assert search.found is not None
        name = profile.name
        found = shortest(name, search.found, patience=_LOST, seconds=_SHRINK_SECONDS)
        # What was in haste made short must differ at leisure, too.
        return (replay(name, found.steps, patience=_PATIENCE) or search.found).story()
    return ""
