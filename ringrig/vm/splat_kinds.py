"""What the kernel's complaints look like: tables, and nothing that remembers a line.

Formats as printed by 6.1, 6.12 and 7.3; the function that prints each stands in docs/splats.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Kind and first line of its report: the first pattern that matches at the start of a line wins.
_HEADLINES: Final[tuple[tuple[str, str], ...]] = (
    ("panic", r"Kernel panic - not syncing"),
    ("kasan", r"BUG: KASAN: "),
    ("kcsan", r"BUG: KCSAN: "),
    ("kfence", r"BUG: KFENCE: "),
    ("ubsan", r"UBSAN: "),
    (
        "lockdep",
        r"(?:\[ )?(?:WARNING|BUG|INFO): (?:possible (?:circular|recursive|irq lock inversion)"
        r"|\S+-safe -> \S+-unsafe lock|inconsistent lock state|chain_key collision|Nested lock was not taken"
        r"|bad unlock balance|bad contention|held lock freed|lock held (?:at|when)"
        r"|.{1,30} still has locks held|suspicious RCU usage|Invalid wait context"
        r"|trying to register non-static key|MAX_\w+ too low)",
    ),
    ("hung-task", r"INFO: task .{1,40}:\d+ blocked.{0,40} for more than \d+ seconds"),
    ("rcu-stall", r"(?:rcu: )?INFO: [\w-]+ (?:self-)?detected (?:expedited )?stalls?\b"),
    ("soft-lockup", r"(?:watchdog: )?BUG: soft lockup - CPU#"),
    ("hard-lockup", r"(?:(?:NMI )?watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP on cpu"),
    ("workqueue-lockup", r"BUG: workqueue lockup - pool"),
    (
        "atomic-sleep",
        r"BUG: (?:sleeping function called from invalid context|scheduling while atomic"
        r"|scheduling in a non-blocking section|assuming (?:atomic|non migratable) context"
        r"|using \w+\(\) in preemptible)",
    ),
    ("bad-page", r"BUG: (?:Bad page |Bad rss-counter |non-zero pgtables_bytes )"),
    ("slab", r"BUG .{1,80} \((?:Not t|T)ainted.*?\): "),
    ("list-corruption", r"list_(?:add|del) (?:corruption|double add)"),
    ("refcount", r"refcount_t: "),
    ("odebug", r"ODEBUG: .*(?: object type: |NOT annotated|but annotated)"),
    ("kmemleak", r"(?:kmemleak: )?unreferenced object 0x|kmemleak: \d+ new suspected memory leaks"),
    ("ref-tracker", r"ref_tracker: (?:.*\bhas \d+/\d+ users at|reference already released)"),
    (
        "oops",
        r"BUG: (?:kernel NULL pointer dereference|unable to handle |\S+ stack guard page was hit)"
        r"|(?:traps: )?PANIC: double fault|Unable to handle kernel |Oops[: ]",
    ),
    ("usercopy", r"usercopy: Kernel memory (?:exposure|overwrite) attempt"),
    ("bug", r"[Kk]ernel BUG at "),
    ("warning", r"WARNING: (?:CPU: \d+ PID: \d+ )?at |WARNING: \S+:\d+ at "),
    ("bug", r"BUG: "),
    ("warning", r"WARNING: "),
)
_VAGUE: Final = len(_HEADLINES) - 2
_HEADLINE = re.compile("|".join(f"(?P<h{at}>{pattern})" for at, (_, pattern) in enumerate(_HEADLINES)))
_TRAP = re.compile(r"[Kk]ernel BUG at |WARNING: (?:CPU: \d+ PID: \d+ |\S+:\d+ )?at ")
# __die_header(): "Oops: 0002 [#1]", "general protection fault, …: 0000 [#1]"; the number counts from boot.
_DIE = re.compile(r".{1,200}?: [0-9a-f]{4,16} \[#(\d+)\]")
# The unwinder's own remarks stand inside a report; the mitigations' are about the machine.
_NO_HEADLINE = re.compile(r"WARNING: (?:stack |kernel stack |unrecognized |can't (?:access|dereference) )")

KINDS: Final = (*dict.fromkeys(kind for kind, _ in _HEADLINES), "cut-short")

CUT_HERE = re.compile(r"-{6,}\[ cut here \]-{6,}")
RULER = re.compile(r"={20,}$")
END_TRACE = re.compile(r"---\[ end trace\b")
TRACE = re.compile(r"(?:Call [Tt]race:|stack backtrace:)")
# Said just before the headline, and part of the report.
PRELUDE = re.compile(
    r"={20,}$|kernel tried to execute NX|unable to execute userspace code|sysrq: Trigger a crash"
    r"|Uhhuh\. NMI received"
)
BOOT = re.compile(r"Linux version \d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a report of one kind ends.

    `end` closes it, after which only lines matching `tail` belong to it. Without `end` it closes after
    `after_trace` alien lines behind its call trace. `patience` alien lines are borne before that.
    """

    end: re.Pattern[str] | None = None
    tail: re.Pattern[str] | None = None
    patience: int = 40
    after_trace: int = 2


