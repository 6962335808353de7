"""A source's Kconfig files, read just well enough to say why an option did not come out as it was asked for.

The kernel's own conf drops what it cannot set without a word. Here each option is known with what it depends on
(its own `depends on`, and the menus, ifs and choices around it), so that the missing dependency can be named, and
told apart from one that nobody can meet on this architecture. Language: Documentation/kbuild/kconfig-language.rst.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringrig.kernel import kexpr
from ringrig.kernel.kexpr import Expr

_VARIABLES = {
    "x86": {"ARCH": "x86_64", "SRCARCH": "x86", "SUBARCH": "x86", "HEADER_ARCH": "x86"},
    "um": {"ARCH": "um", "SRCARCH": "um", "SUBARCH": "x86", "HEADER_ARCH": "x86"},
}
_VARIABLE = re.compile(r"\$\((\w+)\)")
_PROMPT = re.compile(r"""("(?:[^"\\]|\\.)*"|'[^']*')\s*(?:if\s+(.*))?$""")
_CONDITION = re.compile(r"(.*?)\s+if\s+(.*)$")
_TYPES = {"bool", "tristate", "int", "hex", "string"}
_BEGIN = {"menu": "endmenu", "choice": "endchoice", "if": "endif"}
_DEFINED = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One `config` block."""

    where: str
    """file:line, below the source."""
    prompt: str | None
    """The condition of its prompt ("" for none); None if it has no prompt: it cannot be set by hand."""
    depends: tuple[str, ...]
    """All of these must hold; with those of what encloses it."""
    defaults: tuple[str, ...]
    """Values it takes by itself, each with its condition."""
    choice: int
    """The choice it belongs to, 0 if to none."""


@dataclass(slots=True)
class _Block:
    """A block being read: config, menu, choice, if, or a file's comment."""

    kind: str
    name: str = ""
    where: str = ""
    prompt: str | None = None
    depends: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    selects: list[tuple[str, str]] = field(default_factory=list)
    choice: int = 0


