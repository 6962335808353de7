"""What a bisection says: on the terminal, in bisect.json, as a log that `git bisect replay` takes, and as a draft of a mail."""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import asdict

from ringrig.cache import writing
from ringrig.campaign.bisect import Bisection
from ringrig.campaign.examine import Examination
from ringrig.campaign.history import Commit, log
from ringrig.report import command, folder

_WIDTH = 72
_LISTS = "io-uring@vger.kernel.org, regressions@lists.linux.dev"


def report(made: Bisection) -> int:
    """Writes bisect.json, bisect.log, report.html and, where there is a culprit, mail.txt; prints the result; returns the exit code."""
    text = mail(made) if made.culprit else ""
    with writing("the report", made.folder):
        (made.folder / "bisect.json").write_text(json.dumps(data(made), indent=1) + "\n")
        (made.folder / "bisect.log").write_text(replay(made))
        if text:
            (made.folder / "mail.txt").write_text(text)
    page = command.write_page(folder.read(made.folder))
    mail_too = ", mail.txt (a draft of the report)" if text else ""
    print(
        "\n".join(
            [*_lines(made), f"{page}; beside it bisect.json, bisect.log (for git bisect replay){mail_too}"]
        )
    )
    return made.exit_code


def _lines(made: Bisection) -> list[str]:
    out = [""]
    if made.culprit:
        commit = made.fact(made.culprit)
        out += [
            f"CULPRIT{', IN DOUBT' if made.exit_code else ''}: {commit.short} {commit.subject}",
            f"  {commit.id}",
            f"  {commit.author} <{commit.mail}>, {commit.day}",
            f"  {made.case}",
            *(f"  {line}" for line in _evidence(made)),
            f"  confidence {_percent(made.confidence)} ({_percent(made.asked.confidence)} was asked for)",
        ]
    elif made.ended:
        out.append(f"ONE OF THESE {len(made.left)} COMMITS: those before the last cannot be tried")
        out += [f"  {made.fact(one).short} {made.fact(one).subject}: {_why(made, one)}" for one in made.left]
    else:
        out.append(f"UNFINISHED: {len(made.left)} commits left")
    out += [f"note: {note}" for note in made.notes]
    if made.stopped:
        out.append(made.stopped)
    out.append(
        f"{len(made.seen)} commits examined in {made.rounds} rounds: {_kernels(made)} kernels, "
        f"{_boots(made)} boots, {made.seconds:.0f} s"
    )
    return out


def _evidence(made: Bisection) -> list[str]:
    """What the culprit and each of its parents did."""
    assert made.culprit is not None
    seen = made.seen
    lines = [f"{seen[made.culprit].verdict.why}"]
    for parent in made.fact(made.culprit).parents:
        lines.append(f"its parent {made.fact(parent).short} {seen[parent].verdict.why}")
    return lines


def _why(made: Bisection, commit: str) -> str:
    return made.seen[commit].verdict.why if commit in made.seen else "not tried"


def _percent(share: float) -> str:
    """Never rounded up to what it is not."""
    return f"{int(share * 1e4) / 100:g} %"


def _kernels(made: Bisection) -> int:
    return sum(one.built for one in made.seen.values())


def _boots(made: Bisection) -> int:
    return sum(one.boots for one in made.seen.values())


def replay(made: Bisection) -> str:
    """git's log of it: first what good and bad ends come from, then the ends, then the rounds, the culprit's own verdict last."""
    ends = made.history
    first = [*ends.bases, ends.good, ends.bad]
    order = [*first, *(commit for commit in made.seen if commit not in first)]
    # Of several bad commits git goes by the last.
    last = made.left[-1] if made.left and made.left[-1] != ends.bad else ""
    order.sort(key=lambda commit: commit == last)
    verdicts = [
        (made.fact(commit), made.seen[commit].verdict.word if commit in made.seen else word)
        for commit in order
        if (word := {ends.good: "good", ends.bad: "bad"}.get(commit, "")) or commit in made.seen
    ]
    found = [made.fact(commit) for commit in made.left] if made.ended else []
    return log(verdicts, found)


