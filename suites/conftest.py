"""What every case can ask for: a ring, the model of it, a group in use; and when a case is left out.

RINGRIG_FACTS, a JSON object in the environment, says how the kernel was named: {"kernel": spec, "release":
uname -r, "profile": name or null, "shared": true where the kernel is not ours alone,
"slowness": what deadlines are multiplied with}. Without it the kernel
is taken to be shared, and its profile follows from uname -r.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from ringrig.guest.markers import register
from ringrig.model.bugs import shown_by
from ringrig.model.calls import registration
from ringrig.model.profiles import Deviation, Profile, load_profile, profile_for
from ringrig.model.scene import Scene
from ringrig.model.spec import Model, Outcome, Survey
from ringrig.model.spoil import ABSENT, LEGACY, RING, Spoil
from ringrig.model.subject import Subject
from ringrig.model.traits import TRAITS
from ringrig.model.transfer import Result, Stock
from ringrig.uring import consts as c
from ringrig.uring.counters import Disturbed, PinWatch
from ringrig.uring.group import Group, Pipe
from ringrig.uring.memory import Arena, Unavailable
from ringrig.uring.probe import probe
from ringrig.uring.ring import Ring
from ringrig.uring.stuck import Watched, diagnosis
from ringrig.uring.wire import Wire

_TRAIT_OF = {
    "mmap": "pbuf_mmap",
    "inc": "pbuf_inc",
    "min_left": "pbuf_min_left",
    "status": "pbuf_status",
    "registered_ring_fd": "registered_ring_fd",
    "task_restrictions": "task_restrictions",
    "send_select": "send_select",
    "read_multishot": "read_multishot",
    "recv_multishot": "recv_multishot",
}
"""Capabilities whose absence a profile can make a failure."""


_hung: list[str] = []
"""The case of this process that did not end."""


@cache
def facts() -> dict[str, Any]:
    """RINGRIG_FACTS, or what holds without it."""
    given = os.environ.get("RINGRIG_FACTS")
    found: dict[str, Any] = json.loads(given) if given else {}
    return {
        "kernel": None,
        "release": platform.release(),
        "profile": None,
        "shared": True,
        "slowness": 1.0,
        **found,
    }


@cache
def expected_profile() -> Profile:
    """What this kernel is judged by."""
    told = facts()
    return load_profile(told["profile"]) if told["profile"] else profile_for(told["kernel"], told["release"])


def pytest_configure(config: pytest.Config) -> None:
    register(config)
    config.addinivalue_line(
        "markers",
        "regression(bug): shows that bug of suites/regressions/bugs.toml; set as cases are collected",
    )
    config.addinivalue_line(
        "markers",
        "ends_within(seconds): may hang in a broken kernel: watched, and after that time failed with stacks and locks",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shows a bug that really was says so: -m regression, -m 'regression(bug="ID")'."""
    for item in items:
        for bug in shown_by(item.nodeid):
            item.add_marker(pytest.mark.regression(bug=bug.id))


def pytest_report_header(config: pytest.Config) -> str | None:
    if config.pluginmanager.has_plugin("ringrig.plugin") and "RINGRIG_FACTS" not in os.environ:
        return None
    profile = expected_profile()
    doubt = "" if profile.pinned else f" (UNPINNED: only the nearest to {facts()['release']})"
    return f"kernel {facts()['release']}, judged by profile {profile.name}{doubt}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """In an agent: find out once here what the forked cases then inherit."""
    if "RINGRIG_FACTS" in os.environ:
        probe()
        expected_profile()


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [name for mark in item.iter_markers("needs") for name in mark.args]
    if not wanted:
        return
    found = probe()
    has = {**found["capabilities"], "own_kernel": not facts()["shared"]}
    missing = [name for name in wanted if not has.get(name, False)]
    for name in missing:
        if name not in has:
            pytest.fail(f"needs({name}): no such capability; there are {', '.join(has)}", pytrace=False)
        trait = _TRAIT_OF.get(name)
        if trait in expected_profile().traits:
            changed = Deviation(trait=TRAITS[trait], expected=True, profile=expected_profile().name)
            pytest.fail(str(changed), pytrace=False)
    if missing:
        reasons = [found["absent"].get(name, "the kernel is shared") for name in missing]
        pytest.skip(f"needs {', '.join(missing)}: {'; '.join(reasons)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except Unavailable as error:
        pytest.skip(f"needs memory this machine lacks: {error}")
    except Disturbed as error:
        pytest.skip(f"needs quiet counters: {error}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A case that may hang in the kernel runs in a thread, so that another is left to tell what hangs."""
    mark = pyfuncitem.get_closest_marker("ends_within")
    if mark is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    case = partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    seconds = mark.args[0] * facts()["slowness"]
    if not Watched(case).ended_within(seconds):
        _hung.append(pyfuncitem.nodeid)
        found = diagnosis(os.getpid(), own_kernel=not facts()["shared"])
        pytest.fail(f"no end within {seconds:.0f} s: {found}", pytrace=False)
    return True


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    if op != "==":
        return None
    if isinstance(left, Outcome) and isinstance(right, Outcome):
        return right.against(left)
    if isinstance(left, Survey) and isinstance(right, Survey):
        return right.against(left)
    if isinstance(left, Result) and isinstance(right, Result):
        return right.against(left)
    return None


