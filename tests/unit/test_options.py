"""Options: what cannot work is refused with the reason, before anything is fetched or booted."""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pytester.makeconftest('pytest_plugins = ["ringrig.plugin"]')
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib -p no:hypothesispytest\n")
    pytester.mkdir("suites")
    (pytester.path / "suites/test_a.py").write_text("def test_a(): pass\n")
    return pytester.runpytest_inprocess


def refused(result, code, words, pytester):
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == code, text
    assert words in text
    assert "Traceback" not in text
    assert not (pytester.path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pdb"], "--keep-guest"),
        (["--trace"], "--keep-guest"),
        (["-s"], "-rA"),
        (["--capture=no"], "-rA"),
        (["--keep-guest", "-n2"], "leave out -n"),
        (["--fresh-vm"], "is up already"),
    ],
)
def test_what_cannot_work_elsewhere_is_refused(run, pytester, options, words):
    """With what to use instead."""
    refused(run("--kernel", "host", *options), 4, words, pytester)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--case-timeout", "0"], "--case-timeout"),
        (["--case-timeout", "-1"], "--case-timeout"),
        (["--case-timeout", "nan"], "--case-timeout"),
        (["--cpus", "0"], "--cpus"),
        (["--memory", "lots"], "--memory"),
        (["--memory", "1G,maxmem=2G"], "--memory"),
        (["--accel", "hvf"], "--accel"),
        (["--judged-by", "6.99"], "takes one of: "),
    ],
)
def test_values_without_sense_are_refused(run, pytester, options, words):
    """Not passed on to QEMU."""
    refused(run("--kernel", "host", *options), 4, words, pytester)


@pytest.mark.parametrize(
    ("kernel", "code", "words"),
    [
        ("nonsense", 11, "is no kernel spec"),
        ("/no/such/image", 12, "/no/such/image"),
        ("ssh:@", 11, "names no board"),
        (".", 12, "it is no kernel tree"),
        ("suites/test_a.py", 13, "suites/test_a.py"),
    ],
)
def test_a_kernel_that_is_none(run, pytester, kernel, code, words):
    """One message with the next step, and the rig's own exit code."""
    result = run("--kernel", kernel)

    refused(result, code, words, pytester)
    assert "next:" in result.stdout.str() + result.stderr.str()


def test_cases_want_a_kernel(run, pytester):
    """Without --kernel nothing runs by accident on the running one."""
    refused(run(), 4, "--kernel host", pytester)


def test_other_tests_want_none(run, pytester):
    """The plugin leaves a project's own tests alone."""
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests/test_b.py").write_text("def test_b(): pass\n")

    assert run("tests").ret == 0


def test_cases_that_take_minutes_are_left_out(run, pytester):
    """On every kernel and by `rig mutate`'s collection, unless they are named, or asked for by their marker."""
    (pytester.path / "suites/test_a.py").write_text(
        "import pytest\ndef test_a(): pass\n@pytest.mark.exhaustive\n@pytest.mark.parametrize('n', [1, 2])\ndef test_b(n): pass\n"
    )
    collect = ("--kernel", "host", "--collect-only", "-q")

    run(*collect).stdout.fnmatch_lines(["*1/3 tests collected*2 deselected*"])
    run("--collect-only", "-q").stdout.fnmatch_lines(["*1/3 tests collected*2 deselected*"])
    run(*collect, "-m", "exhaustive").stdout.fnmatch_lines(["*2/3 tests collected*"])
    run(*collect, "suites/test_a.py::test_b[2]").stdout.fnmatch_lines(["1 test collected*"])


def test_cases_that_may_crash_are_left_out_on_the_running_kernel(run, pytester):
    """Unless they are asked for."""
    (pytester.path / "suites/test_a.py").write_text(
        "import pytest\ndef test_a(): pass\n@pytest.mark.crashes\ndef test_b(): pass\n"
    )

    run("--kernel", "host", "--collect-only", "-q").stdout.fnmatch_lines(
        ["*1/2 tests collected*1 deselected*"]
    )
    run("--kernel", "host", "--collect-only", "-q", "--crashing").stdout.fnmatch_lines(["2 tests collected*"])
