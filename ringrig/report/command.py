"""`rig report`: a folder below runs/ as a page for people or as text for machines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ringrig.cache import writing
from ringrig.errors import BadSpec, NoSpace
from ringrig.report import folder as folders
from ringrig.report import junit, kcidb, ktap, page
from ringrig.report.folder import Folder

_PAGE = "report.html"


def main(arguments: Sequence[str], *, root: Path) -> int:
    """Writes the report, or prints it where it is for machines. BadSpec, NoSpace."""
    chosen = _parser().parse_args(arguments)
    kcidb.check(chosen.origin)
    folder = folders.read(Path(chosen.folder) if chosen.folder else root / "runs" / "latest")
    if folder.kind == "mutants":
        return _mutants(folder.path, chosen.form)
    if chosen.form == "html" and not chosen.output:
        print(write_page(folder))
        return 0
    text = {
        "html": lambda: page.text(folder),
        "ktap": lambda: ktap.text(folder),
        "junit": lambda: junit.text(folder),
        "kcidb": lambda: kcidb.text(folder, origin=chosen.origin),
    }[chosen.form]()
    if chosen.output:
        print(_write(Path(chosen.output), text))
    else:
        sys.stdout.write(text.encode("utf-8", "replace").decode())
    return 0


def write_page(folder: Folder) -> Path:
    """report.html in the folder itself. NoSpace."""
    return _write(folder.path / _PAGE, page.text(folder))


def _write(path: Path, text: str) -> Path:
    try:
        with writing("the report", path.parent):
            path.write_text(text, encoding="utf-8", errors="replace")  # lone surrogates, of a console's bytes
    except NoSpace:
        raise
    except OSError as error:
        raise BadSpec(
            f"The report cannot be written to {path}: {error.strerror}.",
            next_step="name a file in a folder that is there with -o",
        ) from error
    return path


def _mutants(path: Path, form: str) -> int:
    """The page that the campaign has left, which knows the sources too."""
    page = path / "mutants.html"
    if form != "html" or not page.exists():
        raise BadSpec(
            f"{path} holds mutants: their report is mutants.html, and for machines mutants.json.",
            next_step=f"open {page}" if page.exists() else "`rig mutate` writes it at its end",
        )
    print(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rig report",
        description="Report a run, matrix, series or bisection: a page (report.html in its folder), or text on stdout.",
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="in runs/ (default: runs/latest)")
    form = parser.add_mutually_exclusive_group()
    for name, what in (
        ("html", "one page for a browser (default)"),
        ("ktap", "nested KTAP, as kselftest reads it"),
        ("junit", "JUnit XML"),
        ("kcidb", "KCIDB's JSON; nothing is submitted"),
    ):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", help=what)
    parser.set_defaults(form="html")
    parser.add_argument("-o", metavar="FILE", dest="output", help="where to write it")
    parser.add_argument(
        "--origin", default=kcidb.ORIGIN, metavar="NAME", help="--kcidb: the name KernelCI knows you by"
    )
    return parser
