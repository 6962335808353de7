"""A headless Chromium for many pages, driven through two pipes by its DevTools protocol; no package is needed for that."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
_PATIENCE = 40
_COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}


class Browser:
    """`complaints`: what the page that is open has brought on the console. A context manager; the browser ends with it."""

    def __init__(self, profile):
        self._profile, self._session, self._number, self._rest = profile, {}, 0, b""
        self.complaints = []

    def __enter__(self):
        theirs, self._to = _high(os.pipe())
        self._from, others = _high(os.pipe())

        def prepare():
            os.dup2(theirs, 3)  # where Chromium looks for them
            os.dup2(others, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *_OPTIONS, f"--user-data-dir={self._profile}", "about:blank"],
            preexec_fn=prepare,  # noqa: PLW1509 -- there are no threads here
            pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.close(others)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self._session = {}
        try:
            self.call("Browser.close")
            self._process.wait(10)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, 9)
                self._process.wait()
            os.close(self._to)
            os.close(self._from)

    def call(self, method, **parameters):
        """A command of the protocol, and what it answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._read(lambda one: one.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path, *, width=1200, scheme="light"):
        """A file, so wide and in that scheme, loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.complaints.clear()
        self.call("Page.navigate", url=f"file://{path}")
        self._read(lambda one: one.get("method") == "Page.loadEventFired")

    def run(self, script):
        """What an async function with this body returns in the page."""
        told = self.call(
            "Runtime.evaluate",
            expression=f"(async () => {{ {script} }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _read(self, wanted):
        """The next message that is wanted; of the others complaints are kept. TimeoutError: none comes."""
        end = time.monotonic() + _PATIENCE
        while True:
            whole, found, rest = self._rest.partition(b"\0")
            if found:
                self._rest, message = rest, json.loads(whole)
                if message.get("method") in _COMPLAINTS:
                    self.complaints.append(message)
                if wanted(message):
                    return message
                continue
            if not select.select([self._from], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium says nothing")
            data = os.read(self._from, 1 << 20)
            assert data, "Chromium has ended"
            self._rest += data


def _high(pipe):
    """The ends of a pipe, out of the way of 3 and 4."""
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipe]
    for end in pipe:
        os.close(end)
    return ends
