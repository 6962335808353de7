"""./rig: what it says, installs and makes, what a second start costs, what becomes of a half-made one."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

RIG = Path(__file__).resolve().parents[2] / "rig"

# Stands for python3 and for the environment's: `-m venv` copies it, the rest is recorded.
PYTHON = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
-c*import?sys*) exit 0 ;;
-c*) [ -z "${NO_VENV-}" ] ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*) [ -z "${BROKEN_PIP-}" ] || { echo "ERROR: $BROKEN_PIP"; exit 1; } ;;
*ringrig.cli*) echo "cli: $*"; exit 7 ;;
esac
"""
APT = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$1" in
install) [ -z "${BROKEN_APT-}" ] || { echo "E: $BROKEN_APT"; exit 100; } ;;
esac
"""
TOOLS = [
    "cat", "cp", "cut", "dirname", "env", "flock", "grep", "head", "id", "mkdir", "mktemp", "readlink",
    "rm", "sed", "sh", "sha256sum", "sleep", "tail",
]  # fmt: skip


class Machine:
    """A clone and a PATH of its own, so that nothing of the real machine is seen or touched."""

    def __init__(self, folder):
        self.clone = folder / "clone"
        self.bin = folder / "bin"
        self.log = folder / "log"
        for place in (self.clone, self.bin):
            place.mkdir()
        shutil.copy(RIG, self.clone / "rig")
        (self.clone / "pyproject.toml").write_text("[project]\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.program("python", PYTHON)
        self.program("apt-get", APT)
        for program in ("qemu-system-x86_64", "depmod", "bwrap", "file"):
            self.program(program, "#!/bin/sh\n")

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(self, *arguments, **environment):
        """Runs ./rig; gives the exit code, what was said, and the commands it ran."""
        self.log.write_text("")
        done = subprocess.run(
            [str(self.clone / "rig"), *arguments],
            env={
                "PATH": str(self.bin),
                "LOG": str(self.log),
                "RINGRIG_PYTHON": str(self.bin / "python"),
                "TMPDIR": str(self.clone.parent),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, self.log.read_text()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_first_start_makes_everything_and_hands_over(machine):
    """Each step is said; the arguments and the exit code pass through."""
    code, said, ran = machine.start("run", "-k", "a b")

    assert code == 7
    assert "cli: -P -m ringrig.cli run -k a b" in said
    assert "making the private Python environment" in said
    assert "-m pip install" in ran


def test_the_second_start_makes_nothing(machine):
    """And costs little: the limit is generous, for a busy machine."""
    machine.start("run")
    begun = time.monotonic()

    _, said, ran = machine.start("run")

    assert time.monotonic() - begun < 0.5
    assert ran.splitlines() == ["-P -m ringrig.cli run"]
    assert said == "cli: -P -m ringrig.cli run\n"


def test_a_changed_pyproject_updates_the_environment(machine):
    """A git pull with new dependencies."""
    machine.start("run")
    (machine.clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    _, said, ran = machine.start("run")

    assert "up to date" in said
    assert "-m pip install" in ran
    assert "-m venv" not in ran


@pytest.mark.parametrize("damage", ["unfinished", "moved", "no python"])
def test_a_damaged_environment_is_made_anew(machine, damage):
    """Interrupted, moved with its clone, or of a Python that is gone."""
    machine.start("run")
    venv = machine.clone / ".venv"
    if damage == "unfinished":
        (venv / ".ringrig-ready").unlink()
    elif damage == "moved":
        machine.clone = machine.clone.rename(machine.clone.with_name("elsewhere"))
        venv = machine.clone / ".venv"
    else:
        (venv / "bin/python").unlink()
    (venv / "left-over").touch()

    code, _, ran = machine.start("run")

    assert code == 7
    assert "-m venv" in ran
    assert not (venv / "left-over").exists()


def test_missing_packages_are_named_and_installed(machine):
    """As root through apt-get, without recommended packages."""
    (machine.bin / "bwrap").unlink()

    _, said, ran = machine.start("run", NO_VENV="1")

    wanted = "bubblewrap python3-venv"
    assert f"installing the system packages: {wanted}" in said.replace("busybox-static ", "")
    assert "apt-get install -y -q --no-install-recommends" in ran
    assert wanted in ran.replace("busybox-static ", "")


@pytest.mark.parametrize(
    ("complaint", "code", "step"),
    [
        ("Unable to fetch some archives", 14, "check the network"),
        ("You don't have enough free space", 18, "free some"),
    ],
)
def test_packages_that_cannot_be_installed_end_the_start(machine, complaint, code, step):
    """With apt's reason, the next step and the documented code."""
    (machine.bin / "bwrap").unlink()

    got, said, _ = machine.start("run", BROKEN_APT=complaint)

    assert got == code
    assert complaint in said
    assert step in said


