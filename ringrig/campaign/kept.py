"""asked.json: what a campaign was asked, in its folder, for --resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ringrig.cache import writing
from ringrig.errors import BadSpec, NoSpace

FILE = "asked.json"
_T = TypeVar("_T")


def keep(told: Mapping[str, Any], folder: Path, *, where: str) -> None:
    """Whole or as it was, whatever ends it; `where`: what errors call the folder. NoSpace: a folder that has none yet is gone again."""
    try:
        with writing(where, folder):
            fresh = folder / f"{FILE}.new"
            fresh.write_text(json.dumps(told, indent=1) + "\n")
            fresh.replace(folder / FILE)
    except NoSpace:
        if not (folder / FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def kept(folder: Path, read: Callable[[dict[str, Any]], _T], *, what: str, look: str) -> _T:
    """What `read` makes of it. BadSpec: the folder holds no `what`; another campaign's file has other fields."""
    try:
        return read(json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadSpec(
            f"{folder} holds no {what} to go on with.", next_step=f"`{look}` shows what was begun"
        ) from error
