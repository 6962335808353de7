"""Bisections of a repository of fake commits."""

import pytest
from fakes.commits import CASE, Session, ids, repository

from ringrig.campaign import bisect, bisect_asked, bisect_step
from ringrig.campaign.job import do
from ringrig.children import Children


@pytest.fixture
def session(monkeypatch):
    made = Session()
    monkeypatch.setattr(Children, "wait_for", lambda _, *words, **told: made(*words, **told))
    monkeypatch.setattr(bisect_step, "do", _done_by(made))
    monkeypatch.setattr(bisect, "suite_version", lambda _: "suite 1")
    monkeypatch.setattr(bisect_step, "suite_version", lambda _: "suite 1")
    monkeypatch.setattr(bisect_asked.nearest, "known", lambda names, root: list(names))
    return made


def _done_by(session):
    return lambda *words, **told: do(*words, **told, run=session)


@pytest.fixture
def find(session, tmp_path):
    """Makes a repository of commits and bisects it: (commits' ids, the bisection, what was said)."""

    def found(commits, *options, good="c0", bad=None, case=(CASE,)):
        tree = tmp_path / "tree"
        names = ids(tree, commits) if tree.exists() else repository(tree, commits)
        said = []
        ends = [f"--tree={tree}", f"--good={good}", f"--bad={bad or commits[-1][0]}", *case]
        given = [*([] if "--resume" in options else ends), *options]
        return names, bisect.run(given, root=tmp_path, say=said.append), said

    return found
