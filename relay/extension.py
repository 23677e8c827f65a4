"""The extension element: the first of a frame, for consumers that asked for `frame`.

`{"T":"x","e":epoch,"o":offset,"p":previous,"w":watermark_ns}`. The relay writes it with fixed
widths, so that both sides handle it without a decoder.
"""

import struct
from typing import NamedTuple

import msgspec

from relay.errors import FrameError

_MAP = b"\x85\xa1T\xa1x"
_FIXED = struct.Struct(">5s2sBQ2sBQ2sBQ2sBQ")
_UINT64 = 0xCF
SIZE = _FIXED.size
_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Extension(NamedTuple):
    """Position of a frame: everything up to `offset` has been sent or is not subscribed."""

    epoch: int
    offset: int
    previous: int
    watermark_ns: int


def pack_extension(epoch: int, offset: int, previous: int, watermark_ns: int) -> bytes:
    """Return the encoded element; all values are >= 0."""
    return _FIXED.pack(
        _MAP, b"\xa1e", _UINT64, epoch, b"\xa1o", _UINT64, offset,
        b"\xa1p", _UINT64, previous, b"\xa1w", _UINT64, watermark_ns,
    )  # fmt: skip


def read_extension(frame: bytes) -> Extension | None:
    """Return the extension element that leads `frame`, None when there is none.

    Raises:
        FrameError: the frame starts with a damaged element.
    """
    at = _body_start(frame)
    if frame[at : at + len(_MAP)] != _MAP:
        return None
    if len(frame) >= at + SIZE:
        _, k1, t1, epoch, k2, t2, offset, k3, t3, previous, k4, t4, watermark_ns = (
            _FIXED.unpack_from(frame, at)
        )
        widths = (t1, t2, t3, t4) == (_UINT64,) * 4
        if widths and (k1, k2, k3, k4) == (b"\xa1e", b"\xa1o", b"\xa1p", b"\xa1w"):
            return Extension(epoch, offset, previous, watermark_ns)
    return _read_any(frame)


def _body_start(frame: bytes) -> int:
    """Return where the first element of the array begins."""
    tag = frame[0] if frame else 0
    return {0xDC: 3, 0xDD: 5}.get(tag, 1)


class _Element(msgspec.Struct):
    e: int
    o: int
    p: int
    w: int = 0
    S: str | None = None


def _read_any(frame: bytes) -> Extension | None:
    """The same for another encoder's widths or order of keys."""
    try:
        elements = _decode(frame)
        found = msgspec.msgpack.decode(elements[0], type=_Element)
    except (msgspec.ValidationError, IndexError):
        return None  # a cancel of a trade has `T: x`, too
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise FrameError(f"bad extension element: {exc}") from exc
    return Extension(found.e, found.o, found.p, found.w) if found.S is None else None