@pytest.mark.parametrize(
    ("complaint", "code"), [("Could not find a version", 14), ("[Errno 28] No space left on device", 18)]
)
def test_python_packages_that_cannot_be_installed_end_the_start(machine, complaint, code):
    """And the next start begins again."""
    got, said, _ = machine.start("run", BROKEN_PIP=complaint)

    assert got == code
    assert complaint in said
    assert "next:" in said
    assert machine.start("run")[0] == 7


@pytest.mark.parametrize("way", ["no apt", "no root"])
def test_a_machine_where_nothing_can_be_installed_goes_on(machine, way):
    """--kernel host and ssh: need no system package; what is missing is named on each start."""
    (machine.bin / "bwrap").unlink()
    if way == "no apt":
        (machine.bin / "apt-get").unlink()
    else:
        (machine.bin / "id").unlink()
        machine.program("id", "#!/bin/sh\necho 1000\n")

    for _ in range(2):
        code, said, ran = machine.start("run")

        assert code == 7
        assert "bubblewrap" in said
        assert "going on without" in said
        assert "apt-get install" not in ran


def test_without_root_sudo_is_used(machine):
    """Without a terminal it must not ask for a password."""
    (machine.bin / "bwrap").unlink()
    (machine.bin / "id").unlink()
    machine.program("id", "#!/bin/sh\necho 1000\n")
    machine.program("sudo", '#!/bin/sh\necho "sudo $*" >>"$LOG"\n')

    _, _, ran = machine.start("run")

    assert "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install" in ran


@pytest.mark.parametrize("made", [False, True])
def test_the_doctor_changes_nothing(machine, made):
    """On a fresh machine the launcher itself says what is missing."""
    if made:
        machine.start("run")
    (machine.bin / "bwrap").unlink()
    before = sorted(machine.clone.rglob("*"))

    code, said, ran = machine.start("doctor")

    assert (code, "bubblewrap" in said) == ((7, False) if made else (14, True))
    assert "apt-get" not in ran
    assert sorted(machine.clone.rglob("*")) == before


def test_the_debian_image_brings_mmdebstrap(machine):
    """Only when it is asked for."""
    assert "mmdebstrap" not in machine.start("run")[2]
    assert "mmdebstrap" in machine.start("run", "--image", "debian")[2]
    assert "mmdebstrap" in machine.start("image", "build", "debian")[2]


@pytest.mark.parametrize("name", ["a b", "it's", "a;b", "$HOME", "a\\b", 'a"b'])
def test_a_path_that_no_guest_could_take_is_refused(machine, name):
    """The environment's path stands on a guest's kernel command line."""
    machine.clone = machine.clone.rename(machine.clone.with_name(name))

    code, said, ran = machine.start("run")

    assert code == 11
    assert "clone it to a path" in said
    assert ran == ""


@pytest.mark.parametrize("name", ["ringrig-1.0_a+b@c", "José"])
def test_an_odd_path_that_guests_can_take_is_taken(machine, name):
    """No more is refused than has to be."""
    machine.clone = machine.clone.rename(machine.clone.with_name(name))

    assert machine.start("run")[0] == 7


def test_two_first_starts_make_one_environment(machine):
    """The second waits and finds it made."""
    slow = PYTHON.replace('"-m pip "*)', '"-m pip "*) sleep 1;')
    machine.program("python", slow)
    machine.log.write_text("")
    environment = {
        "PATH": str(machine.bin),
        "LOG": str(machine.log),
        "RINGRIG_PYTHON": str(machine.bin / "python"),
    }

    starts = [
        subprocess.Popen([machine.clone / "rig", "run"], env=environment, stderr=subprocess.DEVNULL)
        for _ in "12"
    ]

    assert [start.wait(timeout=30) for start in starts] == [7, 7]
    assert machine.log.read_text().count("-m venv") == 1
