"""A virtme-ng that goes wrong on purpose, in the way that $FAKE_VNG names.

WAY/OTHER goes the other way under emulation. Of its arguments it reads where the sockets lie, and whether to
emulate. It ends with the process that started it, as the box does.
"""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LINES = (
    "[    0.000000] Linux version 6.12.0-test\n",
    "[    0.000000] Command line: console=ttyS0\n",
    "[    1.234567] virtme-ng-init: hello\n",
)
PANIC = (
    "[    1.500000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
    "[    1.500001] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.0-test #1\n",
    "[    1.500002] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\n",
)
USAGE = "usage: vng [-h] [--version]\nvng: error: unrecognized arguments: --rodir\n"


def say(*lines):
    """On the serial console, which is virtme-ng's standard error."""
    for line in lines:
        os.write(2, line.encode())
        time.sleep(0.01)


def listen(name):
    server = socket.socket(socket.AF_UNIX)
    os.chdir(SOCKETS)  # an address holds 108 bytes
    server.bind(name)
    server.listen(4)
    return server


def forever():
    while True:
        signal.pause()


def exits():
    sys.exit(255)


def usage():
    say(USAGE)
    sys.exit(2)


def complains():
    """As QEMU does where KVM is there and does not work."""
    say("qemu-system-x86_64: error: failed to set MSR 0x10a to 0x0\n", "Aborted\n")
    sys.exit(255)


def dies():
    say(*LINES)
    sys.exit(255)


def panics():
    say(*LINES, *PANIC)
    sys.exit(255)


def silent():
    """QEMU runs, and nothing happens in it."""
    keep = listen("ssh")
    forever()
    return keep


def stuck():
    """QEMU has not come to open its sockets."""
    say(*LINES)
    forever()


def mute():
    """The kernel runs, and no SSH server."""
    keep = listen("ssh").accept()
    say(*LINES)
    forever()
    return keep


def hangs_up():
    say(*LINES)
    server = listen("ssh")
    while True:
        server.accept()[0].close()


def garbage():
    say(*LINES)
    channel = listen("ssh").accept()[0]
    channel.sendall(b"\r\nDebian GNU/Linux 12 ttyS0\r\n\r\nlogin: \0\xff\xfe\r\n" * 200)
    forever()


def half_a_banner():
    say(*LINES)
    channel = listen("ssh").accept()[0]
    channel.sendall(b"SSH-2.0-")
    forever()


def ssh(*, key="host_key", user="user_key.pub", sessions=True, command="true"):
    """An SSH server that lets `user` in and runs `command` whatever it is asked for."""
    import paramiko

    keys = Path(os.environ["FAKE_KEYS"])
    host = paramiko.Ed25519Key.from_private_key_file(str(keys / key)) if key else paramiko.ECDSAKey.generate()

    class Server(paramiko.ServerInterface):
        def check_auth_publickey(self, username, offered):
            wanted = (keys / user).read_text().split()[1] if user else ""
            return paramiko.AUTH_SUCCESSFUL if offered.get_base64() == wanted else paramiko.AUTH_FAILED

        def get_allowed_auths(self, username):
            return "publickey"

        def check_channel_request(self, kind, channel):
            return paramiko.OPEN_SUCCEEDED if sessions else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

        def check_channel_exec_request(self, channel, _asked):
            threading.Thread(target=self.serve, args=(channel,), daemon=True).start()
            return True

        def serve(self, channel):
            time.sleep(0.05)
            done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)
            channel.close()

    say(*LINES)
    transport = paramiko.Transport(listen("ssh").accept()[0])
    transport.add_server_key(host)
    transport.start_server(server=Server())
    forever()


WAYS = {
    "exits": exits,
    "usage": usage,
    "complains": complains,
    "dies": dies,
    "panics": panics,
    "silent": silent,
    "stuck": stuck,
    "mute": mute,
    "hangs-up": hangs_up,
    "garbage": garbage,
    "half-a-banner": half_a_banner,
    "wrong-host-key": lambda: ssh(key=None),
    "refuses-the-key": lambda: ssh(user=None),
    "no-session": lambda: ssh(sessions=False),
    "no-python": lambda: ssh(command="echo 'python3: not found' >&2; exit 127"),
    "talks-nonsense": lambda: ssh(command="echo Welcome to this guest"),
    "agent-is-mute": lambda: ssh(command="sleep 1000"),
}

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    with Path(os.environ["FAKE_PIDS"]).open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    SOCKETS = Path(re.search(r"path=(\S+)/ssh,", " ".join(sys.argv))[1])
    way, _, emulated = os.environ["FAKE_VNG"].partition("/")
    WAYS[emulated if emulated and "--disable-kvm" in sys.argv else way]()
