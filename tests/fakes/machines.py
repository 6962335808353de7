"""Machines without a kernel: what each case does is written down, and the clock is the test's."""

import json

from ringrig.guest.wire import Closed
from ringrig.vm.plan import Plan

WARNING = (
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: {pid} at io_uring/kbuf.c:300 {function}+0x1/0x2",
    "CPU: 0 UID: 0 PID: {pid} Comm: {comm} Not tainted 6.12.0 #1",
    "Call Trace:",
    " <TASK>",
    " {function}+0x1/0x2",
    " </TASK>",
    "---[ end trace 0000000000000000 ]---",
)
PANIC = (
    "Kernel panic - not syncing: {function} gave up",
    "CPU: 0 UID: 0 PID: {pid} Comm: {comm} Not tainted 6.12.0 #1",
    "---[ end Kernel panic - not syncing: {function} gave up ]---",
)


def plan(**facts):
    usual = {
        "kind": "image",
        "spec": "debian:6.12",
        "label": "debian:6.12 (test)",
        "release": "6.12.117+deb12-amd64",
        "folder": "/nonexistent",
        "scratch": "/nonexistent",
        "suite": "",
        "tops": ("suites",),
        "pack": "",
    }
    return Plan(**(usual | facts))


class World:
    """Time, and what happens.

    `does[nodeid]`, called with (machine, number), returns the agent's answer (or several), or None
    for silence; a number among several is a pause in seconds.
    `boots` holds what each start brings: an exception or None; beyond its end all is well.
    """

    def __init__(self, *, taint=0):
        self.now = 100.0
        self.does = {}
        self.boots = []
        self.machines = []
        self.ran = []
        self.dumped = []
        self.taint = taint

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def start(self, plan, *, name, say):
        machine = FakeMachine(self, plan, name)
        self.machines.append(machine)
        machine.trouble = self.boots.pop(0) if self.boots else None
        return machine

    def ended(self):
        return [machine.name for machine in self.machines if machine.over]

    def done(self, number, *, seconds=0.01, **facts):
        """The agent's answer for a case that takes so long."""
        began = self.now
        self.now += seconds
        usual = {
            "op": "done",
            "id": number,
            "pid": 1000 + number,
            "began": began,
            "ended": self.now,
            "status": 0,
            "reaped": True,
            "reports": [],
            "stacks": "",
            "stuck": "",
            "log": [],
            "taint": self.taint,
            "pins_left": 0,
            "blind": {},
        }
        return usual | facts

    def log(self, lines=WARNING, *, at=None, comm="kworker/0:1", pid=9, function="io_kbuf_commit"):
        """Records of /dev/kmsg with that complaint, stamped `at` or now."""
        usec = int((self.now if at is None else at) * 1e6)
        text = [line.format(comm=comm, pid=pid, function=function) for line in lines]
        return [f"4,{usec + n},{usec + n},-;{line}" for n, line in enumerate(text)]

    def console(self, lines=PANIC, **facts):
        """The same as a console shows it."""
        out = []
        for record in self.log(lines, **facts):
            head, text = record.split(";", 1)
            usec = int(head.split(",")[2])
            out.append(f"[{usec // 1_000_000:5}.{usec % 1_000_000:06}] {text}\n")
        return "".join(out)


class FakeGuest:
    def __init__(self, machine):
        self.machine = machine

    def dump(self):
        self.machine.world.dumped.append(self.machine.name)
        self.machine.said += "[  100.000000] sysrq: Show Blocked State\n"


class FakeLink:
    def __init__(self, machine):
        self.machine, self.answers = machine, []

    def send(self, message):
        world, machine = self.machine.world, self.machine
        if machine.dead:
            raise Closed
        if message["op"] == "settle":
            world.now += message["seconds"]
            self.answers.append(
                {
                    "op": "settled",
                    "log": machine.settles.pop(0) if machine.settles else [],
                    "taint": world.taint,
                }
            )
        elif message["op"] == "abort":
            if machine.aborts is not None:
                self.answers.append(machine.aborts(message["id"]))
        else:
            world.ran.append((machine.name, message["nodeids"][0]))
            answer = world.does.get(message["nodeids"][0], lambda _, number: world.done(number))(
                machine, message["id"]
            )
            self.answers += answer if isinstance(answer, list) else [answer] if answer else []

    def receive(self, seconds=None):
        if self.machine.dead:
            raise Closed
        if self.answers and not isinstance(self.answers[0], dict):
            self.machine.world.now += self.answers.pop(0)
            return None
        if self.answers:
            return self.answers.pop(0)
        self.machine.world.now += seconds
        return None

    def complaints(self):
        return ""

    def close(self):
        pass


class FakeMachine:
    def __init__(self, world, plan, name):
        self.world, self.plan, self.name = world, plan, name
        self.guest = FakeGuest(self) if plan.kind == "image" else None
        self.slowness = 1.0
        self.link = None
        self.transport = None
        self.ready = {"op": "ready", "taint": world.taint, "blind": {}, "release": plan.release}
        self.said = ""
        self.dead = self.over = False
        self.settles = []
        self.aborts = None
        self.trouble = None

    def dies(self, console):
        """For a case: the guest ends with these words."""
        self.said += console
        self.dead = True

    def agent(self, *, facts, options):
        json.dumps(facts)
        if self.trouble is not None:
            raise self.trouble
        self.link = FakeLink(self)
        return self.link

    def alive(self):
        return not self.dead

    def printed(self):
        return len(self.said)

    def console(self, since=0):
        return self.said[since:]

    def await_death(self):
        pass

    def end(self):
        self.over = True
