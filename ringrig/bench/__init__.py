"""`rig bench …`: measurements. Each has a module, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """`rig bench boot|build|nops …`, `rig bench --kernel A --kernel B`; the exit code. BadSpec, and the RigErrors of what it measures."""
    name, rest = (arguments[0] if arguments else ""), arguments[1:]
    if name == "boot":
        from ringrig.bench import boot

        return boot.main(rest)
    if name == "build":
        from ringrig.bench import build

        return build.main(rest)
    if name == "nops":
        from ringrig.bench import nops

        return nops.main(rest)
    if name.startswith("-") and name not in {"-h", "--help"}:
        from ringrig.bench import compare

        return compare.main(arguments)
    if name in {"-h", "--help"}:
        print("usage: rig bench boot …    what a boot and a case cost")
        print("       rig bench build …   what a kernel's build costs, beside virtme-ng's own configuration")
        print("       rig bench nops …    what a provided buffer costs, beside the RFC's table")
        from ringrig.bench import compare

        print(f"\n{compare.options()}", end="")
        return 0
    from ringrig.errors import BadSpec

    raise BadSpec(f"There is no benchmark {name!r}.", next_step="take one of: boot, build, nops")
