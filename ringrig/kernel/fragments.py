"""Configuration fragments (kconfigs/NAME, or the user's file): read, merged, and held against what came of them.

The kernel drops an option whose dependencies are not met without a word; here that is an error, which names the
option, who asked for it and what it lacks. Only what this source or architecture cannot have at all is listed instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrig.errors import BadConfig, BadSpec
from ringrig.kernel import kexpr
from ringrig.kernel.kconfig import Kconfig

FOLDER = Path(__file__).resolve().parent.parent.parent / "kconfigs"
_ARCHES = ("x86", "um")
_SECTION = re.compile(r"# \[(\w+)\]$")
_SET = re.compile(r'CONFIG_(\w+)=(y|n|m|-?\d+|0x[0-9a-fA-F]+|"(?:[^"\\]|\\.)*")$')
_UNSET = re.compile(r"# CONFIG_(\w+) is not set$")
_MAKE = re.compile(r"# make ([\w.-]+)=(\S+)$")
_HEADER = re.compile(r"^# Linux/(\w+) \S+ Kernel Configuration$", re.MULTILINE)
_ARCH_OF = {"x86_64": "x86", "x86": "x86", "i386": "x86", "um": "um"}
_MANY = 1000
"""No fragment has so many lines with options, and every complete configuration has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One line of a fragment. `value` is as in a .config; n is "not set"."""

    name: str
    value: str
    arch: str
    """x86, um, or all."""
    where: str
    """file:line, for messages."""
    own: bool
    """From a fragment of the project's, which is meant for every version."""
    make: bool = False
    """A variable for make, which to other readers of the file is a comment."""

    def __str__(self) -> str:
        return f"CONFIG_{self.name}={self.value} ({self.where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A file with options. A complete .config stands in for base; its options are no demands, only where to start."""

    name: str
    path: Path
    summary: str
    """What it is for: its first comment line."""
    options: tuple[Option, ...]
    complete: bool
    arch: str | None
    """What a complete configuration was made for; None for a fragment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What a configuration is made from. `start` has the options of a complete .config, `options` what must come out."""

    arch: str
    start: Mapping[str, Option]
    options: Mapping[str, Option]
    variables: Mapping[str, str]
    """What make is told beside, for flags of single objects (scripts/Makefile.lib)."""

    @property
    def target(self) -> str:
        """The make target that takes `text()` as KCONFIG_ALLCONFIG: options that nobody named stay off, or,
        beside a complete configuration, get the kernel's defaults."""
        return "alldefconfig" if self.start else "allnoconfig"


def known() -> list[Fragment]:
    """The project's own fragments, by name."""
    paths = sorted(path for path in FOLDER.iterdir() if path.suffix == "" and path.is_file())
    return [read(path) for path in paths]


