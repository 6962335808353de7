"""Numbers of the ABI as a C program would write them, and structures with their fields by name."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ringrig.model.transfer import incoming
from ringrig.uring import consts as c
from ringrig.uring import libc
from ringrig.uring.structs import io_uring_sqe

Pointer = Callable[[int], str]
"""How an address is written: a variable and an offset, or a number."""

_ABI: dict[str, int] = {
    name: value for name, value in vars(c).items() if isinstance(value, int) and name.startswith("IO")
}
_NETWORK = {
    *(c.IORING_OP_SENDMSG, c.IORING_OP_RECVMSG, c.IORING_OP_SEND, c.IORING_OP_RECV),
    c.IORING_OP_SEND_ZC,
}
_COUNTS = {c.IORING_OP_PROVIDE_BUFFERS, c.IORING_OP_REMOVE_BUFFERS}
"""Operations whose sqe->fd is a number of buffers."""
_MSGHDR = (
    *(("msg_name", 0, 8), ("msg_namelen", 8, 4), ("msg_iov", 16, 8), ("msg_iovlen", 24, 8)),
    *(("msg_control", 32, 8), ("msg_controllen", 40, 8), ("msg_flags", 48, 4)),
)
"""Of struct msghdr on 64 bits: field, offset, size."""
_CYCLE = 97


def number(value: int) -> str:
    """A plain number: decimal where that is short."""
    if -100_000 < value < 100_000:
        return str(value)
    if value >= 1 << 64:
        raise ValueError(value)
    return f"{value:#x}" + ("ULL" if value >= 1 << 31 else "")


def result(value: int) -> str:
    """What a call returned: `-EINVAL`, or the number."""
    name = errno.errorcode.get(-value) if -4096 < value < 0 else None
    return f"-{name}" if name else number(value)


def flags(value: int, prefix: str, table: Mapping[str, int] = _ABI) -> str:
    """`A | B`, with what has no name as a number at the end; 0 is `0`."""
    said, left = [], value
    for name, bit in table.items():
        if name.startswith(prefix) and bit and bit & (bit - 1) == 0 and left & bit and _is_flag(name):
            said.append(name)
            left &= ~bit
    return " | ".join([*said, *([f"{left:#x}"] if left else [])]) or "0"


def _is_flag(name: str) -> bool:
    return name not in {"IORING_CQE_BUFFER_SHIFT", "IORING_OFF_PBUF_SHIFT", "MAP_FAILED"}


def one_of(value: int, prefix: str) -> str:
    """The constant with that value, or the number."""
    names = [name for name, known in _ABI.items() if name.startswith(prefix) and known == value]
    return names[0] if names else number(value)


def register_op(value: int) -> str:
    """IORING_REGISTER_…, with IORING_REGISTER_USE_REGISTERED_RING where it is set."""
    plain = value & ~c.IORING_REGISTER_USE_REGISTERED_RING
    named = one_of(plain, "IORING_REGISTER_")
    if not named.startswith("IO"):
        named = one_of(plain, "IORING_UNREGISTER_")
    return f"{named} | IORING_REGISTER_USE_REGISTERED_RING" if value != plain else named


def cqe_flags(value: int) -> str:
    """IORING_CQE_F_…, and the buffer's id with its shift."""
    if not value & c.IORING_CQE_F_BUFFER:
        return flags(value, "IORING_CQE_F_")
    low = flags(value & 0xFFFF, "IORING_CQE_F_")
    return f"{low} | {value >> c.IORING_CQE_BUFFER_SHIFT}U << IORING_CQE_BUFFER_SHIFT"


def mapping_flags(value: int) -> str:
    table = {name: known for name, known in vars(libc).items() if name.startswith("MAP_")}
    return flags(value, "MAP_", table)


def protection(value: int) -> str:
    table = {name: known for name, known in vars(libc).items() if name.startswith("PROT_")}
    return flags(value, "PROT_", table) if value else "PROT_NONE"


def open_flags(value: int) -> str:
    table = {
        name: known for name, known in vars(os).items() if name.startswith("O_") and isinstance(known, int)
    }
    named = flags(
        value & ~os.O_ACCMODE, "O_", {name: bit for name, bit in table.items() if name not in {"O_FSYNC"}}
    )
    mode = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY"}.get(value & os.O_ACCMODE, "O_RDWR")
    return mode if named == "0" else f"{mode} | {named}"


def pipe_flags(value: int) -> str:
    return flags(value, "O_", {"O_NONBLOCK": os.O_NONBLOCK, "O_CLOEXEC": os.O_CLOEXEC})


def socket_type(value: int) -> str:
    kinds = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 5: "SOCK_SEQPACKET"}
    extra = flags(value & ~0xF, "SOCK_", {"SOCK_NONBLOCK": 0o4000, "SOCK_CLOEXEC": 0o2000000})
    return kinds.get(value & 0xF, number(value & 0xF)) + ("" if extra == "0" else f" | {extra}")


def message_flags(value: int) -> str:
    table = {name: int(known) for name, known in vars(socket).items() if name.startswith("MSG_")}
    return flags(value, "MSG_", table)


