"""Reports for machines: what a folder holds, as KTAP, JUnit and KCIDB; and where their text goes."""

import json
import re
from xml.etree import ElementTree

import pytest
from fakes.folders import (
    ISSUE,
    LINES,
    A,
    B,
    a_bisection_under_way,
    a_job,
    a_job_without_a_case,
    a_matrix,
    a_run,
    a_series,
)

from ringrig import cli
from ringrig.errors import BadSpec, NoSpace
from ringrig.report import folder as folders
from ringrig.report import junit, kcidb, ktap


@pytest.fixture
def run(tmp_path):
    return folders.read(a_run(tmp_path / "a_run"))


@pytest.fixture
def matrix(tmp_path):
    return folders.read(a_matrix(tmp_path / "a_matrix"))


def test_a_bisection_without_a_result(tmp_path):
    """Is none of a matrix; a commit that is being built has no verdict."""
    text = ktap.text(folders.read(a_bisection_under_way(tmp_path / "b")))

    assert [one[1] for one in ktap_tree(text)] == ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]
    assert "NO VERDICT: the run is under way" in text


def test_a_patch_that_does_not_build(tmp_path):
    """Has no folder, and is in each report all the same, with the compiler's words."""
    series = folders.read(a_series(tmp_path / "runs/a_series"))
    says = "error: expected ‘;’"

    unbuilt = {one[1]: one for one in ktap_tree(ktap.text(series))}["2-of-4"]
    suites = {one.get("name"): one for one in ElementTree.fromstring(junit.text(series)).findall("testsuite")}
    told = json.loads(kcidb.text(series))

    assert (unbuilt[0], unbuilt[2]) == (False, "ERROR NO VERDICT: source:6.12 does not build:")
    assert says in ktap.text(series)
    assert list(suites) == ["base", "1-of-4", "2-of-4", "3-of-4"]
    assert says in suites["2-of-4"].find("testcase/error").text
    (build,) = [one for one in told["builds"] if one.get("status") == "FAIL"]
    assert says in build["log_excerpt"]
    checkout = {one["id"]: one for one in told["checkouts"]}[build["checkout_id"]]
    assert "patchset_hash" in checkout
    pytest.importorskip("kcidb_io.schema").LATEST.validate(told)


def ktap_tree(text):
    """[(ok, name, what stands behind #, subtests)], with every rule of ktap.rst that such text can break."""
    lines = [line for line in text.splitlines() if not re.match(r" *# ", line)]
    assert all(line == line.rstrip() for line in lines)

    def level(indent):
        assert lines.pop(0) == f"{indent}KTAP version 1"
        plan = re.fullmatch(rf"{indent}1\.\.(\d+)", lines.pop(0))
        assert plan
        found = []
        for number in range(1, int(plan[1]) + 1):
            inner = level(f"{indent}  ") if lines[0].startswith(f"{indent}  ") else []
            result = re.fullmatch(rf"{indent}(ok|not ok) (\d+) ([^#]+?)(?: # (.*))?", lines.pop(0))
            assert result and int(result[2]) == number
            assert not inner or (result[1] == "ok") == all(one[0] for one in inner)
            found.append((result[1] == "ok", result[3], result[4] or "", inner))
        return found

    tree = level("")
    assert lines == []
    return tree


def test_ktap_of_a_run(run):
    """Folders, files, cases; skips, known issues, errors and timeouts by their directives; evidence is only diagnostics."""
    text = ktap.text(run)

    tree = ktap_tree(text)

    assert [(one[0], one[1]) for one in tree] == [(False, "mmap"), (True, "status")]
    (file,) = tree[0][3]
    assert {name: (ok, after.split(" ")[0]) for ok, name, after, _ in file[3]} == {
        "test_3[a/b]": (True, "XFAIL"),
        "test_4[a_1]": (False, "got"),
        "test_5": (False, "TIMEOUT"),
        "test_6": (False, "ERROR"),
        "test_7": (True, "known:"),
        "test_8": (False, "ERROR"),
    }
    assert "    # | ok 1 of them\n" in text
    assert text.endswith("# Totals: pass:1 fail:2 xfail:1 xpass:1 skip:1 error:2\n")


def test_ktap_of_a_matrix(matrix):
    """Kernels are the outermost; one without a case is an error."""
    tree = ktap_tree(ktap.text(matrix))

    assert [(one[0], one[1]) for one in tree] == [
        (False, "source:6.12"),
        (True, "debian:6.1"),
        (False, "debian:9.9"),
    ]
    assert tree[2][2] == "ERROR NO VERDICT: There is no such kernel."


def test_ktap_counts_kernels_without_a_case(tmp_path):
    """As the errors that they are."""
    for name in ("a", "b"):
        a_job_without_a_case(tmp_path / "m" / name)

    assert ktap.text(folders.read(tmp_path / "m")).endswith("skip:0 error:2\n")


def test_junit(matrix):
    """Known issues are apart from skips, with the issue's id; counts are as CI counts; no character that XML forbids."""
    top = ElementTree.fromstring(junit.text(matrix))

    suites = top.findall("testsuite")
    assert [one.get("tests") for one in suites] == ["8", "3", "1"]
    assert {key: suites[0].get(key) for key in ("failures", "errors", "skipped")} == {
        "failures": "2",
        "errors": "2",
        "skipped": "2",
    }
    cases = {one.get("name"): one for one in suites[0].findall("testcase")}
    assert cases["test_4[a#1]"].get("classname") == "suites.mmap.test_b"
    assert "assert -22 == 0" in cases["test_4[a#1]"].find("failure").text
    assert cases["test_2"].find("skipped").get("type") == "skipped"
    assert cases["test_3[a/b]"].find("skipped").get("type") == "known issue"
    assert cases["test_3[a/b]"].find("properties/property").get("value") == "stale-head"
    assert suites[2].find("testcase/error").get("message") == "NO VERDICT: There is no such kernel."


