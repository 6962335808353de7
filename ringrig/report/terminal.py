"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_LEAST = 80
"""Narrower ones would lose digits; a terminal that is narrower wraps the lines."""
_WIDTH = 120
"""Of what goes into a file or a pipe."""


def console() -> Console:
    """Standard output, as wide as the terminal is."""
    made = Console(highlight=False, soft_wrap=True)
    made.width = max(made.width, _LEAST) if made.is_terminal else _WIDTH
    return made
