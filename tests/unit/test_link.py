"""The wire between host and agent, and the SSH connection under it."""

import secrets
import socket
import stat
import threading
import time
from pathlib import Path

import paramiko
import pytest

from ringrig.errors import GuestLost
from ringrig.guest.wire import Closed, Wire
from ringrig.vm import link
from ringrig.vm.link import Keys, SshLink


@pytest.fixture
def pair():
    """Two ends of a wire; closing one is a hang-up."""
    one, other = socket.socketpair()
    with one, other:
        yield Wire(one.fileno(), one.fileno()), other


def test_messages_arrive_whole_and_in_order(pair):
    """However they were cut on their way."""
    wire, other = pair
    data = b'{"op": "a", "text": "\\u00e9\\n"}\n{"op": "b"}\n'
    for at in range(len(data)):
        other.sendall(data[at : at + 1])

    assert wire.receive() == {"op": "a", "text": "é\n"}
    assert wire.pending()
    assert wire.receive(0) == {"op": "b"}
    assert not wire.pending()


def test_no_message_within_the_limit_is_none(pair):
    """Half a message is none either, and is not lost."""
    wire, other = pair
    other.sendall(b'{"op": ')
    began = time.monotonic()

    assert wire.receive(0.05) is None
    assert time.monotonic() - began < 1

    other.sendall(b'"a"}\n')

    assert wire.receive(1) == {"op": "a"}


def test_a_hang_up_is_closed(pair):
    """In the middle of a message, too."""
    wire, other = pair
    other.sendall(b'{"op": ')
    other.close()

    with pytest.raises(Closed):
        wire.receive(1)
    with pytest.raises(Closed):
        wire.send({"op": "x" * 1_000_000})


@pytest.mark.parametrize("line", [b"login:", b"3", b'"text"', b"[]", b"null", b"", b"\xff\xfe"])
def test_other_words_are_no_agents(pair, line):
    """A login banner, for one: the message shows it."""
    wire, other = pair
    other.sendall(line + b"\n")

    with pytest.raises(Closed, match="no words of an agent"):
        wire.receive(1)


def test_long_messages_pass(pair):
    """Longer than a socket's buffer, packed too."""
    wire, other = pair
    reader = Wire(other.fileno(), other.fileno())
    text = secrets.token_hex(2_000_000)
    thread = threading.Thread(target=wire.send, args=({"text": text},))
    thread.start()

    assert reader.receive(20) == {"text": text}
    thread.join()


@pytest.mark.parametrize("packed", ["3", '"no base64!"', '"QUJD"', '"eJyrVspPLgEACFQCcw=="'])
def test_a_damaged_pack_is_no_agents(pair, packed):
    """What cannot be unpacked to a message."""
    wire, other = pair
    other.sendall(b'{"packed": %s}\n' % packed.encode())

    with pytest.raises(Closed, match="no words of an agent"):
        wire.receive(1)


def test_keys_are_made_for_one_run(tmp_path):
    """Two pairs, the private halves closed to others, in OpenSSH's format."""
    keys = Keys.make(tmp_path / "keys")

    for side in ("host", "user"):
        private = keys.folder / f"{side}_key"
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        public = paramiko.Ed25519Key.from_private_key_file(str(private)).get_base64()
        assert (keys.folder / f"{side}_key.pub").read_text().split()[1] == public
    with pytest.raises(FileExistsError):
        Keys.make(tmp_path / "keys")


class Server(paramiko.ServerInterface):
    """Takes everybody, and gives each command to `serve`."""

    def __init__(self, serve):
        self._serve = serve

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username):
        return "publickey"

    def check_channel_request(self, kind, channel):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self._serve, args=(channel, command), daemon=True).start()
        return True


@pytest.fixture
def guest(tmp_path):
    """guest(serve): a connected transport to a server that runs serve(channel, command)."""
    keys = Keys.make(tmp_path / "keys")
    kept = []

    def connect(serve):
        ours, theirs = socket.socketpair()
        server = paramiko.Transport(theirs)
        server.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(keys.folder / "host_key")))
        server.start_server(server=Server(serve), event=threading.Event())
        kept.append(server)
        kept.append(keys.connect(ours, seconds=20))
        return kept[-1]

    yield connect
    for transport in reversed(kept):
        transport.close()


