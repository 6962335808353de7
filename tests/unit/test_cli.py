"""The command line: dispatch, errors as messages with exit codes, and what `rig run` hands to pytest."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from ringrig import cli, runs, vmimage
from ringrig.errors import BadSpec, HostLacks


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_command(arguments, capsys):
    """What there is, without an error."""
    assert cli.main(arguments) == 0

    text = capsys.readouterr().out
    assert all(f"rig {name}" in text for name in cli._COMMANDS)


def test_an_unknown_command_is_a_bad_spec(capsys):
    """With the commands there are."""
    assert cli.main(["rnu"]) == BadSpec.exit_code
    assert "run, build, test, doctor" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-h"], ["history"]])
def test_what_is_printed_finds_no_space(words):
    """Not what 1 stands for, and no traceback: more than a buffer holds, or less."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ringrig.cli", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr.partition(".")[0]) == (
        18,
        "rig: No space left while writing standard output",
    )


def test_a_locale_that_lacks_letters():
    """A question mark stands for them."""
    old = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    old.pop("PYTHONIOENCODING", None)  # tox sets it
    command = [sys.executable, "-m", "ringrig.cli", "-h"]
    done = subprocess.run(command, env=old, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage: rig COMMAND ?" in done.stdout


def test_an_error_of_the_rig_is_a_message_and_its_code(monkeypatch, capsys):
    """Never a traceback."""

    def fail(_arguments):
        raise HostLacks("No QEMU.", next_step="install it")

    monkeypatch.setitem(cli._COMMANDS, "doctor", fail)

    assert cli.main(["doctor"]) == HostLacks.exit_code
    assert capsys.readouterr().err == "rig: No QEMU.\n  next: install it\n"


def test_an_interrupt_is_130(monkeypatch, capsys):
    """As shells count."""

    def interrupt(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._COMMANDS, "doctor", interrupt)

    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_start_imports_nothing_heavy():
    """Well under a second: no pytest, no paramiko, no rich."""
    code = "import sys, ringrig.cli; ringrig.cli.main(['-h']); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert not {"pytest", "paramiko", "rich", "zstandard", "subprocess"} & set(modules.split())


def test_the_cache_is_listed_and_cleared(tmp_path, capsys):
    """By name, by kind, and everything."""
    for name in ("kernels/a", "kernels/b", "sshd/c"):
        (tmp_path / "cache/ringrig" / name).mkdir(parents=True)

    assert cli.main(["cache"]) == 0
    assert "kernels/a" in capsys.readouterr().out
    assert cli.main(["cache", "clear", "nothing"]) == BadSpec.exit_code
    assert cli.main(["cache", "clear", "kernels/a"]) == 0
    assert not (tmp_path / "cache/ringrig/kernels/a").exists()
    assert cli.main(["cache", "clear", "kernels"]) == 0
    assert cli.main(["cache", "clear"]) == 0
    assert not (tmp_path / "cache/ringrig/sshd/c").exists()


def test_the_images_are_listed(capsys):
    """host needs nothing, debian has to be built."""
    assert cli.main(["image"]) == 0

    text = capsys.readouterr().out
    assert "not built: rig image build debian" in text
    assert vmimage.build("host", say=print) == Path("/")


def test_an_unknown_image_lists_the_known(capsys):
    """debian, host."""
    assert cli.main(["image", "build", "gentoo"]) == BadSpec.exit_code
    assert "debian, host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "kernels", "others"),
    [
        (["-k", "x"], [], ["-k", "x"]),
        (
            ["--kernel", "host", "-x", "--kernel=debian:6.1", "suites/a"],
            ["host", "debian:6.1"],
            ["-x", "suites/a"],
        ),
        (["--kernel", "host", "--kernel", "host"], ["host", "host"], []),
    ],
)
def test_kernels_are_taken_out_of_the_arguments(arguments, kernels, others):
    """In order, as often as they are named; everything else is pytest's."""
    assert runs.split(arguments) == (kernels, others)


def test_a_kernel_option_without_a_kernel_is_refused():
    """The last argument got lost."""
    with pytest.raises(BadSpec):
        runs.split(["--kernel"])