def offset(value: int) -> str:
    """Of an mmap() of an io_uring."""
    if value & c.IORING_OFF_MMAP_MASK == c.IORING_OFF_PBUF_RING or value > c.IORING_OFF_PBUF_RING:
        rest = value - c.IORING_OFF_PBUF_RING
        if rest >= 0 and rest % (1 << c.IORING_OFF_PBUF_SHIFT) == 0:
            return f"IORING_OFF_PBUF_RING | {number(rest >> c.IORING_OFF_PBUF_SHIFT)}ULL << IORING_OFF_PBUF_SHIFT"
    return one_of(value, "IORING_OFF_") if value else "0"


def structure(value: ctypes.Structure, pointer: Pointer) -> str:
    """A compound literal of a structure of uring.structs: fields that are not 0."""
    said = []
    for name, *_ in value._fields_:
        held = getattr(value, name)
        if isinstance(held, ctypes.Array):
            said += [f".{name}[{at}] = {number(one)}" for at, one in enumerate(held) if one]
        elif held:
            said.append(f".{name} = {_field(name, held, pointer)}")
    return f"(struct {type(value).__name__}){{ {', '.join(said) or '0'} }}"


def _field(name: str, held: int, pointer: Pointer) -> str:
    if name in {"ring_addr", "addr", "iov_base", "data"}:
        return pointer(held)
    if name == "flags":
        return flags(held, "IOU_PBUF_RING_")
    return number(held)


def sqe(value: io_uring_sqe, pointer: Pointer, descriptor: Pointer) -> str:
    """A compound literal of a request."""
    op = value.opcode
    said = [f".opcode = {one_of(op, 'IORING_OP_')}"]
    if value.flags:
        said.append(f".flags = {flags(value.flags, 'IOSQE_')}")
    if value.ioprio:
        net = op in _NETWORK
        said.append(f".ioprio = {flags(value.ioprio, 'IORING_RECV') if net else number(value.ioprio)}")
    if value.fd:
        said.append(f".fd = {number(value.fd) if op in _COUNTS else descriptor(value.fd)}")
    if value.off:
        said.append(f".off = {'-1ULL' if value.off == 2**64 - 1 else number(value.off)}")
    if value.addr:
        said.append(
            f".addr = {number(value.addr) if op == c.IORING_OP_ASYNC_CANCEL else pointer(value.addr)}"
        )
    if value.len:
        said.append(f".len = {number(value.len)}")
    if value.rw_flags:
        name = "msg_flags" if op in _NETWORK else "rw_flags"
        said.append(
            f".{name} = {message_flags(value.rw_flags) if op in _NETWORK else number(value.rw_flags)}"
        )
    for name in ("user_data", "buf_group", "personality", "splice_fd_in"):
        if getattr(value, name):
            said.append(f".{name} = {number(getattr(value, name))}")
    said += [f".{name} = {number(held)}" for name in ("addr3",) if (held := getattr(value, name))]
    if pad := int.from_bytes(bytes(value)[56:], "little"):
        said.append(f".pad2 = {number(pad)}")
    return f"(struct io_uring_sqe){{ {', '.join(said)} }}"


def message(data: bytes, pointer: Pointer) -> str:
    """The initialisers of a msghdr."""
    said = []
    for name, at, size in _MSGHDR:
        if held := int.from_bytes(data[at : at + size], "little"):
            told = pointer(held) if name in {"msg_name", "msg_iov", "msg_control"} else number(held)
            said.append(f".{name} = {told}")
    return ", ".join(said) or "0"


def text(data: bytes) -> str:
    """Bytes as an expression that points to them."""
    if data == incoming(data[0] - 1, len(data)) if data and 0 < data[0] <= _CYCLE else False:
        return f"cycle({data[0] - 1})"
    if len(set(data)) == 1 and len(data) > 8:
        return f"filled({data[0]:#x})"
    if re.fullmatch(rb"[ !#-\[\]-~]+", data):
        return f'"{data.decode()}"'
    return '"' + "".join(f"\\x{one:02x}" for one in data) + '"'


def store(place: str, data: bytes, pointer: Pointer, words: Callable[[int], bool]) -> list[str]:
    """Statements that put `data` at `place`; `words` says whether a number is an address."""
    if len(data) % 8 == 0 or len(data) > 8:
        parts = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)]
        if any(words(one) for one in parts):
            return [
                *(
                    f"memcpy({place} + {8 * at}, &(uint64_t){{ {pointer(one)} }}, 8);"
                    for at, one in enumerate(parts)
                ),
                *(
                    store(f"{place} + {8 * len(parts)}", data[8 * len(parts) :], pointer, words)
                    if len(data) % 8
                    else []
                ),
            ]
    if len(set(data)) == 1:
        return [f"memset({place}, {data[0]:#x}, {len(data)});"]
    if all(one == data[0] + at & 0x7F for at, one in enumerate(data)):
        return [f"ramp({place}, {data[0]}, {len(data)});"]
    return [f"memcpy({place}, {text(data)}, {len(data)});"]


def literal(value: Any) -> str:
    """A string of the case's, as C writes it."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