def echo(channel, _command):
    while data := channel.recv(1 << 14):
        channel.sendall(data)
    channel.close()


def test_a_link_over_ssh_carries_messages_both_ways(guest, tmp_path):
    """Long ones, too; what the agent complains of goes to its log."""

    def serve(channel, command):
        channel.sendall_stderr(b"a complaint")
        echo(channel, command)

    link = SshLink(guest(serve), "agent", log=tmp_path / "agent.log")

    for size in (10, 300_000):
        link.send({"op": "x" * size})
        assert link.receive(20) == {"op": "x" * size}
    assert link.receive(0.01) is None
    assert "a complaint" in link.complaints()
    link.close()


def test_an_agent_that_ends_closes_its_link(guest, tmp_path):
    """At once, though the connection lives."""

    def serve(channel, _command):
        time.sleep(0.1)  # after the server has said that the command runs
        channel.close()

    link = SshLink(guest(serve), "agent", log=tmp_path / "agent.log")

    with pytest.raises(Closed):
        link.receive(10)


def test_a_connection_that_breaks_closes_its_links(guest, tmp_path):
    """A guest that dies."""
    transport = guest(echo)
    link = SshLink(transport, "agent", log=tmp_path / "agent.log")
    link.send({"op": "a"})
    assert link.receive(10) == {"op": "a"}

    transport.sock.shutdown(socket.SHUT_RDWR)

    with pytest.raises(Closed):
        link.receive(10)
    with pytest.raises(GuestLost, match="gives no session"):
        SshLink(transport, "agent", log=tmp_path / "agent.log")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_closing_after_the_connection_is_no_trouble(guest, tmp_path):
    """Neither here nor in the threads that carry the bytes."""
    transport = guest(echo)
    links = [SshLink(transport, "agent", log=tmp_path / f"{n}.log") for n in range(8)]
    transport.packetizer.close()

    for one in links:
        one.close()

    limit = time.monotonic() + 5
    while any("wards" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_closing_ends_the_agents_input(guest, tmp_path):
    """That is how an agent learns that its host is gone."""
    ended = threading.Event()

    def serve(channel, _command):
        while channel.recv(1 << 14):
            pass
        ended.set()

    link = SshLink(guest(serve), "agent", log=tmp_path / "agent.log")

    link.close()

    assert ended.wait(10)


def test_a_command_gives_its_status_and_output(guest):
    """Both streams; its words arrive as words, whatever they hold."""
    seen = []

    def serve(channel, command):
        seen.append(command)
        channel.recv(100)
        channel.sendall(b"out ")
        channel.sendall_stderr(b"err")
        channel.send_exit_status(3)
        channel.close()

    status, out = link.run(guest(serve), ["echo", "a b", "$(reboot)", "'"], data=b"in")

    assert (status, sorted(out.split())) == (3, ["err", "out"])
    assert seen == [b"""echo 'a b' '$(reboot)' ''"'"''"""]


def test_a_command_without_an_answer_has_a_limit(guest):
    """GuestLost, with the command's name."""
    with pytest.raises(GuestLost, match="No answer to uname"):
        link.run(guest(lambda channel, _: time.sleep(30)), ["uname"], seconds=0.2)


def test_a_command_on_a_dead_connection_is_lost(guest):
    """No traceback of paramiko's."""
    transport = guest(echo)
    transport.close()

    with pytest.raises(GuestLost, match="No answer to uname"):
        link.run(transport, ["uname"])


def test_no_descriptors_are_left(guest, tmp_path):
    """A worker replaces many guests."""
    transport = guest(echo)

    def once():
        one = SshLink(transport, "agent", log=tmp_path / "agent.log")
        one.send({"op": "a"})
        assert one.receive(10) == {"op": "a"}
        one.close()

    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    once()
    before = descriptors()
    for _ in range(10):
        once()
    limit = time.monotonic() + 5
    while descriptors() > before + 1 and time.monotonic() < limit:
        time.sleep(0.05)

    assert descriptors() <= before + 1