def mail(made: Bisection) -> str:
    """A draft for the culprit's author and the lists; what a person must add or check is marked with FIXME."""
    assert made.culprit is not None
    commit, found = made.fact(made.culprit), made.seen[made.culprit]
    rerun = ["./rig", "run", f"--kernel=tree:LINUX@{commit.short}", f"--guest={made.asked.guest}"]
    rerun += [*(f"--config={one}" for one in made.asked.configs), f"--judged-by={made.judge}", made.case]
    paragraphs = [
        "Hi,",
        f'since commit {commit.short} ("{commit.subject}") a test of provided buffers fails:',
        f"  {made.case}\n  {_indented(found.tally.words)}",
        "\n".join(
            [
                "Bisected from",
                _named("good", made.fact(made.history.good), made),
                _named("bad ", made.fact(made.history.bad), made),
                "with",
                *(f"  {_indented(line)}" for line in _bisected(made, commit, found)),
            ]
        ),
        f"To run it again, with ringrig ({made.suite}):",
        f"  {shlex.join(rerun)}",
        "FIXME: what this breaks for users, and whether a fix is known.",
        f"#regzbot introduced: {commit.id}\n#regzbot title: io_uring: {made.case.rpartition('::')[2]} fails",
    ]
    head = [
        f"To: {commit.author} <{commit.mail}>",
        f"Cc: {_LISTS}",
        f"Subject: [REGRESSION] {commit.subject}",
        "",
    ]
    filled = [
        text if text.startswith(("  ", "#", "Bisected")) else textwrap.fill(text, _WIDTH)
        for text in paragraphs
    ]
    return "\n".join(head) + "\n" + "\n\n".join(filled) + "\n"


def _bisected(made: Bisection, commit: Commit, found: Examination) -> list[str]:
    parents = [f"{made.seen[one].verdict.why} on its parent {made.fact(one).short}" for one in commit.parents]
    return [
        f"fails {found.tally.failed} of {found.tally.tries} on {commit.short}",
        *parents,
        f"{len(made.seen)} commits were examined; confidence {_percent(made.confidence)}",
        *made.notes,
    ]


def _named(word: str, commit: Commit, made: Bisection) -> str:
    return f"  {word} {commit.short} {commit.subject}"


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)


def data(made: Bisection) -> dict[str, object]:
    """bisect.json; docs/bisect.md describes it."""
    tried = made.rate > 0
    return {
        "result": "culprit" if made.culprit else "one of" if made.ended else "unfinished",
        "culprit": _commit(made, made.culprit) if made.culprit else None,
        "left": [_commit(made, one) for one in made.left],
        "case": made.case or None,
        "asked": asdict(made.asked),
        "suite": made.suite,
        "judged by": made.judge,
        "confidence": made.confidence if tried else None,
        "least failure rate": made.rate if tried else None,
        "passes for good": made.quota.passes if tried else None,
        "marks": made.quota.marks,
        "examined": [
            {
                **_commit(made, one.commit),
                "verdict": one.verdict.word,
                "why": one.verdict.why,
                "passed": one.tally.passed,
                "failed": one.tally.failed,
                "other": one.tally.other,
                "seconds": one.seconds,
                "boots": one.boots,
                "build_id": one.build_id,
                "folder": one.folder.name,
            }
            for one in made.seen.values()
        ],
        "rounds": made.rounds,
        "kernels": _kernels(made),
        "boots": _boots(made),
        "seconds": made.seconds,
        "notes": made.notes,
        "stopped": made.stopped,
        "exit_code": made.exit_code,
    }


def _commit(made: Bisection, commit: str) -> dict[str, object]:
    return asdict(made.fact(commit))
