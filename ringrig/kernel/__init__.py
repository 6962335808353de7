"""Kernel spec → image to boot, running host, or board."""

from __future__ import annotations

from ringrig.cache import Say
from ringrig.errors import BadSpec
from ringrig.kernel.spec import Board, Host, Image, Target, Wanted

__all__ = ["Board", "Host", "Image", "Target", "Wanted", "resolve"]


def resolve(spec: str, *, wanted: Wanted | None = None, say: Say) -> Target:
    """What a `--kernel` argument stands for: fetched, unpacked or built if need be; slow steps are told to `say`.

    Raises BadSpec, BadConfig, BadPatch, KernelUnavailable, NotAKernel, BuildFailed, HostLacks, NoSpace.
    """
    import platform

    from ringrig.kernel import debian, files, source, travelled
    from ringrig.kernel.spec import bad_spec, board, debian_series

    wanted = wanted or Wanted()
    kind, series = debian_series(spec) or ("", "")
    if origin := source.named(spec, say=say):
        from ringrig.kernel import build

        return build.image(origin, wanted, say=say)
    if wanted.configs or wanted.patches:
        raise BadSpec(
            f"--config and --patch are for kernels that are built here, and {spec} is built already.",
            next_step="take source:X.Y, tree:PATH or tree:PATH@REV",
        )
    target: Target
    if spec == "host":
        release = platform.release()
        target = Host(spec="host", label=f"host ({release})", release=release)
    elif kind == "debian-uml":
        from ringrig.kernel import uml

        target = uml.resolve(series, say=say)
    elif kind:
        target = debian.resolve(series, say=say)
    elif spec.startswith(travelled.PREFIX):
        target = travelled.resolve(spec)
    elif spec.startswith("ssh:"):
        target = board(spec)
    elif files.looks_like_path(spec):
        target = files.resolve(spec, say=say)
    else:
        raise bad_spec(spec)
    _check_guest(target, wanted.guest)
    return target


def _check_guest(target: Target, guest: str) -> None:
    is_of = {"um": "uml", "x86": "qemu"}[target.arch] if isinstance(target, Image) else ""
    if guest not in ("auto", is_of):
        why = f"it is built for {is_of} guests" if is_of else "it runs already, without a guest"
        raise BadSpec(
            f"{target.spec} cannot run under --guest {guest}: {why}.",
            next_step="leave --guest out, or take a kernel that is built here: source:X.Y, tree:PATH",
        )
