"""What the parser (tree-sitter's C) knows of a kernel source file: its functions and the nodes in them.

Kernel C is not quite C to it: what the compiler's macros add to declarations is blanked out first, so that
offsets stay those of the file. Where it still stumbles, the error is confined to a declaration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter
import tree_sitter_c

_ADORNMENT = re.compile(
    r"\b(?:__user|__rcu|__iomem|__cold|__always_inline|__read_mostly|noinline_for_stack|noinline|__init|__percpu|"
    r"__maybe_unused|__force|__must_check|__printf\([^()]*\)|__(?:must_hold|acquires?|releases?)\([^()]*\))"
)


@dataclass(frozen=True)
class Source:
    """A file's text; offsets count characters."""

    text: str

    @cached_property
    def root(self) -> tree_sitter.Node:
        """The whole file, parsed."""
        plain = _ADORNMENT.sub(lambda found: " " * len(found[0]), self.text)
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))
        return parser.parse(plain.encode("ascii", "replace")).root_node  # a byte for each character

    @cached_property
    def functions(self) -> dict[str, list[tree_sitter.Node]]:
        """The definitions of each name: more than one where the preprocessor chooses."""
        found: dict[str, list[tree_sitter.Node]] = {}
        for node in walk(self.root):
            if node.type == "function_definition" and (name := _name(node)):
                found.setdefault(name, []).append(node)
        return found

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1


def walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """The node and all below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from walk(child)


def _name(function: tree_sitter.Node) -> str:
    node: tree_sitter.Node | None = function.child_by_field_name("declarator")
    while node is not None and node.type != "identifier":
        node = node.child_by_field_name("declarator")
    return node.text.decode() if node is not None and node.text is not None else ""
