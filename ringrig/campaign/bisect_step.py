"""`rig bisect --step`: the script of `git bisect run`, which tries the tree as it stands and ends with what git understands."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

from ringrig import runs
from ringrig.cache import Say
from ringrig.campaign import bisect_asked
from ringrig.campaign.commit_verdict import GIT_EXIT, Quota
from ringrig.campaign.examine import examination, job
from ringrig.campaign.history import release, repository
from ringrig.campaign.job import do
from ringrig.errors import RigError
from ringrig.kernel.repo import resolved
from ringrig.model.profiles import profile_for
from ringrig.plugin.record import suite_version

_PASSES = 10


def run(arguments: Sequence[str], *, root: Path, say: Say) -> int:
    """The exit code: whatever goes wrong, faulty options too, ends the bisection instead of blaming a commit."""
    try:
        return _run(arguments, root, say)
    except RigError as error:
        say(str(error))
    except Exception:  # nor may Python's 1 be one
        traceback.print_exc()
    except SystemExit as leaving:  # argparse's 2 would be a bad commit to git
        return GIT_EXIT["trouble"] if leaving.code else 0
    except KeyboardInterrupt:
        return GIT_EXIT["interrupted"]
    return GIT_EXIT["trouble"]


def _run(arguments: Sequence[str], root: Path, say: Say) -> int:
    parser = bisect_asked.parser()
    chosen = parser.parse_args(arguments)
    tree = repository(chosen.tree or ".")
    words = bisect_asked.words(chosen, parser, root)
    frozen = resolved(chosen.good or "HEAD", where=tree)
    quota = Quota(passes=chosen.passes or _PASSES)
    one = job(
        f"tree:{tree}",
        name=resolved("HEAD", where=tree)[:12],
        guest=chosen.guest,
        configs=runs.configs_from_here(chosen.config),
        judge=profile_for(None, release(tree, frozen)).name,
        words=words,
        quota=quota,
    )
    folder = runs.new_folder(root, "bisect-step")
    made = examination(do(one, folder, workers=1, root=root, suite=suite_version(root)), quota)
    print(f"{made.verdict.word}: {one.name} {made.verdict.why} ({folder})", flush=True)
    return made.verdict.git_exit
