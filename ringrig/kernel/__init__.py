"""Kernel spec → image to boot, running host, or board."""

from __future__ import annotations

from ringrig.cache import Say
from ringrig.kernel.spec import Board, Host, Image, Target

__all__ = ["Board", "Host", "Image", "Target", "resolve"]


def resolve(spec: str, *, say: Say) -> Target:
    """What a `--kernel` argument stands for, fetched and unpacked if need be; slow steps are told to `say`.

    Raises BadSpec, KernelUnavailable, NotAKernel, HostLacks, NoSpace.
    """
    import platform

    from ringrig.kernel import debian, files
    from ringrig.kernel.spec import bad_spec, board, debian_series

    if spec == "host":
        release = platform.release()
        return Host(spec="host", label=f"host ({release})", release=release)
    series = debian_series(spec)
    if series is not None:
        return debian.resolve(series, say=say)
    if spec.startswith("ssh:"):
        return board(spec)
    if files.looks_like_path(spec):
        return files.resolve(spec, say=say)
    raise bad_spec(spec)
