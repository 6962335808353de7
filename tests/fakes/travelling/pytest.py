"""Stands for pytest in a suite that travels: its last word says what becomes of the session."""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(next(word for word in sys.argv if word.startswith("--run-folder=")).partition("=")[2])
kernel = next(word for word in sys.argv if word.startswith("--kernel=travelled:")).partition(":")[2]
what, _, where = sys.argv[-1].partition("@")


def interrupted(*_):
    Path(where, "interrupted").touch()
    sys.exit(2)


signal.signal(signal.SIGINT, signal.SIG_IGN if what == "stubborn" else interrupted)
if where:
    with Path(where, "begun").open("a") as file:
        file.write(f"{os.getppid()}\n")
if what.startswith("wait"):
    time.sleep(float(what.removeprefix("wait")))
if what == "stubborn":
    time.sleep(30)
if what == "until":
    while not Path(where, "go").exists():
        time.sleep(0.02)
line = {"nodeid": what, "outcome": "passed", "seconds": 0.1}
(folder / "results.jsonl").write_text(json.dumps(line) + "\n")
(folder / "said.json").write_text(
    json.dumps([sys.argv[1:], str(Path.cwd()), Path(kernel, "image.json").read_text()])
)
print(f"rig: {what}")
sys.exit(1 if what == "fails" else 0)
