"""User-Mode Linux guests, with a stand-in for the kernel's process: its line, its console, its end."""

import json
import sys
import time

import pytest
from fakes.machines import plan

from ringrig.errors import NoBoot
from ringrig.vm import uml
from ringrig.vm.box import Box

SPEAKS = "import os, time; os.write({line}, b'SSH-2.0-x'); print('booted', flush=True); time.sleep(1000)"
DIES = "print('Kernel panic - not syncing: no root', flush=True)"
IS_SILENT = "import time; print('hello', flush=True); time.sleep(1000)"


@pytest.fixture
def boot(monkeypatch, tmp_path):
    """boot(script): a guest whose process is Python with that script; `{line}` in it is its end of the line."""
    guests = []

    def boot(script, **facts):
        def argv(box, command, *, scratch):
            line = next(word for word in command if word.startswith("ssl0=fd:")).removeprefix("ssl0=fd:")
            return [sys.executable, "-c", script.replace("{line}", line), *command]

        monkeypatch.setattr(Box, "argv", argv)
        here = plan(kind="image", guest="uml", path="/linux", scratch=str(tmp_path), **facts)
        guests.append(uml.start(here, name=f"guest-{len(guests)}", folder=tmp_path))
        return guests[-1]

    yield boot
    for guest in guests:
        guest.end()


def test_the_stream_begins_with_the_servers_first_word(boot):
    """Nothing of it is read away; what the kernel prints is in the console's file."""
    guest = boot(SPEAKS)

    stream = guest.stream()

    assert stream.recv(100) == b"SSH-2.0-x"
    until(lambda: guest.console.read_text() == "booted\n")
    assert guest.alive()


def test_a_kernel_that_dies_has_its_last_words_in_the_message(boot):
    """NoBoot, at once."""
    with pytest.raises(NoBoot, match="no root"):
        boot(DIES).stream()


def test_a_kernel_that_stays_silent_is_ended(boot, monkeypatch):
    """NoBoot after the limit, and nothing of it is left."""
    monkeypatch.setattr(uml, "BOOT_SECONDS", 0.3)
    guest = boot(IS_SILENT)

    with pytest.raises(NoBoot, match=r"did not answer in time(.|\n)*hello"):
        guest.stream()
    assert not guest.alive()
    assert guest.process.returncode is not None


def test_the_end_is_the_end(boot):
    """A second one does nothing, nor does a dump after it."""
    guest = boot(SPEAKS)

    guest.end()
    guest.end()
    guest.dump()

    assert not guest.alive()


def test_what_it_was_started_with_is_kept(boot, tmp_path):
    """The run folder gets the command line, and what reports print of a guest."""
    guest = boot(SPEAKS, memory="512M", cpus=2)

    facts = json.loads((tmp_path / "guest.json").read_text())

    assert facts == guest.facts
    assert (facts["guest"], facts["accel"], facts["memory"]) == ("uml", "native", "512M")
    assert {"mem=512M", "ncpus=2", "ro", "rootfstype=hostfs"} <= set(facts["command"])


def test_a_newer_library_is_for_the_kernel_only(boot):
    """Not for the programs that start it, which are this machine's."""
    command = boot(SPEAKS, libs="/libs").facts["command"]

    assert command[command.index("LD_LIBRARY_PATH=/ringrig/libs") + 1] == "/ringrig/kernel/linux"


def test_neighbours_get_different_processors(monkeypatch):
    """Two workers' guests, and a worker's next one, which boots while this one works."""
    monkeypatch.setattr(uml.os, "sched_getaffinity", lambda _: {0, 2})

    assert {uml._processor("gw0-1"), uml._processor("gw1-1")} == {0, 2}
    assert {uml._processor("guest-7"), uml._processor("guest-8")} == {0, 2}


def until(condition):
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)