_REGISTERS = re.compile(
    r"RIP: |Code: |RSP: |[CEDFGS][SR]\w?: |R[0-9A-DSB][0-9PIX]: |DR\d: |PKRU: |CR\d: |note: .* exited with "
    r"|Fixing recursive fault|Disabling lock debugging"
)
_UNLOCKED = re.compile(r"Disabling lock debugging")
_MARKED = Shape(end=END_TRACE, tail=_REGISTERS, patience=100)
_RULED = Shape(end=RULER, tail=_UNLOCKED, patience=200)
_LOOSE = Shape()
_TRAPS = ("warning", "bug", "oops", "list-corruption", "refcount", "odebug", "usercopy", "cut-short")
SHAPES: Final[dict[str, Shape]] = {
    **dict.fromkeys(_TRAPS, _MARKED),
    **dict.fromkeys(("kasan", "kcsan", "kfence"), _RULED),
    "ubsan": Shape(end=re.compile(r"={20,}$|---\[ end trace\b"), tail=_UNLOCKED, patience=40),
    "lockdep": Shape(patience=250),
    "rcu-stall": Shape(patience=6, after_trace=6),
}


def shape(kind: str) -> Shape:
    """How a report of this kind ends."""
    return SHAPES.get(kind, _LOOSE)


# Reports whose message comes before the WARN() or BUG() of the same event, and those that go on to die().
AWAITS_TRAP = frozenset({"refcount", "odebug", "list-corruption", "slab", "usercopy", "cut-short"})
AWAITS_DIE = frozenset({"oops", "bug", "list-corruption", "usercopy", "ubsan", "cut-short"})

_DEADLY = AWAITS_DIE
# Reason of a panic that only concludes a report, and the kinds it concludes; None: any.
PANIC_CONCLUDES: Final[tuple[tuple[re.Pattern[str], frozenset[str] | None], ...]] = (
    (re.compile(r".*panic_on_(?:warn|taint) set|.*system warned too often|.*\.fault=panic"), None),
    (re.compile(r".*(?:Fatal exception|Aiee, killing|stack guard hit|Machine halted)"), _DEADLY),
    (re.compile(r".*Attempted to kill (?:init|the idle task)"), _DEADLY),
    (re.compile(r".*softlockup: hung tasks"), frozenset({"soft-lockup"})),
    (re.compile(r".*hung_task: blocked tasks"), frozenset({"hung-task"})),
    (re.compile(r".*Hard LOCKUP"), frozenset({"hard-lockup"})),
    (re.compile(r".*RCU Stall"), frozenset({"rcu-stall"})),
)

