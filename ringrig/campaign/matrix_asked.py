"""What a `rig matrix` is asked: a TOML file of kernels × configurations × cases, and how its folder keeps that for --resume."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringrig import runs
from ringrig.campaign import crew, kept
from ringrig.campaign.job import Job
from ringrig.errors import BadSpec
from ringrig.kernel import fragments

_EXAMPLE = "docs/matrix.md has an example"


def _text(value: object) -> bool:
    return isinstance(value, str)


def _word(value: object) -> bool:
    return isinstance(value, str) and bool(re.search(r"\w", value))


def _guest(value: object) -> bool:
    return value in ("auto", "qemu", "uml")


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _lists(value: object) -> bool:
    return isinstance(value, list) and all(map(_texts, value))


def _tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """What a key of the file takes: `fits` says whether a value is such, `kind` what that is."""

    fits: Callable[[object], bool]
    kind: str
    example: str


_CASES = _Key(fits=_texts, kind="a list of texts", example='cases = ["suites/mmap"]')
_CONFIGS = _Key(fits=_lists, kind="a list of lists", example='configs = [[], ["kasan", "debug"]]')
_KERNEL = _Key(fits=_word, kind="a text with a letter or digit", example='kernel = "debian:6.12"')
_ENTRY = {
    "kernel": _KERNEL,
    "guest": _Key(fits=_guest, kind="auto, qemu or uml", example='guest = "uml"'),
    "config": _Key(fits=_texts, kind="a list of texts", example='config = ["kasan", "debug"]'),
    "configs": _CONFIGS,
    "patch": _Key(fits=_texts, kind="a list of texts", example='patch = ["../my.patch"]'),
    "name": _Key(fits=_word, kind="a text with a letter or digit", example='name = "mine"'),
    "cases": _CASES,
}
_TOP = {
    "kernel": _Key(
        fits=_tables, kind="a table for each one", example=f"[[kernel]], and below it {_KERNEL.example}"
    ),
    "configs": _CONFIGS,
    "cases": _CASES,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="rig matrix",
        usage="rig matrix FILE [-n N] [--jobs K | --cluster ADDRESS] [CASE]…\n"
        "       rig matrix --resume FOLDER [-n N] [--jobs K | --cluster ADDRESS]",
        description="Run the same cases on many kernels.",
    )
    add = made.add_argument
    add(
        "given",
        nargs="*",
        metavar="FILE",
        help="a TOML file that lists kernels (docs/matrix.md), then cases, if not its own",
    )
    add(
        "--resume",
        metavar="FOLDER",
        type=Path,
        help="go on in that folder with what was asked: what is done there is not done again",
    )
    crew.options(made)
    return made


def jobs(given: Sequence[str]) -> list[Job]:
    """The jobs of a file, and of cases in place of its own. BadSpec: it is none, or what is wrong in it."""
    if not given:
        raise BadSpec(
            "No file of kernels is named.", next_step="rig matrix matrices/kernels.toml, or --resume FOLDER"
        )
    path = Path(given[0])
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}.", next_step="name a TOML file") from error
    except ValueError as error:
        raise BadSpec(f"{path} is not TOML: {error}.", next_step=_EXAMPLE) from error
    _check(told, _TOP, str(path))
    if not told.get("kernel"):
        raise BadSpec(f"{path} lists no kernel.", next_step=f"add one: {_TOP['kernel'].example}")
    cases = runs.from_here(given[1:])
    made: list[Job] = []
    for number, entry in enumerate(told["kernel"], start=1):
        _check(entry, _ENTRY, f"{path}, [[kernel]] number {number}")
        if "kernel" not in entry:
            raise BadSpec(
                f"{path}, [[kernel]] number {number} names no kernel.",
                next_step=f"add one: {_KERNEL.example}",
            )
        made += _product({**told, **entry, **({"cases": cases} if cases else {})}, path.absolute().parent)
    names = [folder_name(one) for one in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSpec(
            f"{path}: {', '.join(twice)} is there twice.", next_step='give each a name = "…" of its own'
        )
    return made


def _check(table: dict[str, Any], keys: dict[str, _Key], where: str) -> None:
    """BadSpec: the table has something that nobody knows, or that is not what it must be."""
    if wrong := sorted(set(table) - set(keys)):
        raise BadSpec(
            f"{where} has no use for {', '.join(wrong)}.",
            next_step=f"it takes {', '.join(sorted(keys))} ({_EXAMPLE})",
        )
    for name, value in table.items():
        key = keys[name]
        if not key.fits(value):
            raise BadSpec(
                f"{where}: {name} takes {key.kind}, not {value!r}.", next_step=f"write {key.example}"
            )


def _product(entry: dict[str, Any], base: Path) -> Iterator[Job]:
    """An entry with what is for all: a job for each of its configurations. Paths are relative to `base`.

    BadSpec: a fragment or patch of it is not there.
    """

    def placed(path: str) -> str:
        return str((base / Path(path).expanduser()).absolute())

    spec, guest, patches = entry["kernel"], entry.get("guest", "auto"), entry.get("patch", [])
    own = entry.get("config", [])
    for more in entry.get("configs") or [[]]:
        configs = list(dict.fromkeys([*own, *more]))
        for one in filter(None, ",".join(configs).split(",")):
            fragments.find(placed(one) if "/" in one else one)
        for one in map(placed, patches):
            if not Path(one).exists():
                raise BadSpec(
                    f"There is no patch {one}.", next_step="check the path: it is relative to the file"
                )
        words = [spec, *([guest] if guest != "auto" else []), *configs, *patches]
        if "name" in entry:
            words = [entry["name"], *more]
        yield Job(
            name="+".join([words[0], *(Path(one).name for one in words[1:])]),
            kernel=runs.kernel_from_here(spec),
            guest=guest,
            configs=tuple(placed(one) if "/" in one else one for one in configs),
            patches=tuple(map(placed, patches)),
            cases=tuple(entry.get("cases") or ["suites"]),
        )


def folder_name(job: Job) -> str:
    """Its folder's, below the matrix's."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", job.name)


def store(asked: Sequence[Job], folder: Path) -> None:
    """NoSpace."""
    kept.keep({"jobs": [asdict(one) for one in asked]}, folder, where="the matrix' folder")


def stored(folder: Path) -> list[Job]:
    """What store() kept. BadSpec: the folder holds no matrix."""

    def read(told: dict[str, Any]) -> list[Job]:
        lists = ("configs", "patches", "cases")
        return [Job(**{**one, **{name: tuple(one[name]) for name in lists}}) for one in told["jobs"]]

    return kept.kept(folder, read, what="matrix", look="ls -d runs/*_matrix")


def same(asked: Sequence[Job], given: Sequence[str], folder: Path) -> None:
    """BadSpec: a file and cases that are named with --resume are not what was asked."""
    before, now = ({one.name: one for one in those} for those in (asked, jobs(given)))
    if differ := [name for name in before | now if before.get(name) != now.get(name)]:
        raise BadSpec(
            f"{folder.name} was asked something else of {', '.join(differ)}.",
            next_step=f"rig matrix --resume {folder}, or begin anew without --resume",
        )
