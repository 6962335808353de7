"""The sources of two kernels, one that fails a case and one that passes it: which lines are the same, and what guards which."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import tree_sitter

from ringrig.campaign.coverage_counts import Place
from ringrig.campaign.csource import Source, walk

_CHOICES = {"if_statement", "while_statement", "for_statement", "switch_statement", "do_statement"}
_POINTER = re.compile(r"\.(prep|issue|cleanup|fail|func|do_work|free_work)\s*=\s*(\w+)")
"""Members of structs that functions are called through (io_uring/opdef.h, io-wq.h, io_uring_types.h), as they are set."""
Function = tuple[str, str]
"""File and name."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of both kernels, by name below io_uring/; places are those of `bad`, the kernel that fails the case."""

    bad: Mapping[str, str]
    good: Mapping[str, str]
    _mapped: dict[str, dict[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name, text in self.good.items():
            self._mapped[name] = _line_map(self.bad.get(name, ""), text)

    def to_bad(self, place: Place) -> Place | None:
        """Where a line of the good kernel's lies in the bad one's; None: it has none that is like it."""
        number = self._mapped.get(place[0], {}).get(place[1])
        return None if number is None else (place[0], number)

    @cached_property
    def changed(self) -> frozenset[Place]:
        """Lines of the bad kernel's that the good one has not, or has otherwise; of lines that are gone the ones around."""
        found = set()
        for name, text in self.bad.items():
            if (old := self.good.get(name)) is None or old == text:
                continue
            matcher = difflib.SequenceMatcher(None, old.split("\n"), text.split("\n"), autojunk=False)
            for tag, _, _, start, end in matcher.get_opcodes():
                if tag != "equal":
                    found |= {(name, number + 1) for number in (range(start, end) or (start - 1, start))}
        return frozenset(found)

    @cached_property
    def parsed(self) -> dict[str, Source]:
        return {name: Source(text) for name, text in self.bad.items()}

    @cached_property
    def functions(self) -> dict[Place, Function]:
        return {
            (name, number): (name, function)
            for name, source in self.parsed.items()
            for function, nodes in source.functions.items()
            for node in nodes
            for number in range(node.start_point[0] + 1, node.end_point[0] + 2)
        }

    @cached_property
    def calls(self) -> dict[Function, list[tuple[int, frozenset[str]]]]:
        """Whom a function may call, and on which line, in the order of the text: several where it is through a pointer."""
        targets: dict[str, set[str]] = {}
        for text in self.bad.values():
            for member, name in _POINTER.findall(text):
                targets.setdefault(member, set()).add(name)
        found: dict[Function, list[tuple[int, frozenset[str]]]] = {}
        for name, source in self.parsed.items():
            for function, nodes in source.functions.items():
                found[name, function] = [call for node in nodes for call in _calls(node, targets)]
        return found

    @cached_property
    def defined(self) -> dict[str, list[Function]]:
        """The functions of a name: more than one where the preprocessor, or the file, chooses."""
        found: dict[str, list[Function]] = {}
        for one in self.calls:
            found.setdefault(one[1], []).append(one)
        return found

    def text(self, place: Place) -> str:
        rows = self.bad[place[0]].split("\n")
        return rows[place[1] - 1].strip() if place[1] <= len(rows) else ""

    def guarded(self, place: Place) -> Guarded | None:
        """What the `if` that begins on this line leads to; None: there is none, or more than one."""
        function = self.functions.get(place)
        tops = self.parsed[place[0]].functions[function[1]] if function else []
        found = [
            node
            for top in tops
            for node in walk(top)
            if node.type == "if_statement" and node.start_point[0] + 1 == place[1]
        ]
        if len(found) != 1:
            return None
        sides = [found[0].child_by_field_name(name) for name in ("consequence", "alternative")]
        return Guarded(
            bodies=tuple(_first_line(side) for side in sides if side is not None),
            end=found[0].end_point[0] + 1,
        )

    def condition(self, place: Place) -> Place:
        """Where the condition begins that goes on on this line; the line itself if none does."""
        function = self.functions.get(place)
        for top in self.parsed[place[0]].functions[function[1]] if function else []:
            for node in walk(top):
                choice = node.type in _CHOICES - {"do_statement"}  # whose condition stands at its end
                condition = node.child_by_field_name("condition") if choice else None
                if condition is not None and node.start_point[0] < place[1] - 1 <= condition.end_point[0]:
                    return place[0], node.start_point[0] + 1
        return place

    def controls(self, place: Place) -> Iterator[int]:
        """The lines on which the conditions begin that decide whether `place` is reached, the innermost first."""
        source, (_, function) = self.parsed[place[0]], self.functions[place]
        row = place[1] - 1
        around = [
            node
            for top in source.functions[function]
            for node in walk(top)
            if node.type in _CHOICES and node.start_point[0] < row <= node.end_point[0]
        ]
        for node in sorted(around, key=lambda node: node.end_byte - node.start_byte):
            condition = node.child_by_field_name("condition")
            # A line that the condition itself goes on to is not decided by it.
            if condition is None or not node.start_point[0] <= row <= condition.end_point[0]:
                yield node.start_point[0] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """An `if`: the first lines of what it leads to, and its last line."""

    bodies: tuple[int, ...]
    end: int


def _line_map(bad: str, good: str) -> dict[int, int]:
    """Lines of `good` by number → those of `bad` that are the same, or stand in the same place one for one."""
    matcher = difflib.SequenceMatcher(None, good.split("\n"), bad.split("\n"), autojunk=False)
    found: dict[int, int] = {}
    for tag, old, old_end, new, new_end in matcher.get_opcodes():
        if tag == "equal" or (tag == "replace" and old_end - old == new_end - new):
            found.update(zip(range(old + 1, old_end + 1), range(new + 1, new_end + 1), strict=True))
    return found


def _calls(
    function: tree_sitter.Node, targets: Mapping[str, set[str]]
) -> Iterator[tuple[int, frozenset[str]]]:
    for node in walk(function):
        called = node.child_by_field_name("function") if node.type == "call_expression" else None
        if called is None or called.text is None:
            continue
        if called.type == "identifier":
            yield node.start_point[0] + 1, frozenset([called.text.decode()])
        elif called.type == "field_expression":
            member = called.child_by_field_name("field")
            if member is not None and member.text is not None and member.text.decode() in targets:
                yield node.start_point[0] + 1, frozenset(targets[member.text.decode()])


def _first_line(body: tree_sitter.Node) -> int:
    """Where the first statement of a body begins."""
    inner = (
        body.named_children[0]
        if body.type in ("compound_statement", "else_clause") and body.named_children
        else body
    )
    return _first_line(inner) if inner is not body else body.start_point[0] + 1


_FIRST = ("__io_uring_register", "io_submit_sqes")
"""Where system calls begin to do something; what no caller is known of (task work, the end of a request) comes behind."""


class Course:
    """The executed lines in about the order of execution: each function's as they stand, what it calls before the rest of its line."""

    def __init__(self, pair: Pair, executed: set[Place]) -> None:
        self._pair, self._executed = pair, executed
        self._lines: dict[Function, list[int]] = {}
        for place in sorted(executed):
            if function := pair.functions.get(place):
                self._lines.setdefault(function, []).append(place[1])
        self.chains: dict[Function, tuple[str, ...]] = {}
        """Who called a function first, outermost first, itself last."""
        self._order: dict[Place, int] = {}
        called = {name for one in self._lines for _, names in pair.calls.get(one, []) for name in names}
        tops = sorted(self._lines, key=lambda one: (one[1] in called, one[1] not in _FIRST, one))
        for one in tops:
            self._walk(one, ())

    def position(self, place: Place) -> int:
        """Where in the course a line stands; a line without code stands where the one before it does."""
        file, number = place
        function = self._pair.functions.get(place)
        before = [line for line in self._lines.get(function, []) if line <= number] if function else []
        return self._order.get((file, before[-1]) if before else place, len(self._order))

    def _walk(self, function: Function, above: tuple[str, ...]) -> None:
        if function in self.chains:
            return
        self.chains[function] = chain = (*above, function[1])
        calls: dict[int, list[Function]] = {}
        for line, names in self._pair.calls.get(function, []):
            calls.setdefault(line, []).extend(
                one for name in sorted(names) for one in self._pair.defined.get(name, [])
            )
        for line in sorted({*self._lines[function], *calls}):
            # A call may stand on a line that has no code of its own, as the end of a condition has.
            for one in calls.get(line, []):
                if one in self._lines:
                    self._walk(one, chain)
            self._order[function[0], line] = len(self._order)