def find(name_or_path: str) -> Fragment:
    """The fragment of that name, or the file. BadSpec, with the nearest names, if there is neither."""
    names = [fragment.name for fragment in known()]
    if name_or_path in names:
        return read(FOLDER / name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return read(path)
    near = difflib.get_close_matches(name_or_path, names, n=2, cutoff=0.5)
    guess = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise BadSpec(
        f"There is no configuration fragment {name_or_path!r}{guess}.",
        next_step=f"take one of {', '.join(names)}, or the path of a file with CONFIG_… lines",
    )


def gather(names: Iterable[str], arch: str) -> tuple[Fragment, ...]:
    """The fragments a kernel for `arch` is made of: base, um where it belongs, and those named.

    A complete configuration among them takes the place of base and um.
    """
    asked = [find(name) for name in names]
    basis = () if any(one.complete for one in asked) else ("base", *(["um"] if arch == "um" else []))
    first = [find(name) for name in basis]
    return (*first, *(one for one in asked if one.name not in basis or one.path.parent != FOLDER))


def read(path: Path) -> Fragment:
    """BadConfig, with file and line, for a line that is neither option nor comment."""
    own = path.parent.resolve() == FOLDER
    label = f"{FOLDER.name}/{path.name}" if own else str(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadSpec(
            f"{label} cannot be read as a configuration fragment: {why}.",
            next_step="give a text file of CONFIG_… lines (unpack /proc/config.gz first)",
        ) from error
    header = _HEADER.search(text[:1000])
    options = tuple(_options(text, label, own))
    complete = header is not None or len(options) >= _MANY
    return Fragment(
        name=path.name,
        path=path,
        summary="" if complete else _summary(text),
        options=options,
        complete=complete,
        arch=_ARCH_OF.get(header[1], header[1]) if header else None,
    )


def _summary(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.lstrip("# ").strip() if first.startswith("#") and not _UNSET.match(first) else ""


def _options(text: str, label: str, own: bool) -> Iterator[Option]:
    arch = "all"
    for number, raw in enumerate(text.split("\n"), 1):
        line, where = raw.rstrip(), f"{label}:{number}"
        if section := _SECTION.match(line):
            arch = section[1]
            if arch not in (*_ARCHES, "all"):
                raise BadConfig(
                    f"{where}: there is no architecture {arch!r}.",
                    next_step="write # [x86], # [um] or # [all]",
                )
        elif unset := _UNSET.match(line):
            yield Option(name=unset[1], value="n", arch=arch, where=where, own=own)
        elif variable := _MAKE.match(line):
            yield Option(name=variable[1], value=variable[2], arch=arch, where=where, own=own, make=True)
        elif option := _SET.match(line):
            yield Option(name=option[1], value=option[2], arch=arch, where=where, own=own)
        elif line and not line.startswith("#"):
            raise BadConfig(
                f"{where}: this is no option: {line!r}.",
                next_step='write CONFIG_X=y, =n, =m, ="text" or =123, or # CONFIG_X is not set, from the first column',
            )


def merge(fragments: Sequence[Fragment], arch: str) -> Requested:
    """One demand for each option: that of the last fragment with it. BadConfig: a complete configuration that
    was made for another architecture, or a second one."""
    whole = [fragment for fragment in fragments if fragment.complete]
    if len(whole) > 1:
        raise BadConfig(
            f"{whole[0].path} and {whole[1].path} are both complete configurations.",
            next_step="give one, and fragments for what shall differ",
        )
    for one in whole:
        if one.arch not in (None, arch):
            raise BadConfig(
                f"{one.path} is a configuration for {one.arch}, and the kernel is to be built for {arch}.",
                next_step=f"give one that was made with ARCH={'x86_64' if arch == 'x86' else arch}, or another --guest",
            )
    parts = [fragment for fragment in fragments if not fragment.complete]
    options = _last(parts, arch)
    return Requested(
        arch=arch,
        start=_last(whole, arch),
        options={name: one for name, one in options.items() if not one.make},
        variables={name: one.value for name, one in options.items() if one.make},
    )


def _last(fragments: Iterable[Fragment], arch: str) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for fragment in fragments:
        for option in fragment.options:
            if option.arch in (arch, "all"):
                options.pop(option.name, None)  # to the end: of a choice the last one counts
                options[option.name] = option
    return options


def text(requested: Requested) -> str:
    """The file for KCONFIG_ALLCONFIG; `make` it into a .config with `requested.target`."""
    options = {**requested.start, **requested.options}
    lines = (
        f"# CONFIG_{one.name} is not set" if one.value == "n" else f"CONFIG_{one.name}={one.value}"
        for one in options.values()
    )
    return "".join(f"{line}\n" for line in lines)


def verify(requested: Requested, result: str, source: Path, arch: str) -> tuple[str, ...]:
    """Holds the .config that came out against the demands; what this source or `arch` cannot have is returned.

    BadConfig names each option that got lost, who asked for it and what it depends on.
    """
    values = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", result, re.MULTILINE))
    lost = [one for one in requested.options.values() if not _came_out(one, values)]
    if not lost:
        return ()
    kconfig = Kconfig(source, arch)
    lost = [one for one in lost if not _outvoted(one, requested, kconfig, values)]
    listed: list[str] = []
    errors: list[str] = []
    for option in lost:
        fatal, why = _explain(option, kconfig, values)
        (errors if fatal else listed).append(f"{option} {why}")
    if errors:
        raise BadConfig(
            "Not all that was asked for is in the kernel's configuration:\n    " + "\n    ".join(errors),
            next_step="ask for what it depends on too, in the same fragment, or leave it out",
        )
    return tuple(listed)


def _came_out(option: Option, values: Mapping[str, str]) -> bool:
    got = values.get(option.name, "n")
    # Without loadable modules what was to be one is built in: it is there.
    return got == option.value or (option.value == "m" and got == "y")


def _outvoted(option: Option, requested: Requested, kconfig: Kconfig, values: Mapping[str, str]) -> bool:
    """Did a later fragment take another answer to the same choice?"""
    names = list(requested.options)
    later = names[names.index(option.name) + 1 :]
    choices = {one.choice for one in kconfig.definitions.get(option.name, ()) if one.choice}
    return any(
        values.get(name) == "y" and choices & {one.choice for one in kconfig.definitions.get(name, ())}
        for name in later
    )


def _explain(option: Option, kconfig: Kconfig, values: Mapping[str, str]) -> tuple[bool, str]:
    """(is it an error, why)"""
    got = values.get(option.name, "n")
    if option.name not in kconfig.definitions:
        return _unknown(option, kconfig)
    if option.value == "n":
        by = [f"{name} (={values[name]})" for name, _ in kconfig.selectors[option.name] if name in values]
        return (
            True,
            f"is ={got} in the result: {'selected by ' + ', '.join(by) if by else 'it is the default'}",
        )
    unmet = kconfig.unmet(option.name, values)
    if unmet:
        said = " and ".join(kexpr.words(one, values) for one in unmet)
        tools = [one for one in unmet if kconfig.tool_decides(one)]
        if any(not kconfig.settable(one, values) for one in unmet if one not in tools):
            return False, f"is not to be had here: it depends on {said}"
        if tools:
            return (
                True,
                f"is not in the result: a tool of this machine (the compiler?) lacks it: it depends on {said}",
            )
        return True, f"is not in the result: it depends on {said}"
    if not any(one.prompt is not None for one in kconfig.definitions[option.name]):
        by = [name for name, _ in kconfig.selectors[option.name]]
        said = f"only {', '.join(by[:3])} can select it" if by else f"it is always {got}"
        return False, f"cannot be chosen in this source: {said}"
    where = kconfig.definitions[option.name][0].where
    return (
        True,
        f"is ={got} in the result: see {where} for the values it may have, and the choice it is part of",
    )


def _unknown(option: Option, kconfig: Kconfig) -> tuple[bool, str]:
    if elsewhere := kconfig.elsewhere(option.name):
        return False, f"is an option of another architecture ({elsewhere})"
    if option.own:
        return False, "is not an option of this version"
    near = difflib.get_close_matches(option.name, kconfig.definitions, n=3, cutoff=0.75)
    guess = f"; near it are {', '.join(near)}" if near else ""
    return True, f"is not an option of this source{guess}"
