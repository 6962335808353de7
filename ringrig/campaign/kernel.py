"""One kernel with a whole catalogue in it, and each mutant as a patch of its own."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ringrig import cache
from ringrig.cache import Say
from ringrig.campaign.csource import Source
from ringrig.campaign.instrument import Placed, Woven, place, weave, without
from ringrig.campaign.mutants import Mutant
from ringrig.errors import BadCatalogue, BadSpec, BuildFailed
from ringrig.kernel import build, source
from ringrig.kernel.source import Origin
from ringrig.kernel.spec import Image, Wanted

FILES = (
    "kbuf.c",
    "kbuf.h",
    "net.c",
    "rw.c",
    "memmap.c",
    "register.c",
    "opdef.c",
    "io_uring.c",
    "io_uring.h",
    "poll.c",
    "rsrc.c",
)
"""Of io_uring/: where provided buffers live; rsrc.c pins their rings' pages in 6.1."""
_SWITCH = Path(__file__).resolve().parents[2] / "mutants/kernel"
_ERROR = re.compile(r"([\w./-]+):(\d+):(\d+): (?:fatal )?error: (.*)")
_USED = re.compile(r"([\w./-]+):(\d+):(\d+): note: in (?:expansion|definition) of macro ")
# A pointer for a number, or one pointer for another: what a maintainer's compiler would not let through.
_DOUBT = re.compile(
    r"([\w./-]+):(\d+):(\d+): warning: (.*\[-W(?:int-conversion|incompatible-pointer-types)\])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The unchanged source with the patches asked for: its origin, its series, and io_uring's files that mutants are in."""

    origin: Origin
    series: str
    profile: str | None
    files: dict[str, Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The kernel that has the mutants of `placed`; those that no compiler takes are in `refused`, with its words."""

    image: Image
    sources: Sources
    placed: Placed
    refused: dict[str, str] = field(default_factory=dict)


def sources(spec: str, wanted: Wanted, *, say: Say) -> Sources:
    """What source:X.Y or tree:PATH names. Raises BadSpec, BadPatch, KernelUnavailable, NoSpace."""
    origin = source.named(spec, say=say)
    if origin is None:
        raise BadSpec(
            f"Mutants are built into a kernel, and {spec} is built already.",
            next_step="take source:X.Y, tree:PATH or tree:PATH@REV",
        )
    tree, profile = build.patched(origin, wanted, say=say)
    texts = {name: origin.repo.show(tree, f"io_uring/{name}") for name in FILES}
    makefile = origin.repo.show(tree, "Makefile")
    numbers = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)$", makefile, re.MULTILINE))
    return Sources(
        origin=replace(origin, tree=tree),
        series=f"{numbers.get('VERSION', 0)}.{numbers.get('PATCHLEVEL', 0)}",
        profile=profile,
        # git's answer comes without the last line's end.
        files={name: Source(text + "\n") for name, text in texts.items() if text},
    )


def make(
    mutants: Sequence[Mutant],
    unchanged: Sources,
    wanted: Wanted,
    *,
    forgiving: Callable[[Mutant], bool],
    say: Say,
) -> Trial:
    """Builds the kernel. Mutants that do not compile are left out where `forgiving` says so.

    Raises BadCatalogue, which names the others with the compiler's words, and what a build raises.
    """
    placed = place(mutants, unchanged.files)
    refused = dict(placed.clashing)
    while True:
        if not placed.mutants:
            raise BadCatalogue(
                f"None of {len(mutants)} mutants has a place in {unchanged.origin.label}.",
                next_step="; ".join(map(": ".join, [*placed.stale.items(), *refused.items()][:3])),
            )
        woven = {name: weave(unchanged.files[name].text, spots) for name, spots in placed.spots.items()}
        origin = unchanged.origin
        tree = origin.repo.replace(origin.tree, _files(unchanged, woven, max(placed.mutants)))
        known = cache.folder() / "refused" / f"{tree}.json"
        if known.exists():
            complaints = {int(number): words for number, words in json.loads(known.read_text()).items()}
        else:
            try:
                image = build.image(replace(origin, tree=tree), replace(wanted, patches=()), say=say)
            except BuildFailed as failure:
                assert failure.log is not None
                complaints = _blame(failure.log, woven, _ERROR)
                if not complaints:
                    raise
            else:
                doubtful = _blame(image.path.parents[1] / "build.log", woven, _DOUBT)
                complaints = {one: words for one, words in doubtful.items() if forgiving(placed.mutants[one])}
            if not complaints:
                about = [
                    f"{len(placed.mutants)} mutants",
                    *(f"+{Path(name).name}" for name in wanted.patches),
                ]
                label = f"{image.label.rstrip(']')}, {', '.join(about)}]"
                image = replace(image, label=label, profile=unchanged.profile)
                return Trial(image=image, sources=unchanged, placed=placed, refused=refused)
            with cache.writing("what a compiler said"):
                known.parent.mkdir(exist_ok=True)
                known.write_text(json.dumps(complaints))
        _check_refused(placed, complaints, forgiving)
        refused |= {placed.mutants[number].id: words for number, words in complaints.items()}
        say(f"{len(complaints)} mutants do not compile; building without them")
        placed = without(placed, complaints)


def _files(unchanged: Sources, woven: dict[str, Woven], highest: int) -> dict[str, str]:
    show = unchanged.origin.repo.show
    tree = unchanged.origin.tree
    switch = (_SWITCH / "mutants.c").read_text().replace("RINGRIG_MUTANTS", str(highest))
    return {
        **{f"io_uring/{name}": one.text for name, one in woven.items()},
        "io_uring/mutants.h": (_SWITCH / "mutants.h").read_text(),
        "io_uring/mutants.c": switch,
        "io_uring/Makefile": show(tree, "io_uring/Makefile") + "\nobj-$(CONFIG_IO_URING) += mutants.o\n",
    }


def _blame(log: Path, woven: dict[str, Woven], complaint: re.Pattern[str]) -> dict[int, str]:
    """The mutants that the compiler's complaints mean, with its words.

    About what a macro is defined as gcc complains where it is defined, and notes behind it where it was used.
    """
    found: dict[int, str] = {}
    words = ""
    for line in log.read_text(errors="replace").splitlines():
        if said := complaint.search(line):
            words = f"{said[1].removeprefix('../src/')}:{said[2]}: {said[4]}"
        elif not words or not (said := _USED.search(line)):
            continue
        one = woven.get(said[1].rpartition("io_uring/")[2])
        if one is not None and (numbers := one.blamed(int(said[2]), int(said[3]))):
            for number in numbers:
                found.setdefault(number, words)
            words = ""
    return found


def _check_refused(placed: Placed, complaints: dict[int, str], forgiving: Callable[[Mutant], bool]) -> None:
    bad = [
        f"    {placed.mutants[number].id}: {words}"
        for number, words in complaints.items()
        if not forgiving(placed.mutants[number])
    ]
    if bad:
        raise BadCatalogue(
            "These mutants do not compile:\n" + "\n".join(bad),
            next_step="mend `original` and `mutated`: an expression must be a whole one, a statement complete",
        )


def patch(mutant: Mutant, unchanged: Sources, placed: Placed) -> str:
    """The mutant alone, as a patch for `rig run --patch` (git apply's form)."""
    out = []
    for name, spots in placed.spots.items():
        own = [spot for spot in spots if placed.mutants[spot.number] is mutant]
        text = before = unchanged.files[name].text
        for spot in sorted(own, key=lambda spot: -spot.start):
            text = text[: spot.start] + _alone(spot.edit.kind, spot.edit.mutated) + text[spot.end :]
        if own:
            label = f"io_uring/{name}"
            lines = difflib.unified_diff(
                before.splitlines(True), text.splitlines(True), f"a/{label}", f"b/{label}"
            )
            out.append(f"diff --git a/{label} b/{label}\n" + "".join(lines))
    return f"{mutant.id}\n\n{mutant.note}\n---\n" + "".join(out)


def _alone(kind: str, mutated: str) -> str:
    flat = " ".join(mutated.split())
    return f"({flat})" if kind == "expr" else " ".join(["{", *flat.split(), "}"])