@pytest.fixture
def make_ring() -> Iterator[Callable[..., Subject]]:
    """make_ring(entries=8, flags=0, …): a Subject on a ring of that kind."""
    made: list[Subject] = []

    def make(entries: int = 8, flags: int = 0, **options: int) -> Subject:
        if not probe()["usable"]:
            pytest.fail(f"no io_uring here: {probe()['reason']}", pytrace=False)
        made.append(Subject(Ring(entries, flags, **options), Arena()))
        return made[-1]

    yield make
    if _hung:  # closing would wait for the same lock; the process's end gives all back, if anything does
        return
    for subject in made:
        subject.close()


@pytest.fixture
def ring(make_ring: Callable[..., Subject]) -> Subject:
    """A ring without set-up flags, which takes described calls."""
    return make_ring()


@pytest.fixture
def profile() -> Profile:
    """What this kernel is judged by."""
    return expected_profile()


@pytest.fixture
def model() -> Model:
    """The model of such a ring, as the kernel's profile wants it; it must be told every call the ring is."""
    return Model(expected_profile().traits)


@pytest.fixture
def stage(make_ring: Callable[..., Subject], model: Model) -> Callable[..., Subject]:
    """stage(spoils, group="absent"): a Subject, and the model with it, in the state these spoils want.

    Group 7 is absent, a ring of 8 entries, or a legacy group of 3 buffers.
    """

    def make(spoils: Iterable[Spoil], group: str = ABSENT) -> Subject:
        bound, restricted = (any(getattr(one, name) for one in spoils) for name in ("bound", "restricted"))
        flags = c.IORING_SETUP_SINGLE_ISSUER * bound | c.IORING_SETUP_R_DISABLED * restricted
        subject = make_ring(flags=flags)
        group = next((one.group for one in spoils if one.group), group)
        if group == RING:
            assert subject.say(registration()) == model.say(registration())
        elif group == LEGACY:
            assert subject.provide_buffers(bgid=7, count=3) == model.provide_buffers(bgid=7, count=3)
        if restricted:
            assert subject.ring.restrict((c.IORING_RESTRICTION_REGISTER_OP, c.IORING_REGISTER_PROBE)) >= 0
            model.restrict(c.IORING_REGISTER_PROBE)
            assert subject.ring.enable() == 0
        if bound:
            model.bind()
        return subject

    return make


@pytest.fixture
def make_group(ring: Subject) -> Callable[..., Group]:
    """make_group(bgid=7, entries=8, size=64, flags=0, …): a registered Group on `ring`, nothing published."""

    def make(**options: int) -> Group:
        made = Group(ring.ring, ring.arena, **options)
        assert made.register() == 0
        ring.owns(made.bgid)
        return made

    return make


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    """Group 7: 8 slots, buffers of 64 bytes, in memory of the application's."""
    return make_group()


@pytest.fixture
def make_scene(ring: Subject, profile: Profile) -> Callable[[Stock | None], Scene]:
    """make_scene(stock): a Scene on `ring`, whose group 7 has that stock of buffers (None: no group)."""
    return lambda stock: Scene(ring, stock, profile.traits)


@pytest.fixture
def pipe(ring: Subject) -> Pipe:
    return Pipe(ring.arena)


@pytest.fixture
def make_wire(ring: Subject) -> Iterator[Callable[..., Wire]]:
    """make_wire(tcp=False): two connected sockets, one for requests of `ring`."""
    made: list[Wire] = []

    def make(*, tcp: bool = False) -> Wire:
        made.append(Wire(ring.arena, tcp=tcp))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def shared_kernel() -> bool:
    """Others use this kernel too and move its counters."""
    return bool(facts()["shared"])


@pytest.fixture
def pins(shared_kernel: bool) -> PinWatch:
    """Watches nr_foll_pin_acquired and _released of /proc/vmstat; the case says needs("pin_counters")."""
    return PinWatch(shared=shared_kernel)


@pytest.fixture
def hugepages() -> Iterator[None]:
    """Two free 2 MiB pages while the case runs; on a shared kernel only if they are free already."""
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    before, free = (int((pool / name).read_text()) for name in ("nr_hugepages", "free_hugepages"))
    if free >= 2:
        yield
        return
    if facts()["shared"]:
        pytest.skip("needs hugetlb: no 2 MiB page is free, and a shared kernel's pool is not ours to grow")
    (pool / "nr_hugepages").write_text(str(before + 2))
    yield
    (pool / "nr_hugepages").write_text(str(before))
