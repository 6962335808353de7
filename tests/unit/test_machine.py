"""A machine is used only if the kernel that was meant runs on it, and has io_uring."""

import pytest
from fakes.machines import plan
from kernel_images import BUILD_ID, note

from ringrig.errors import GuestLacks, GuestLost, WrongKernel
from ringrig.guest.wire import Closed
from ringrig.vm import machine as machines
from ringrig.vm.machine import Machine

NOTES = (note(b"Linux\0", 0x101, b"\0\0\0\0") + note(b"GNU\0", 3, BUILD_ID)).hex()


class PaperLink:
    """Answers the greeting with these messages; then it is gone if `closes`, else silent."""

    def __init__(self, *messages, said="", closes=False):
        self.messages, self.said, self.closes, self.heard = list(messages), said, closes, []

    def send(self, message):
        self.heard.append(message)

    def receive(self, seconds=None):
        if self.messages:
            return self.messages.pop(0)
        if self.closes:
            raise Closed("end of stream")
        return None

    def complaints(self):
        return self.said

    def close(self):
        pass


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(link, …): one whose agent speaks over that link."""
    monkeypatch.setattr(machines, "AGENT_SECONDS", 0.2)

    def make(link, **facts):
        one = Machine(
            plan=plan(folder=str(tmp_path), **facts), name="g", folder=tmp_path, guest=None, slowness=1.0
        )
        monkeypatch.setattr(Machine, "_start", lambda self: (link, "/suite"))
        return one

    return make


def ready(**facts):
    usual = {
        "op": "ready",
        "release": "6.12.117",
        "version": "#1",
        "python": "3.11.2",
        "notes": NOTES,
        "io_uring": "",
        "taint": 0,
        "blind": {},
        "pid": 2,
    }
    return usual | facts


def greeted(machine):
    return machine.agent(facts={"kernel": "debian:6.12"}, options=["-l"])


def test_the_kernel_that_was_meant(machine):
    """Its build-id is the image's, and is recorded."""
    link = PaperLink(ready())
    one = machine(link, build_id=BUILD_ID.hex())

    assert greeted(one) is link
    assert one.ready["running_build_id"] == BUILD_ID.hex()


def test_the_agent_is_told_what_it_needs(machine):
    """Where the suite lies, how slow the guest is, whose kernel it is; the cases' facts say the latter, too."""
    link = PaperLink(ready())

    greeted(machine(link))

    (hello,) = link.heard
    assert (hello["op"], hello["suite"], hello["ini"]) == ("hello", "/suite", "/suite/pytest.ini")
    assert (hello["slowness"], hello["shared"], hello["options"]) == (1.0, False, ["-l"])
    assert hello["facts"] == {"kernel": "debian:6.12", "shared": False}


@pytest.mark.parametrize("notes", [None, "", NOTES[:-2] + "ff"], ids=["unreadable", "empty", "another"])
def test_another_kernel_is_not_judged(machine, notes):
    """An image with a build-id, and a kernel that shows another one or none."""
    with pytest.raises(WrongKernel, match=BUILD_ID.hex()):
        greeted(machine(PaperLink(ready(notes=notes)), build_id=BUILD_ID.hex()))


def test_an_image_without_build_id_cannot_be_compared(machine):
    """The header says so; what runs is recorded all the same."""
    one = machine(PaperLink(ready()), build_id=None)

    greeted(one)

    assert one.ready["running_build_id"] == BUILD_ID.hex()


@pytest.mark.parametrize(
    "why", ["Function not implemented", "Operation not permitted, kernel.io_uring_disabled=2"]
)
def test_a_kernel_without_io_uring(machine, why):
    """The reason, and what to change."""
    with pytest.raises(GuestLacks, match="io_uring_setup") as caught:
        greeted(machine(PaperLink(ready(io_uring=why))))

    assert why in str(caught.value)
    assert "CONFIG_IO_URING=y" in caught.value.next_step


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (PaperLink({"op": "failed", "why": "ImportError: no ctypes"}), "no ctypes"),
        (PaperLink(said="python3: not found", closes=True), "python3: not found"),
        (PaperLink(closes=True), "end of stream"),
        (PaperLink(), "not a word"),
    ],
    ids=["failed", "complains", "ends", "silent"],
)
def test_an_agent_that_does_not_get_ready(machine, link, words):
    """With its own reason as far as there is one."""
    with pytest.raises(GuestLost, match=words):
        greeted(machine(link))
