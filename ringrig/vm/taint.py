"""Taint flags of a kernel: the letters and what each means."""

from __future__ import annotations

# taint_flags[] in kernel/panic.c, in the order of the bits; 'J' came with fwctl (6.15).
TAINTS: tuple[tuple[str, str], ...] = (
    ("P", "proprietary module"),
    ("F", "module loaded by force"),
    ("S", "CPU out of specification"),
    ("R", "module unloaded by force"),
    ("M", "machine check"),
    ("B", "bad page or corrupted slab"),
    ("U", "user asked for it"),
    ("D", "the kernel has oopsed"),
    ("A", "ACPI table overridden"),
    ("W", "a WARNING was printed"),
    ("C", "staging driver"),
    ("I", "firmware bug worked around"),
    ("O", "out-of-tree module"),
    ("E", "unsigned module"),
    ("L", "soft lockup"),
    ("K", "live patch"),
    ("X", "distribution's own flag"),
    ("T", "randomised structures"),
    ("N", "in-kernel test"),
    ("J", "fwctl mutated the device"),
)


def decode_taint(value: int) -> tuple[str, ...]:
    """/proc/sys/kernel/tainted in words: "LETTER: meaning" for each bit, lowest first; ValueError below 0."""
    if value < 0:
        raise ValueError(f"a taint mask is not negative: {value}")
    words = []
    for bit in range(value.bit_length()):
        if value >> bit & 1:
            letter, meaning = TAINTS[bit] if bit < len(TAINTS) else ("?", f"unknown taint bit {bit}")
            words.append(f"{letter}: {meaning}")
    return tuple(words)
