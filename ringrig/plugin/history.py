"""What became of each case in each run of this clone: a small SQLite file that no run fails for."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringrig.plugin.record import results

_FILE = "history.sqlite"
PLACE = f"runs/{_FILE}"
_UNSOUND = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""The last: a data base of something else."""
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_PATIENCE = 5.0
"""Seconds that a run waits for another one's transaction."""
_TABLES = """
CREATE TABLE IF NOT EXISTS run (
    id INTEGER PRIMARY KEY, folder TEXT UNIQUE, began TEXT, kernel TEXT, build TEXT, suite TEXT);
CREATE TABLE IF NOT EXISTS node (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS outcome (
    node INTEGER, run INTEGER, outcome TEXT, seconds REAL, PRIMARY KEY (node, run)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A case in one run: `kernel` as reports call it, `build` its build-id, `began` in ISO 8601, `seconds` of the case."""

    began: str
    kernel: str
    build: str
    suite: str
    outcome: str
    seconds: float
    folder: str


def keep(folder: Path, *, root: Path) -> str:
    """Adds the run in `folder` to the clone's history; returns "" or a note on why it could not be added."""
    try:
        _keep(folder, root)
    except (sqlite3.Error, OSError, ValueError, LookupError) as error:
        return f"note: this run is not in {PLACE} ({error}); if that stays so: {remedy(error)}"
    return ""


def remedy(error: Exception) -> str:
    """What helps against it. A history is worth more than the trouble: only one that is no sound data base is thrown away."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _UNSOUND:
        return f"rm {PLACE}*; runs from then on are kept anew"
    if code in _NO_ROOM or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return "free space on that disk, and see whether it can be read and written; the history itself may be whole"
    return "see to what it says; the history itself may be whole"


def _keep(folder: Path, root: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    rows = {told["nodeid"]: (told["outcome"], told["seconds"]) for told in results(folder)}
    if not rows:
        return
    place = folder.relative_to(root) if folder.is_relative_to(root) else folder
    about = (
        str(place),
        run["began"],
        run["label"],
        run.get("ran", {}).get("running_build_id") or run["build_id"] or "",
        f"{run['versions']['ringrig']}{', judged by ' + judge if (judge := run.get('judged_by')) else ''}",
    )
    (root / "runs").mkdir(exist_ok=True)
    with _open(root / "runs" / _FILE) as file:
        file.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_TABLES}")
        with file:
            names = [(name,) for name in rows]
            file.executemany("INSERT OR IGNORE INTO node (name) VALUES (?)", names)
            # A job that is done again has the folder it had.
            file.execute("DELETE FROM outcome WHERE run = (SELECT id FROM run WHERE folder = ?)", about[:1])
            file.execute("DELETE FROM run WHERE folder = ?", about[:1])
            columns = "folder, began, kernel, build, suite"
            (number,) = file.execute(
                f"INSERT INTO run ({columns}) VALUES (?, ?, ?, ?, ?) RETURNING id", about
            ).fetchone()
            file.executemany(
                "INSERT INTO outcome SELECT id, ?, ?, ? FROM node WHERE name = ?",
                [(number, outcome, seconds, name) for name, (outcome, seconds) in rows.items()],
            )


def of(nodeid: str, *, root: Path) -> list[Past]:
    """What became of a case, oldest run first. sqlite3.Error: the file cannot be read; remedy() says what helps."""
    if not (root / "runs" / _FILE).exists():
        return []
    with _open(root / "runs" / _FILE) as file:
        rows = file.execute(
            "SELECT began, kernel, build, suite, outcome, seconds, folder FROM outcome "
            "JOIN run ON run.id = run JOIN node ON node.id = node WHERE name = ? ORDER BY began, run.id",
            (nodeid,),
        )
        names = [column[0] for column in rows.description]
        return [Past(**dict(zip(names, row, strict=True))) for row in rows]


def names(*, root: Path) -> list[str]:
    """Every case that the history knows. sqlite3.Error: as in of()."""
    if not (root / "runs" / _FILE).exists():
        return []
    with _open(root / "runs" / _FILE) as file:
        return [name for (name,) in file.execute("SELECT name FROM node")]


def mixed(one: Collection[str], other: Collection[str], *, root: Path) -> list[str]:
    """Cases with an outcome of each of two kinds on the same build of a kernel with the same suite. sqlite3.Error: as in of()."""
    if not (root / "runs" / _FILE).exists():
        return []
    has = [f"sum(outcome IN ({', '.join('?' * len(kind))})) > 0" for kind in (one, other)]
    with _open(root / "runs" / _FILE) as file:
        rows = file.execute(
            "SELECT DISTINCT name FROM (SELECT node FROM outcome JOIN run ON run.id = run "
            f"GROUP BY node, kernel, build, suite HAVING {' AND '.join(has)}) JOIN node ON node.id = node ORDER BY name",
            [*one, *other],
        )
        return [name for (name,) in rows]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as file:
        yield file
