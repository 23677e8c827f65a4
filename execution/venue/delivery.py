"""Data frames for one client, cut to what it can take."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from execution.venue import wire
from execution.venue.cursor import Piece
from relay import frames

MAX_MESSAGES = 500
MAX_BYTES = 256 * 1024


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the pieces with neighbors made one: fewer, larger frames."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last is not None and last.columns is piece.columns and last.stop == piece.first:
            found[-1] = Piece(piece.columns, last.first, piece.stop)
        else:
            found.append(piece)
    return found


def data_frames(piece: Piece, mask: np.ndarray) -> Iterator[bytes]:
    """Yield the masked messages of a piece, byte for byte, in frames within the limits."""
    spans = piece.spans[mask]
    ends = np.cumsum(spans["end"] - spans["start"])
    first = 0
    while first < spans.size:
        before = int(ends[first - 1]) if first else 0
        fits = int(np.searchsorted(ends, before + MAX_BYTES, side="right"))
        last = min(max(fits, first + 1), first + MAX_MESSAGES)
        yield frames.gather(piece.columns.data, spans[first:last])
        first = last


def clock_frame(ts_ns: int, stop: int | None, *, again_ns: int | None = None) -> bytes:
    """Return the clock frame: `t` is a plain number, so that nothing takes it for market data.

    `again_ns`: the data between `t` and then follows, though an earlier reader was sent it.
    """
    message: dict[str, Any] = {"T": "clock", "t": ts_ns}
    if stop is not None:
        message["stop"] = stop
    if again_ns is not None:
        message["again"] = again_ns
    return msgspec.msgpack.encode([message])


def as_json(frame: bytes) -> str:
    """Return a msgpack data frame in the stream's JSON form, times with all their digits."""
    messages = msgspec.msgpack.decode(frame, type=list[dict[str, Any]])
    for message, ts_ns in zip(messages, frames.scan(frame)["ts_ns"], strict=True):
        if "t" in message:
            message["t"] = _short_time(int(ts_ns))
    return msgspec.json.encode(messages).decode()


def _short_time(ts_ns: int) -> str:
    """Return RFC 3339 with trailing zeros trimmed, as the venue writes times in JSON."""
    return (wire.rfc3339(ts_ns) or "").rstrip("Z").rstrip("0").rstrip(".") + "Z"
