"""A small git repository whose commits say in a file how a kernel of them does, and a session that believes them."""

import json
import random
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

from ringrig.campaign.commit_verdict import FAILED, Quota, Tally, Try

CASE = "suites/x/test_a.py::test_1"
MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 7\n"
_REFUSALS = {
    "build": (23, "io_uring/kbuf.c:7: error: nonsense\nExit: it does not build\n"),
    "boot": (15, "Exit: it did not reach the agent\n"),
    "trouble": (19, "Exit: the guest is lost\n"),
}


def git(folder: Path, *words: str, given: str | None = None) -> str:
    done = subprocess.run(
        ["git", "-c", "advice.detachedHead=false", "-C", str(folder), *words],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def repository(folder: Path, commits: list[tuple[str, str, list[str]]]) -> dict[str, str]:
    """Makes it of (name, what it does, parents); the commits' ids by name, which are tags, too."""
    git(folder.parent, "init", "-q", "-b", "main", str(folder))
    stream, marks = [], {name: number for number, (name, _, _) in enumerate(commits, start=1)}
    for name, does, parents in commits:
        subject = f"io_uring: {name}"
        stream += [
            "commit refs/heads/main" if name == commits[-1][0] else f"commit refs/heads/{name}",
            f"mark :{marks[name]}",
            f"author A Developer <dev@example.org> {1_700_000_000 + marks[name]} +0000",
            f"committer A Developer <dev@example.org> {1_700_000_000 + marks[name]} +0000",
            f"data {len(subject)}\n{subject}",
            *(f"{'merge' if number else 'from'} :{marks[one]}" for number, one in enumerate(parents)),
            *(
                f"M 100644 inline {path}\ndata {len(text)}\n{text}"
                for path, text in (("Makefile", MAKEFILE), ("state", does), ("name", name))
            ),
        ]
        stream += [f"reset refs/tags/{name}\nfrom :{marks[name]}\n"]
    git(folder, "fast-import", "--quiet", given="\n".join(stream) + "\n")
    return ids(folder, commits)


def ids(folder: Path, commits: list[tuple[str, str, list[str]]]) -> dict[str, str]:
    """The commits' ids by name."""
    names = [name for name, _, _ in commits]
    return dict(zip(names, git(folder, "rev-parse", *names).splitlines(), strict=True))


def line(*states: str) -> list[tuple[str, str, list[str]]]:
    """Commits c0, c1, … one after the other; most say what the one before says, which "" stands for."""
    made: list[tuple[str, str, list[str]]] = []
    for number, state in enumerate(states):
        made.append((f"c{number}", state or made[-1][1], [f"c{number - 1}"] if number else []))
    return made


class Session:
    """Stands for pytest in Children.wait_for: `runs` counts what each commit was tried for; `before` is called first.

    A commit does good, bad, `flaky N` (fails 1 time in N), `splat F` (dies of that), `skip`, or one of _REFUSALS; behind
    a slash what it does in the second case, test_2, of `-k`.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.commands: list[list[str]] = []
        self.before = lambda: None
        self.cure = ""
        """What a commit in trouble does instead."""
        self._dice = random.Random(1)

    def __call__(self, command, *, cwd=None, output=None, env=None) -> int:
        self.commands.append(command)
        self.before()
        word = {name: value for name, _, value in (one.partition("=") for one in command)}
        folder, quota = Path(word["--run-folder"]), Quota.of(word["--tries"])
        tree, _, commit = word["--kernel"].removeprefix("tree:").partition("@")
        state, name = (_file(Path(tree), commit, file) for file in ("state", "name"))
        self.runs[commit] += 1
        if state == "trouble" and self.cure:
            state = self.cure
        if state in _REFUSALS:
            code, said = _REFUSALS[state]
            output.write(said.encode())
            output.flush()
            return code
        cases = {CASE: state.partition("/")[0]}
        if "-k" in command:
            cases[CASE[:-1] + "2"] = state.partition("/")[2] or "good"
        made = [one for name, does in cases.items() for one in self._tries(name, does, quota)]
        lines = [
            {"nodeid": one.nodeid, "outcome": one.outcome, "marks": one.marks, "why": one.why} for one in made
        ]
        (folder / "tries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        run = {"guests": 1, "build_id": name.partition("-")[0], "label": name}
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "results.jsonl").touch()
        return int(any(one.outcome == "failed" for one in made))

    def _tries(self, name: str, does: str, quota: Quota) -> list[Try]:
        tally, made = Tally(), []
        while not tally.enough(quota):
            made.append(self._one(name, *does.split()))
            tally.add(made[-1], quota.marks)
        return made

    def _one(self, name: str, does: str, how: str = "") -> Try:
        if does == "bad" or (does == "flaky" and not self._dice.randrange(int(how))):
            return Try(nodeid=name, outcome="failed", marks=(FAILED,), why="assert 1 == 2")
        if does == "splat":
            return Try(nodeid=name, outcome="failed", marks=(how,), why=f"kernel splat {how}")
        return Try(nodeid=name, outcome="skipped" if does == "skip" else "passed", why="needs inc")


def _file(tree: Path, commit: str, name: str) -> str:
    return _of_commit(tree, commit, name) if commit else (tree / name).read_text()


@cache
def _of_commit(tree: Path, commit: str, name: str) -> str:
    return git(tree, "show", f"{commit}:{name}")


def merged(before, left, right, after):
    """Two branches that part after `before` and are merged, with what each commit does."""
    made = line(*before)
    tops = {}
    for name, states in (("l", left), ("r", right)):
        parent, last = made[len(before) - 1][0], made[len(before) - 1][1]
        for number, state in enumerate(states):
            last = state or last
            made.append((f"{name}{number}", last, [parent]))
            parent = f"{name}{number}"
        tops[name] = parent
    parents = [tops["l"], tops["r"]]
    for number, state in enumerate(after):
        made.append((f"m{number}", state, parents))
        parents = [f"m{number}"]
    return made
