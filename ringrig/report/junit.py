"""JUnit XML, a suite for each kernel; known issues are skipped cases of a type of their own, with the issue's id."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from ringrig.report.folder import Case, Folder, Run

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(folder: Folder) -> str:
    """The whole report. A run without a case has one, `run`, with the error that kept it from having any.

    A campaign's suites are called as its jobs are: several may be of one kernel.
    """
    top = ET.Element("testsuites", name=f"ringrig {folder.kind}")
    for run in folder.runs:
        _add_run(top, run, name=run.label if folder.kind == "run" else run.name)
    ET.indent(top, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(top, encoding="unicode") + "\n"


def _add_run(top: ET.Element, run: Run, *, name: str) -> None:
    count = run.count
    suite = ET.SubElement(
        top,
        "testsuite",
        name=_fit(name),
        tests=str(len(run.cases) or 1),
        failures=str(count["failed"]),
        errors=str(count["error"] if run.cases else 1),
        skipped=str(count["skipped"] + count["xfailed"]),
        time=f"{run.seconds:.3f}",
    )
    if began := run.about.get("began", ""):
        suite.set("timestamp", began[:19])
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="kernel", value=_fit(run.label))
    if not run.cases:
        case = ET.SubElement(suite, "testcase", classname="ringrig", name="run", time="0")
        words = _fit(run.verdict)
        ET.SubElement(case, "error", message=words.partition("\n")[0], type="no verdict").text = words
    for one in run.cases.values():
        _add_case(suite, one)


def _add_case(suite: ET.Element, one: Case) -> None:
    path, _, name = one.nodeid.partition("::")
    case = ET.SubElement(
        suite,
        "testcase",
        classname=path.removesuffix(".py").replace("/", "."),
        name=_fit(name),
        time=f"{one.seconds:.4f}",
    )
    if one.known:
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", name="known issue", value=_fit(one.known))
    why = _fit(one.why)
    if one.outcome in ("failed", "error"):
        tag = "failure" if one.outcome == "failed" else "error"
        ET.SubElement(case, tag, message=why, type=one.outcome).text = _fit(one.detail or one.why)
    elif one.outcome in ("skipped", "xfailed"):
        kind = "known issue" if one.known else one.outcome
        ET.SubElement(case, "skipped", message=why, type=kind)
    elif one.outcome == "xpassed":
        ET.SubElement(case, "system-out").text = f"passed, though this is known: {why}"


def _fit(words: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", words)
