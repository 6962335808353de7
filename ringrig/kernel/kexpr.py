"""Kconfig's expressions: parsed, evaluated, and said in words (Documentation/kbuild/kconfig-language.rst)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

Expr: TypeAlias = tuple[Any, ...]
"""("symbol", name) | ("literal", text) | ("macro", text) | ("not", e) | ("and" | "or", e, e) | (comparison, e, e)"""

_TOKEN = re.compile(
    r"""\s*(&&|\|\||!=|<=|>=|[!()=<>]|"(?:[^"\\]|\\.)*"|'[^']*'|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[\w./-]+)"""
)
_COMPARISONS = ("=", "!=", "<", ">", "<=", ">=")
_LEVEL = {"n": 0, "m": 1, "y": 2}
_YES: Expr = ("literal", "y")


@cache
def parse(text: str) -> Expr:
    """The expression; an empty one is y. What cannot be read counts as what the compiler answers: unknown."""
    if not text.strip():
        return _YES
    tokens = _TOKEN.findall(text.partition(" #")[0])
    try:
        expr, rest = _or(tokens)
    except IndexError:
        return ("macro", text)
    return ("macro", text) if rest else expr


def conjuncts(text: str) -> Iterator[Expr]:
    """The parts that must all hold."""
    pending = [parse(text)]
    while pending:
        expr = pending.pop(0)
        if expr[0] == "and":
            pending[:0] = expr[1:]
        else:
            yield expr


def value(expr: Expr, values: Mapping[str, str]) -> int:
    """0 for n, 1 for m, 2 for y. `values` has what is set, as a .config writes it; the rest is n."""
    match expr:
        case ("not", inner):
            return 2 - value(inner, values)
        case ("and", left, right):
            return min(value(left, values), value(right, values))
        case ("or", left, right):
            return max(value(left, values), value(right, values))
        case ("symbol", name):
            return _LEVEL.get(values.get(name, "n"), 0)
        case ("literal", text):
            return _LEVEL.get(text, 0)
        case ("macro", _):
            return 0
    return 2 * _compare(expr[0], _plain(expr[1], values), _plain(expr[2], values))


def symbols(expr: Expr) -> Iterator[str]:
    """The options it mentions."""
    if expr[0] == "symbol":
        yield expr[1]
    else:
        for part in expr[1:]:
            if isinstance(part, tuple):
                yield from symbols(part)


def asks_tool(expr: Expr) -> bool:
    """Does it have a macro, which asks the compiler, the linker or another program?"""
    return expr[0] == "macro" or any(asks_tool(part) for part in expr[1:] if isinstance(part, tuple))


def words(expr: Expr, values: Mapping[str, str]) -> str:
    """As it stands in the Kconfig file, with the values its options have: `FOO (=n)`, `FOO || BAR (FOO=n, BAR=n)`."""
    names = dict.fromkeys(symbols(expr))
    if expr[0] == "symbol":
        return f"{expr[1]} (={values.get(expr[1], 'n')})"
    said = ", ".join(f"{name}={values.get(name, 'n')}" for name in names)
    return f"{_source(expr)} ({said})" if said else _source(expr)


def _source(expr: Expr) -> str:
    match expr:
        case ("not", inner):
            return (
                f"!{_source(inner)}" if inner[0] in ("symbol", "literal", "macro") else f"!({_source(inner)})"
            )
        case ("and", left, right):
            return " && ".join(
                f"({_source(one)})" if one[0] == "or" else _source(one) for one in (left, right)
            )
        case ("or", left, right):
            return f"{_source(left)} || {_source(right)}"
        case (("symbol" | "literal" | "macro"), text):
            return str(text)
    return f"{_source(expr[1])} {expr[0]} {_source(expr[2])}"


def _plain(expr: Expr, values: Mapping[str, str]) -> str:
    text = values.get(expr[1], "n") if expr[0] == "symbol" else str(expr[1])
    return text.strip("\"'")


def _compare(how: str, left: str, right: str) -> bool:
    if how in ("=", "!="):
        return (left == right) == (how == "=")
    try:
        one, other = int(left, 0), int(right, 0)
    except ValueError:
        return False
    return {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[how]


def _or(tokens: list[str]) -> tuple[Expr, list[str]]:
    left, tokens = _and(tokens)
    while tokens and tokens[0] == "||":
        right, tokens = _and(tokens[1:])
        left = ("or", left, right)
    return left, tokens


def _and(tokens: list[str]) -> tuple[Expr, list[str]]:
    left, tokens = _comparison(tokens)
    while tokens and tokens[0] == "&&":
        right, tokens = _comparison(tokens[1:])
        left = ("and", left, right)
    return left, tokens


def _comparison(tokens: list[str]) -> tuple[Expr, list[str]]:
    left, tokens = _term(tokens)
    if tokens and tokens[0] in _COMPARISONS:
        right, rest = _term(tokens[1:])
        return (tokens[0], left, right), rest
    return left, tokens


def _term(tokens: list[str]) -> tuple[Expr, list[str]]:
    token, rest = tokens[0], tokens[1:]
    if token == "!":
        inner, rest = _term(rest)
        return ("not", inner), rest
    if token == "(":
        inner, rest = _or(rest)
        return inner, rest[1:]  # its closing parenthesis
    if token.startswith("$("):
        return ("macro", token), rest
    if token[0] in "\"'" or token in _LEVEL or re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", token):
        return ("literal", token), rest
    return ("symbol", token), rest
