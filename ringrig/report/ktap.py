"""KTAP, nested as kselftest reads it: kernels (of a matrix), folders, files, cases (Documentation/dev-tools/ktap.rst)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ringrig.campaign.job import folder_of
from ringrig.report.folder import Case, Folder, Run

_DETAIL = 60
"""Diagnostic lines of a case."""
_DIRECTIVES = {"skipped": "SKIP", "xfailed": "XFAIL", "error": "ERROR"}


@dataclass(slots=True, kw_only=True)
class _Node:
    """A test with subtests, or one of its results."""

    name: str
    ok: bool = True
    after: str = ""
    """What stands behind the name's `#`."""
    notes: Sequence[str] = ()
    inner: list[_Node] = field(default_factory=list)


def text(folder: Folder) -> str:
    """The whole report. A run without a case is one that failed (`# ERROR`)."""
    nodes = [_of_run(run) for run in folder.runs]
    if folder.kind == "run":
        nodes = nodes[0].inner or nodes
    count = sum((run.count or Counter({"error": 1}) for run in folder.runs), Counter[str]())
    totals = (
        f"# Totals: pass:{count['passed']} fail:{count['failed']} xfail:{count['xfailed']} "
        f"xpass:{count['xpassed']} skip:{count['skipped']} error:{count['error']}"
    )
    return "\n".join([*_lines(nodes, ""), totals]) + "\n"


def _of_run(run: Run) -> _Node:
    if not run.cases:
        first, *lines = run.verdict.splitlines()
        return _Node(name=_name(run.name), ok=False, after=f"ERROR {_flat(first)}", notes=_cut(lines))
    folders: dict[str, dict[str, list[Case]]] = {}
    for nodeid in sorted(run.cases, key=lambda one: one.split("::", 1)):
        files = folders.setdefault(folder_of(nodeid), {})
        files.setdefault(nodeid.split("::", 1)[0].rpartition("/")[2], []).append(run.cases[nodeid])
    inner = [
        _group(top, [_group(file, map(_of_case, cases)) for file, cases in files.items()])
        for top, files in folders.items()
    ]
    return _group(_name(run.name), inner)


def _group(name: str, inner: Iterable[_Node]) -> _Node:
    nodes = list(inner)
    return _Node(name=name, ok=all(node.ok for node in nodes), inner=nodes)


def _of_case(case: Case) -> _Node:
    bad = case.outcome in ("failed", "error")
    directive = _DIRECTIVES.get(case.outcome, "")
    if bad and any(one.startswith("timeout") for one in case.troubles):
        directive = "TIMEOUT"
    lines = (case.detail or case.why).splitlines() if bad else []
    return _Node(
        name=_name(case.nodeid.split("::", 1)[-1]),
        ok=not bad,
        after=f"{directive} {_flat(case.why)}".strip(),
        notes=_cut(lines),
    )


def _cut(lines: Sequence[str]) -> list[str]:
    left = [f"… {len(lines) - _DETAIL} lines more"] if len(lines) > _DETAIL else []
    return [*lines[:_DETAIL], *left]


def _lines(nodes: Sequence[_Node], indent: str) -> Iterator[str]:
    yield f"{indent}KTAP version 1"
    yield f"{indent}1..{len(nodes)}"
    for number, node in enumerate(nodes, start=1):
        if node.inner:
            yield from _lines(node.inner, f"{indent}  ")
        yield from (f"{indent}# | {line}".rstrip() for line in node.notes)
        after = f" # {node.after}" if node.after else ""
        yield f"{indent}{'ok' if node.ok else 'not ok'} {number} {node.name}{after}"


def _name(words: str) -> str:
    """Without what ends a description."""
    return _flat(words).replace("#", "_")


def _flat(words: str) -> str:
    return " ".join(words.split())