_BODY = (
    # stacks and registers
    r"\s*$|\s+(?:\[<[0-9a-f]+>\] )?\??\s*[\w.$]+\+0x[0-9a-f]+/0x|\s*</?[A-Z-]+>|Call [Tt]race:",
    r"stack backtrace:|CPU: \d|Hardware name: |Tainted: |Workqueue: |Stopper: |Modules linked in:",
    r"Unloaded tainted|\[last unloaded|RIP: |Code: |RSP: |R[0-9A-DSB][0-9PIX]: |[CDEFGS][SR]\w?: |DR\d: ",
    r"PKRU: |ORIG_RAX|Stack:|pc : |lr : |sp : |x\d+ *: |#PF: |PGD |Oops|KASAN: |irq event stamp",
    r"(?:hard|soft)irqs last |Preemption disabled|preempt_count",
    r"note: .* exited with |Kernel Offset|Kernel panic|Rebooting in|Sending NMI|NMI backtrace|CPU#\d+ |task:",
    # tasks and locks
    r"\s+(?:Not t|T)ainted|\"echo 0 > |INFO: lockdep is turned off|INFO: task .* (?:is )?blocked on ",
    r"Showing (?:all locks|busy)|Future hung task|in_atomic\(\)|no locks held by|\d+ locks? held by| #\d+: ",
    r"other info|the code is free of|turning off the locking|you didn't initialize|rcu:|\t|\s+\(",
    r"watchdog: ",
    # memory
    r"page:|raw:|flags: |page_type|head: |page dumped because|addr:|file:|Object|Redzone|Padding|Bytes b4",
    r"FIX |Slab 0x|(?:Allocated|Freed) |The buggy address|Memory state|[ >]ffff[0-9a-f]+: |-{20,}|kmemleak: ",
    r"\s+comm \"|\s+hex dump|\s+backtrace|\s+[0-9a-f]{2} [0-9a-f]{2} |ref_tracker: ",
)
# A line that by itself is known for a part of some report.
BODY = re.compile("|".join(_BODY))

_MACHINERY = (
    # reporting
    r"dump_stack\w*|__dump_stack|show_(?:stack|regs)\w*|__?warn\w*|_*report_bug\w*|handle_bug|print_\w+|v?panic",
    r"trigger_\w+|dump_cpu_task|sched_show_task|check_panic_on_warn|stack_trace_save|save_stack\w*|arch_stack_walk",
    # traps
    r"_*(?:exc|asm|sysvec)_\w+|__?die\w*|oops_\w+|page_fault_oops|do_user_addr_fault|do_(?:error_)?trap|bad_area\w*",
    r"nmi_\w+|unknown_nmi_error|end_repeat_nmi|watchdog_\w+|update_process_times|tick_\w+|_*hrtimer_\w+|usercopy_abort",
    # sanitizers and debugging aids
    r"_*k?asan_\w+|_*(?:kcsan|tsan|ubsan)_\w+|check_region_inline|kfence_\w+|refcount_warn_saturate",
    r"__list_(?:add|del)\w*_valid\w*|debug_print_object|bad_page|object_err|_*slab_(?:err|bug|fix)|__slab_free",
    r"free_to_partial_list|free_debug_processing|check_(?:object|bytes_and_report|slab)|kmemleak_alloc\w*",
    # locks, scheduler, RCU
    r"lockdep_\w+|check_(?:noncircular|irq_usage|prev_add|cpu_stall\w*)|mark_(?:lock|usage)\w*|validate_chain",
    r"(?:__)?lock_(?:acquire|release)|debug_check_no_locks_\w+|__might_(?:resched|sleep)\w*|__schedule_bug",
    r"(?:__)?schedule|schedule_preempt_disabled|rcu_(?:dump_cpu\w*|sched_clock_irq|check_gp\w*)",
    # the way in
    r"entry_(?:SYSCALL|SYSENTER|INT80)\w*|do_syscall\w*|x64_sys_call|ret_from_fork\w*|el0t?_\w+|invoke_syscall",
)
# On top of a trace because the report is being made, or beneath it because it came from user space.
MACHINERY = re.compile(rf"(?:{'|'.join(_MACHINERY)})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A line that begins a report, or goes on with one.

    `die` is the oops counter, if the line has it. `trap`: the line that a WARN() or BUG() itself prints,
    whatever message came before. `vague`: nothing is known but the first word.
    """

    kind: str
    die: int | None = None
    trap: bool = False
    vague: bool = False


def headline(body: str) -> Headline | None:
    """What kind of report this line announces, None for any other line."""
    die = _DIE.match(body) if "[#" in body else None
    match = _HEADLINE.match(body)
    if match is None:
        return None if die is None else Headline(kind="oops", die=int(die[1]))
    if _NO_HEADLINE.match(body):
        return None
    assert match.lastgroup is not None
    at = int(match.lastgroup[1:])
    return Headline(
        kind=_HEADLINES[at][0],
        die=None if die is None else int(die[1]),
        trap=_TRAP.match(body) is not None,
        vague=at >= _VAGUE,
    )