class Kconfig:
    """All options that `arch` (x86 or um) has in the source; about half a second for a whole kernel."""

    def __init__(self, source: Path, arch: str) -> None:
        self.definitions: dict[str, list[Definition]] = defaultdict(list)
        self.selectors: dict[str, list[tuple[str, str]]] = defaultdict(list)
        """Option: those that select it, each with the condition."""
        self._source = source
        self._arch = arch
        self._variables = _VARIABLES[arch]
        self._choices = 0
        self._open: list[_Block] = []
        self._in_reach: set[str] = set()
        self._visited: set[str] = set()
        self._read("Kconfig")

    def elsewhere(self, name: str) -> str | None:
        """The other architecture's file that defines the option, if one does."""
        for path in sorted([*self._source.glob("arch/*/Kconfig*"), *self._source.glob("arch/*/*/Kconfig*")]):
            if name in _DEFINED.findall(path.read_text(errors="replace")):
                return path.relative_to(self._source).as_posix()
        return None

    def unmet(self, name: str, values: Mapping[str, str]) -> list[Expr]:
        """What the option depends on and lacks, by its nearest definition (the one that lacks least)."""
        lacking = [
            [
                part
                for text in self._conditions(one)
                for part in kexpr.conjuncts(text)
                if not kexpr.value(part, values)
            ]
            for one in self.definitions[name]
        ]
        return min(lacking, key=len, default=[])

    def tool_decides(self, expr: Expr) -> bool:
        """Does the answer of a program (compiler, linker, pahole) decide it, here or in an option it mentions?"""
        asked = (one for name in kexpr.symbols(expr) for one in self.definitions.get(name, ()))
        return kexpr.asks_tool(expr) or any(
            one.prompt is None and any("$(" in text for text in one.defaults) for one in asked
        )

    def settable(self, expr: Expr, values: Mapping[str, str]) -> bool:
        """Could the expression come true if options were set by hand? What only an architecture selects could not."""
        found = -1
        # What a circle of options hides in one round shows in the next, when more of them are known.
        while len(self._in_reach) > found:
            found = len(self._in_reach)
            self._visited.clear()
            if self._settable(expr, values):
                return True
        return False

    def _settable(self, expr: Expr, values: Mapping[str, str]) -> bool:
        match expr:
            case ("not", inner):
                return not kexpr.value(inner, values) or any(
                    self._by_hand(one) for one in kexpr.symbols(inner)
                )
            case ("and", left, right):
                return self._settable(left, values) and self._settable(right, values)
            case ("or", left, right):
                return self._settable(left, values) or self._settable(right, values)
            case ("symbol", name):
                return self._visit(name, values)
        return bool(kexpr.value(expr, values)) or any(self._by_hand(one) for one in kexpr.symbols(expr))

    def _visit(self, name: str, values: Mapping[str, str]) -> bool:
        if name not in self._in_reach and name not in self._visited:
            self._visited.add(name)
            if kexpr.value(("symbol", name), values) or self._reachable(name, values):
                self._in_reach.add(name)
        return name in self._in_reach

    def _reachable(self, name: str, values: Mapping[str, str]) -> bool:
        def all_settable(texts: tuple[str, ...]) -> bool:
            return all(self._settable(kexpr.parse(text), values) for text in texts)

        for one in self.definitions.get(name, ()):
            if one.prompt is not None and all_settable(self._conditions(one)):
                return True
            if all_settable(one.depends) and any(all_settable((text,)) for text in one.defaults):
                return True
        return any(
            self._visit(selector, values) and all_settable((condition,))
            for selector, condition in self.selectors.get(name, ())
        )

    def _by_hand(self, name: str) -> bool:
        return any(one.prompt is not None for one in self.definitions.get(name, ()))

    def _conditions(self, one: Definition) -> tuple[str, ...]:
        return (*one.depends, one.prompt) if one.prompt else one.depends

    def _read(self, name: str) -> None:
        text = (self._source / name).read_text(errors="replace")
        block = _Block(kind="comment")
        for number, line in _lines(text):
            word, _, rest = line.partition(" ")
            rest = rest.strip()
            if word in ("config", "menuconfig"):
                self._finish(block)
                block = _Block(kind="config", name=rest, where=f"{name}:{number}")
            elif word in _BEGIN:
                self._finish(block)
                self._choices += word == "choice"
                block = _Block(kind=word, choice=self._choices if word == "choice" else 0)
                if word == "if":
                    block.depends.append(self._expand(rest))
                self._open.append(block)
            elif word in _BEGIN.values():
                self._finish(block)
                self._open.pop()
                block = _Block(kind="comment")
            elif word == "source":
                self._finish(block)
                block = _Block(kind="comment")
                path = self._expand(rest.strip("\"'"))
                if (self._source / path).is_file():
                    self._read(path)
            elif word == "comment":
                self._finish(block)
                block = _Block(kind="comment")
            else:
                self._attribute(block, word, rest)
        self._finish(block)

    def _attribute(self, block: _Block, word: str, rest: str) -> None:
        rest = self._expand(rest)
        if word == "depends":
            what = rest.removeprefix("on ").strip()
            conditional = _CONDITION.match(what)  # since 7.0
            block.depends.append(f"!({conditional[2]}) || ({conditional[1]})" if conditional else what)
        elif word in _TYPES or word == "prompt":
            if prompt := _PROMPT.match(rest):
                block.prompt = prompt[2] or ""
        elif word in ("default", "def_bool", "def_tristate"):
            conditional = _CONDITION.match(rest)
            what, when = (conditional[1], conditional[2]) if conditional else (rest, "")
            if what != "n":
                block.defaults.append(f"({what}) && ({when})" if when else what)
        elif word == "select":
            rest = rest.partition(" #")[0].strip()
            conditional = _CONDITION.match(rest)
            block.selects.append((conditional[1], conditional[2]) if conditional else (rest, ""))

    def _finish(self, block: _Block) -> None:
        if block.kind != "config":
            return
        depends = (*(text for outer in self._open for text in outer.depends), *block.depends)
        choice = next((outer.choice for outer in reversed(self._open) if outer.choice), 0)
        self.definitions[block.name].append(
            Definition(
                where=block.where,
                prompt=block.prompt,
                depends=depends,
                defaults=tuple(block.defaults),
                choice=choice,
            )
        )
        for target, condition in block.selects:
            self.selectors[target].append((block.name, condition))

    def _expand(self, text: str) -> str:
        if "$(" not in text:
            return text
        return _VARIABLE.sub(lambda found: self._variables.get(found[1], found[0]), text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty, comment or help, continuations joined."""
    help_indent: int | None = None
    joined = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line:
            continue
        if help_indent is not None:
            wide = raw.expandtabs()
            indent = len(wide) - len(wide.lstrip())
            help_indent = help_indent or indent
            if indent and indent >= help_indent:
                continue
            help_indent = None
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        line, joined = (joined + line).replace("\t", " "), ""
        if line in ("help", "---help---"):
            help_indent = 0
        elif not line.startswith("#"):
            yield number, line