def test_paths_keep_their_meaning_where_the_user_stands(tmp_path, monkeypatch):
    """A file that is there is made absolute; options, expressions and other specs are not."""
    monkeypatch.chdir(tmp_path)
    for name in ("bzImage", "test_a.py", "host", "register"):
        Path(name).touch()

    assert runs.kernel_from_here("bzImage") == str(tmp_path / "bzImage")
    assert runs.kernel_from_here("host") == "host"
    assert runs.from_here(["-k", "register", "test_a.py::test_x", "--lf", "suites"]) == [
        "-k", "register", f"{tmp_path}/test_a.py::test_x", "--lf", "suites",
    ]  # fmt: skip


FAKE_PYTEST = """
import os, signal, sys, time
kernel = sys.argv[1].removeprefix("--kernel=")
print("session of", kernel, flush=True)
if kernel == "slow":
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        time.sleep(0.3)
        print("tidied up", flush=True)
        sys.exit(2)
sys.exit(int(kernel) if kernel.isdigit() else 0)
"""


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """Starts `rig run` with a fake pytest on its own terminal; gives the process and the terminal's end."""
    (tmp_path / "pytest.py").write_text(FAKE_PYTEST)
    ours, its = os.openpty()

    def start(*kernels):
        code = (
            f"import sys; from ringrig import runs; sys.exit(runs.run(sys.argv[1:], root={str(tmp_path)!r}))"
        )
        arguments = [argument for kernel in kernels for argument in ("--kernel", kernel)]
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{cli.ROOT}"},
            stdin=its,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(its, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        ), ours

    yield start
    os.close(ours)
    os.close(its)


@pytest.mark.parametrize(
    ("kernels", "code"),
    [(["0"], 0), (["5"], 5), (["0", "host"], 0), (["0", "1", "3"], 1), (["17", "0", "1"], 17)],
)
def test_the_exit_code_is_the_first_that_is_not_0(rig, kernels, code):
    """Each kernel has its session; one that fails does not keep the others from running."""
    process, _ = rig(*kernels)
    text = process.communicate(timeout=20)[0]

    assert process.returncode == code
    assert text.count("session of") == len(kernels)


@pytest.mark.parametrize("by_terminal", [True, False])
@pytest.mark.parametrize("kernels", [["slow"], ["slow", "0"]])
def test_an_interrupt_reaches_the_session_once(rig, by_terminal, kernels):
    """By Ctrl-C or by kill: pytest tidies up, the kernels that are left are named as not run."""
    process, terminal = rig(*kernels)
    lines = iter(process.stdout)
    next(line for line in lines if "session of slow" in line)
    time.sleep(0.2)

    if by_terminal:
        os.write(terminal, b"\x03")
    else:
        process.send_signal(signal.SIGINT)
    text = "".join(lines)

    assert process.wait(timeout=20) == 2
    assert "tidied up" in text
    assert ("not run" in text) == (len(kernels) > 1)


@pytest.mark.parametrize(
    "arguments", [["-n", "0"], ["--alone", "-1"], ["--alone", "3", "--command", "true"], ["--guest", "kvm"]]
)
def test_mutate_refuses_what_makes_no_sense(arguments, capsys):
    """As a wrong option, before anything is fetched or built."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["mutate", *arguments])

    assert ended.value.code == 2
    assert "usage: rig mutate" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["host", "debian:6.12", "debian-uml:6.1", "ssh:board"])
def test_mutants_need_a_kernel_that_is_built_here(spec, capsys):
    """With what to take instead."""
    assert cli.main(["mutate", "--kernel", spec]) == BadSpec.exit_code
    assert "source:X.Y" in capsys.readouterr().err


def test_a_mutation_campaigns_verdict_is_its_exit_code(monkeypatch):
    """As the report says it."""
    from ringrig.campaign import mutate
    from ringrig.report import mutants

    monkeypatch.setattr(mutate, "run", lambda arguments, root: (arguments, root))
    monkeypatch.setattr(mutants, "report", lambda campaign: 1 if campaign == (["--full"], cli.ROOT) else 99)

    assert cli.main(["mutate", "--full"]) == 1
