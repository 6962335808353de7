"""How host and agent reach each other: pipes to a local process, or a channel of an SSH connection; the same messages on both."""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringrig.errors import GuestLost
from ringrig.guest.wire import Message, Wire

# A guest that dies is this rig's own business, told in its own words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# What paramiko raises on a connection that is gone.
_BROKEN = (OSError, EOFError, paramiko.SSHException)


class Link(Protocol):
    """Messages to and from an agent. Closed: it is gone."""

    def send(self, message: Message) -> None: ...

    def receive(self, seconds: float | None = None) -> Message | None: ...

    def complaints(self) -> str:
        """What the agent wrote on its standard error."""
        ...

    def close(self) -> None: ...


class LocalLink:
    """An agent that is a child of this process, on the running kernel."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(env), cwd=cwd
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._wire = Wire(self._process.stdout.fileno(), self._process.stdin.fileno())

    def send(self, message: Message) -> None:
        self._wire.send(message)

    def receive(self, seconds: float | None = None) -> Message | None:
        return self._wire.receive(seconds)

    def complaints(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=5)  # at the end of its input an agent kills its case and leaves
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class SshLink:
    """An agent behind one channel of an SSH connection."""

    def __init__(self, transport: paramiko.Transport, command: str, *, log: Path) -> None:
        """GuestLost: the connection gives no session."""
        self._log = log
        try:
            self._channel = transport.open_session(timeout=60)
            self._channel.exec_command(command)
        except _BROKEN as error:
            raise GuestLost(
                f"The SSH server gives no session: {str(error).rstrip('.')}.",
                next_step="read the guest's console in the run folder; on a board, its sshd's log",
            ) from error
        # select() on a channel is a pipe that paramiko fills; a socket pair lets Wire work on plain descriptors.
        self._ours, theirs = socket.socketpair()
        self._wire = Wire(self._ours.fileno(), self._ours.fileno())
        for pump in (self._inwards, self._outwards, self._errors):
            threading.Thread(target=pump, args=(theirs,), daemon=True).start()

    def _inwards(self, pair: socket.socket) -> None:
        try:
            while data := self._channel.recv(1 << 16):
                pair.sendall(data)
        except _BROKEN:
            pass
        finally:
            with contextlib.suppress(OSError):
                pair.shutdown(socket.SHUT_RDWR)  # a mere close would not wake who reads from the other thread

    def _outwards(self, pair: socket.socket) -> None:
        try:
            while data := pair.recv(1 << 16):
                self._channel.sendall(data)
        except _BROKEN:
            pass
        finally:
            self._end_channel()

    def _errors(self, _: socket.socket) -> None:
        with self._log.open("wb", buffering=0) as out:
            try:
                while data := self._channel.recv_stderr(1 << 14):
                    out.write(data)
            except _BROKEN:
                pass

    def send(self, message: Message) -> None:
        self._wire.send(message)

    def receive(self, seconds: float | None = None) -> Message | None:
        return self._wire.receive(seconds)

    def complaints(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        self._ours.close()
        self._end_channel()

    def _end_channel(self) -> None:
        with contextlib.suppress(*_BROKEN):
            self._channel.close()


class Keys:
    """A key pair for each side of one run, made for it and gone with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> Keys:
        folder.mkdir(parents=True)
        for side in ("host", "user"):
            key = Ed25519PrivateKey.generate()
            private = folder / f"{side}_key"
            private.touch(mode=0o600)
            private.write_bytes(_private(key))
            (folder / f"{side}_key.pub").write_bytes(_public(key) + b"\n")
        return cls(folder)

    def connect(self, stream: socket.socket, *, seconds: float) -> paramiko.Transport:
        """An authenticated SSH connection to a guest that has these keys. GuestLost: it is not to be had."""
        transport = paramiko.Transport(stream)
        transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = seconds
        try:
            transport.start_client(timeout=seconds)
            expected = (self.folder / "host_key.pub").read_text().split()[1]
            if transport.get_remote_server_key().get_base64() != expected:
                raise paramiko.SSHException("the host key is not the one this run made")
            # QEMU 7.2 now and then sits on bytes for the guest's port until more of them come (once in some
            # thousand cases under TCG): a word each second of silence is more.
            transport.set_keepalive(1)
            transport.auth_publickey(
                "root", paramiko.Ed25519Key.from_private_key_file(str(self.folder / "user_key"))
            )
        except _BROKEN as error:
            transport.close()
            raise GuestLost(
                f"The guest's SSH server answers, and no session comes about: {error}.",
                next_step="read the guest's console in the run folder; its last lines are sshd's own complaints",
            ) from error
        return transport


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def run(
    transport: paramiko.Transport, command: Sequence[str], *, data: bytes = b"", seconds: float = 60
) -> tuple[int, str]:
    """A command's exit status and output (both streams). GuestLost: no answer within `seconds`."""
    channel = None
    try:
        channel = transport.open_session(timeout=seconds)
        channel.settimeout(seconds)
        channel.set_combine_stderr(True)
        channel.exec_command(shlex.join(command))
        channel.sendall(data)
        channel.shutdown_write()
        out = b"".join(iter(lambda: channel.recv(1 << 16), b""))
        return channel.recv_exit_status(), out.decode(errors="replace")
    except _BROKEN as error:
        why = str(error).rstrip(".") or f"not within {seconds:.0f} s"
        raise GuestLost(
            f"No answer to {command[0]}: {why}.",
            next_step="read the guest's console; on a board, its sshd's log",
        ) from error
    finally:
        if channel is not None:
            channel.close()