def test_junit_tells_entries_of_one_kernel_apart(tmp_path):
    """By the name of the job; the kernel's own is a property."""
    for name in ("one", "two"):
        a_job(tmp_path / "m" / name, name=name)

    suites = ElementTree.fromstring(junit.text(folders.read(tmp_path / "m"))).findall("testsuite")

    assert [one.get("name") for one in suites] == ["one", "two"]
    assert {one.find("properties/property").get("value") for one in suites} == {
        "source:6.12 (6.12.117) [uml]"
    }


def test_kcidb_is_valid_and_keeps_failures_errors_and_misses_apart(matrix):
    """By KCIDB's own schema; a known issue is an issue with incidents, present or absent."""
    schema = pytest.importorskip("kcidb_io.schema").LATEST
    told = json.loads(kcidb.text(matrix, origin="somebody"))

    schema.validate(told)

    mine = {one["comment"]: one["status"] for one in told["tests"] if "/k-6.12:" in one["id"]}
    assert mine == {
        "6.12.117": "PASS",
        f"{B}::test_1": "PASS",
        f"{B}::test_2": "SKIP",
        f"{A}::test_3[a/b]": "FAIL",
        f"{A}::test_4[a#1]": "FAIL",
        f"{A}::test_5": "FAIL",
        f"{A}::test_6": "ERROR",
        f"{A}::test_7": "PASS",
        f"{A}::test_8": "MISS",
    }
    assert [one["status"] for one in told["tests"] if "/k-9.9:" in one["id"]] == ["MISS"]
    (issue,) = told["issues"]
    assert (issue["id"], issue["report_url"]) == ("somebody:stale-head", ISSUE["link"])
    assert sorted((one["test_id"].rpartition("::")[2], one["present"]) for one in told["incidents"]) == [
        ("test_3[a/b]", True),
        ("test_3[a/b]", True),
        ("test_7", False),
    ]
    assert len({one["id"] for one in told["tests"]}) == len(told["tests"]) == 1 + 8 + 1 + 3 + 1


@pytest.mark.parametrize(
    ("code", "kind", "status"), [(15, "tests", "FAIL"), (23, "builds", "FAIL"), (18, "tests", "MISS")]
)
def test_kcidb_of_a_kernel_that_does_not_build_or_boot(tmp_path, code, kind, status):
    """Is the kernel's failure, and a full disk is not."""
    a_job_without_a_case(tmp_path / "m/k", code=code)

    told = json.loads(kcidb.text(folders.read(tmp_path / "m")))

    assert told[kind][0].get("status") == status


def test_text_goes_to_stdout_or_a_file(tmp_path, capsys):
    """And nothing else with it."""
    folder = str(a_run(tmp_path / "a_run", lines=LINES[:1]))

    assert cli.main(["report", folder, "--ktap"]) == 0
    assert ktap_tree(capsys.readouterr().out)
    assert cli.main(["report", folder, "--junit", "-o", str(tmp_path / "x.xml")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.xml'}\n"
    assert ElementTree.parse(tmp_path / "x.xml").getroot().tag == "testsuites"


@pytest.mark.parametrize("form", ["html", "ktap", "junit", "kcidb"])
def test_bytes_that_are_no_text_do_not_stop_a_report(tmp_path, capsys, form):
    """A case's words may hold lone surrogates, NULs and escapes."""
    line = {
        "nodeid": f"{A}::test_1",
        "outcome": "failed",
        "seconds": 0,
        "why": "\udc80 \0 \x1b",
        "detail": "\udc80\0",
    }
    folder = a_run(tmp_path / "a_run", lines=[line])

    assert cli.main(["report", str(folder), f"--{form}"]) == 0

    assert capsys.readouterr().out


@pytest.mark.parametrize("where", ["no/such/folder/x", "."])
def test_a_place_where_no_file_can_be(tmp_path, capsys, monkeypatch, where):
    """Exit code 11, with the next step."""
    monkeypatch.chdir(tmp_path)
    folder = a_run(tmp_path / "a_run")

    assert cli.main(["report", str(folder), "--junit", "-o", where]) == BadSpec.exit_code

    assert f"cannot be written to {where}: " in capsys.readouterr().err


@pytest.mark.parametrize("origin", ["Bad Origin", "", "a:b", "ä", "a\n"])
def test_an_origin_that_kcidb_refuses(tmp_path, capsys, origin):
    """Is refused here, with the rule it must fit."""
    folder = a_run(tmp_path / "a_run")

    assert cli.main(["report", str(folder), "--kcidb", f"--origin={origin}"]) == BadSpec.exit_code

    said = capsys.readouterr()
    assert "small letters, digits and _" in said.err
    assert not said.out


def test_a_full_disk(tmp_path, capsys):
    """Exit code 18."""
    folder = a_run(tmp_path / "a_run")

    assert cli.main(["report", str(folder), "--ktap", "-o", "/dev/full"]) == NoSpace.exit_code

    assert "No space left while writing the report" in capsys.readouterr().err
