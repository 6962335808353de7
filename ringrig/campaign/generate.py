"""Mutants that nobody chose: every place where a mechanical rule applies, over all of the provided-buffer code.

Rules: a relational operator becomes its neighbour and its opposite; && and || change places; a condition is negated; a number
becomes one more and one less; + and - change places; an errno becomes another; two neighbouring arguments change
places; a statement is gone. Nothing is filtered: what does not compile is told by the compiler, and what no case reaches by
the run on the unchanged kernel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import tree_sitter

from ringrig.campaign.csource import Source, walk
from ringrig.campaign.mutants import Edit, Mutant

WHOLE = ("kbuf.c", "kbuf.h")
_OF_BUFFERS = re.compile(
    r"kbuf|pbuf|PBUF|buf_list|buf_index|buf_group|buffer_select|BUFFER_SELECT|REQ_F_BUFFER|REQ_F_BL_|REQ_F_PARTIAL_IO|"
    r"CQE_F_BUFFER|IOBL_|bundle|BUNDLE|provide_buffers|remove_buffers|destroy_buffers|io_bl_xa"
)
"""In the files that provided buffers share with others: the statements that deal with them."""
_RELATIONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}
_SWAPPED = {"&&": "||", "||": "&&", "+": "-", "-": "+"}
_NAMES = {
    "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne", "&&": "and", "||": "or", "+": "plus", "-": "minus",
}  # fmt: skip
_STATEMENTS = ("expression_statement", "break_statement", "continue_statement", "goto_statement")
_CONSTANT = {"array_declarator", "sizeof_expression", "enumerator", "offsetof_expression"}
"""Nodes with constants that must be known to the compiler."""
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]*")


def generate(sources: Mapping[str, Source]) -> list[Mutant]:
    """All of them, in the order of the text; their ids say file, function, rule, and which of several."""
    found: list[Mutant] = []
    for name, source in sources.items():
        if name == "rsrc.c":  # its buf_index is of registered buffers
            continue
        for function, nodes in source.functions.items():
            count: Counter[str] = Counter()
            for node, rule, kind, mutated in (one for root in nodes for one in _apply(source, root)):
                if name not in WHOLE and not _deals_with_buffers(node, source.text):
                    continue
                count[rule] += 1
                original = source.text[node.start_byte : node.end_byte]
                edit = Edit(
                    file=name,
                    function=function,
                    kind=kind,
                    original=original,
                    mutated=mutated,
                    at=node.start_byte,
                )
                found.append(
                    Mutant(
                        id=f"{name}-{function}-{rule}-{count[rule]}",
                        origin="generated",
                        edits=(edit,),
                        note=f"line {source.line(node.start_byte)}: {' '.join(original.split())} → {mutated or '(gone)'}",
                    )
                )
    return found


def _apply(source: Source, root: tree_sitter.Node) -> Iterator[tuple[tree_sitter.Node, str, str, str]]:
    """Node, rule, kind and new text of every mutant of one function."""
    body = root.child_by_field_name("body")
    for node in walk(body) if body is not None else ():
        if not node.is_named or node.has_error or not _is_free(node):
            continue
        whole = (
            node.parent if node.parent is not None and node.parent.type == "expression_statement" else None
        )
        for rule, mutated in _expressions(source, node):
            if whole is not None:  # what looks like a call may be a macro that is a statement
                yield whole, rule, "stmt", f"{mutated};"
            else:
                yield node, rule, "expr", mutated
        if node.type in _STATEMENTS and source.text[node.start_byte : node.end_byte].endswith(";"):
            yield node, "deleted", "stmt", ""


def _expressions(source: Source, node: tree_sitter.Node) -> Iterator[tuple[str, str]]:
    def text(part: tree_sitter.Node | None) -> str:
        return source.text[part.start_byte : part.end_byte] if part is not None else ""

    if node.type == "binary_expression":
        left, right = (text(node.child_by_field_name(side)) for side in ("left", "right"))
        operator = text(node.child_by_field_name("operator"))
        for other in (*_RELATIONS.get(operator, ()), *filter(None, [_SWAPPED.get(operator)])):
            if operator in ("+", "-") and right == "1":
                continue  # the number's own mutants do that
            if other == "&&" and _operator(node.child_by_field_name("left")) == "||":
                left = f"({left})"
            yield f"{_NAMES[operator]}-to-{_NAMES[other]}", f"{left} {other} {right}"
    elif node.type == "number_literal" and (number := _NUMBER.fullmatch(text(node))):
        value = int(number[1], 0) if not re.fullmatch("0[0-7]+", number[1]) else int(number[1], 8)
        yield "one-more", str(value + 1)
        if value:
            yield "one-less", str(value - 1)
    elif node.type == "unary_expression" and re.fullmatch(r"-E[A-Z0-9]+", text(node)):
        yield "errno", "-EINVAL" if text(node) != "-EINVAL" else "-EFAULT"
    elif node.type == "call_expression":
        yield from _arguments(node, text)
    if _is_condition(node) and not (node.type == "binary_expression" and _operator(node) in _RELATIONS):
        yield "negated", f"!({text(node)})"


def _arguments(node: tree_sitter.Node, text: object) -> Iterator[tuple[str, str]]:
    assert callable(text)
    given = node.child_by_field_name("arguments")
    parts = [text(one) for one in given.named_children if one.type != "comment"] if given is not None else []
    for at in range(len(parts) - 1):
        swapped = [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]
        if parts[at] != parts[at + 1]:
            yield "arguments", f"{text(node.child_by_field_name('function'))}({', '.join(swapped)})"


def _operator(node: tree_sitter.Node | None) -> str:
    operator = node.child_by_field_name("operator") if node is not None else None
    return operator.type if operator is not None else ""


def _is_condition(node: tree_sitter.Node) -> bool:
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "parenthesized_expression" and parent.parent is not None:
        return parent.parent.type in ("if_statement", "while_statement", "do_statement")
    return parent.type == "conditional_expression" and parent.child_by_field_name("condition") == node


def _is_free(node: tree_sitter.Node) -> bool:
    """Not inside what the compiler must know beforehand."""
    above = node.parent
    while above is not None and above.type not in ("compound_statement", "function_definition"):
        is_label = above.type == "case_statement" and above.child_by_field_name("value") == node
        if is_label or above.type in _CONSTANT:
            return False
        node, above = above, above.parent
    return True


def _deals_with_buffers(node: tree_sitter.Node, text: str) -> bool:
    """Its own statement does, or a condition that it hangs on."""
    above: tree_sitter.Node | None = node
    first = True
    while above is not None and above.type != "function_definition":
        condition = above.child_by_field_name("condition")
        if above.type == "case_statement":
            condition = above.child_by_field_name("value")
        part = condition if condition is not None else above
        whole = above.type.endswith(("_statement", "declaration")) and above.type != "compound_statement"
        if whole and (first or condition is not None):
            first = False
            if _OF_BUFFERS.search(text, part.start_byte, part.end_byte):
                return True
        above = above.parent
    return False
