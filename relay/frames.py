"""Frames of the stream: message boundaries, routing copies and columns, over msgpack bytes.

A frame is one msgpack array of maps with string keys, as the venue sends it. The wrappers here
are thin; the loops are in `relay.kernels` and `relay.column_kernels`, and run without the GIL.
"""

import struct
from collections.abc import Mapping

import msgspec
import numpy as np

from relay import column_kernels, kernels
from relay.column_kernels import QUOTES, TRADES
from relay.errors import FrameError
from relay.kernels import SPAN
from relay.symbols import key_symbol, symbol_key

__all__ = [
    "CANCEL",
    "CONTROL",
    "CORRECTION",
    "EXTENSION",
    "LULD",
    "QUOTE",
    "QUOTES",
    "SPAN",
    "STATUS",
    "TRADE",
    "TRADES",
    "FrameError",
    "encode_array",
    "encode_message",
    "gather",
    "key_symbol",
    "octets",
    "quotes",
    "refusal",
    "scan",
    "select",
    "symbol_key",
    "timestamp",
    "trades",
    "warm",
]

TRADE, QUOTE, STATUS = ord("t"), ord("q"), ord("s")
LULD, CORRECTION, CANCEL = ord("l"), ord("c"), ord("x")
CONTROL, EXTENSION = kernels.KIND_CONTROL, kernels.KIND_EXTENSION
_EVERY = np.empty(0, np.bool_)
_ANYWHERE = np.empty(0, np.int64)
_BYTES_PER_MESSAGE = 32  # a first guess; data messages take about 60
_REASONS = {
    kernels.MALFORMED: "cut off or not msgpack",
    kernels.NOT_A_FRAME: "not an array of maps",
    kernels.BAD_SPAN: "a span does not belong to this buffer",
}
_encoder = msgspec.msgpack.Encoder()
Buffer = bytes | bytearray | memoryview | np.ndarray


def octets(buf: Buffer) -> np.ndarray:
    """Return `buf` as a read-only contiguous uint8 array without copying it."""
    if isinstance(buf, np.ndarray):
        raw = np.ascontiguousarray(buf, np.uint8).view()
    elif len(buf) == 0:
        raw = np.empty(0, np.uint8)
    else:
        raw = np.frombuffer(buf, np.uint8)
    raw.flags.writeable = False
    return raw


def refusal(code: int) -> FrameError:
    """Return the error for a kernel's negative code."""
    return FrameError(_REASONS.get(code, f"kernel code {code}"))


def scan(
    buf: Buffer, *, ends: np.ndarray | None = None, room: np.ndarray | None = None
) -> np.ndarray:
    """Return one SPAN row per message of the frame, or frames back to back, in `buf`.

    Rows: byte range in `buf`, kind (character code of a one-letter `T`, CONTROL for a longer one,
    EXTENSION for the extension element, 0 without `T`), symbol words, time in UTC ns (0 = none).

    Args:
        ends: (frames,) int64, where each frame ends; one that is cut off cannot swallow the next.
        room: rows to fill, when there are enough of them; the result is a view of these.
    Raises:
        FrameError: the bytes are cut off, not msgpack, or not arrays of maps.
    """
    raw = octets(buf)
    spans = np.empty(raw.size // _BYTES_PER_MESSAGE + 16, SPAN) if room is None else room
    bounds = _ANYWHERE if ends is None else ends
    found = kernels.scan_frames(raw, bounds, spans)
    if found == kernels.TOO_MANY:  # one byte is the smallest message
        spans = np.empty(raw.size, SPAN)
        found = kernels.scan_frames(raw, bounds, spans)
    if found < 0:
        raise refusal(found)
    return spans[:found]


def gather(
    buf: Buffer, spans: np.ndarray, mask: np.ndarray | None = None, *, head: bytes = b""
) -> bytes:
    """Return one frame: the `head` element, when given, and the selected messages byte for byte.

    Args:
        spans: SPAN rows of `buf`, in the wanted order.
        mask: (len(spans),) bool, None selects all.
        head: one encoded map.
    Raises:
        FrameError: a span lies outside `buf`, or the mask has another length.
    """
    count, body = select(buf, spans, mask)
    return b"".join((array_header(count + bool(head)), head, body))


def select(buf: Buffer, spans: np.ndarray, mask: np.ndarray | None = None) -> tuple[int, bytes]:
    """Return how many messages are selected and their bytes back to back; see `gather`."""
    raw = octets(buf)
    spans = np.ascontiguousarray(spans)
    if mask is None:
        chosen = _EVERY
    elif mask.size != spans.size:
        raise FrameError("the mask does not fit the spans")
    elif mask.size == 0:
        return 0, b""
    else:
        chosen = np.ascontiguousarray(mask, np.bool_)
    count, size = kernels.gathered_size(raw, spans, chosen)
    if count < 0:
        raise refusal(count)
    out = np.empty(size, np.uint8)
    kernels.gather_into(raw, spans, chosen, out, 0)
    return count, out.tobytes()


def trades(buf: Buffer, spans: np.ndarray) -> np.ndarray:
    """Return TRADES rows for the spans of kind `t`, in order; bad values are kept as they are.

    A missing or non-numeric price is NaN; `price_micro` is 0 where the price does not fit.
    Raises:
        FrameError: the spans do not belong to `buf`.
    """
    rows = np.empty(np.count_nonzero(spans["kind"] == TRADE), TRADES)
    code = column_kernels.trade_rows(octets(buf), np.ascontiguousarray(spans), rows)
    if code < 0:
        raise refusal(code)
    return rows


def quotes(buf: Buffer, spans: np.ndarray) -> np.ndarray:
    """Return QUOTES rows for the spans of kind `q`, in order; bad values are kept as they are.

    Raises:
        FrameError: the spans do not belong to `buf`.
    """
    rows = np.empty(np.count_nonzero(spans["kind"] == QUOTE), QUOTES)
    code = column_kernels.quote_rows(octets(buf), np.ascontiguousarray(spans), rows)
    if code < 0:
        raise refusal(code)
    return rows


def array_header(count: int) -> bytes:
    """Return the msgpack header of an array of `count` elements."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return struct.pack(">BH", 0xDC, count)
    return struct.pack(">BI", 0xDD, count)


def encode_array(messages: list[bytes]) -> bytes:
    """Return one frame of already encoded messages."""
    return b"".join((array_header(len(messages)), *messages))


def timestamp(ts_ns: int) -> msgspec.msgpack.Ext:
    """Return UTC ns as the msgpack timestamp extension: 8 bytes where it fits, else 12."""
    seconds, nanoseconds = divmod(ts_ns, 1_000_000_000)
    if 0 <= seconds < 1 << 34:
        return msgspec.msgpack.Ext(-1, struct.pack(">Q", nanoseconds << 34 | seconds))
    return msgspec.msgpack.Ext(-1, struct.pack(">Iq", nanoseconds, seconds))


def encode_message(message: Mapping[str, object]) -> bytes:
    """Return the msgpack form of one message: `T` first, an int `t` as timestamp extension."""
    ordered = {"T": message["T"], **message}
    ts_ns = ordered.get("t")
    if isinstance(ts_ns, int):
        ordered["t"] = timestamp(ts_ns)
    return _encoder.encode(ordered)


def warm() -> None:
    """Compile every kernel, or load it from the cache, before the first frame needs it."""
    trade = encode_message({"T": "t", "S": "A", "i": 1, "p": 1.5, "s": 1, "c": ["@"], "t": 1})
    quote = encode_message({"T": "q", "S": "A", "bp": 1.5, "ap": 2, "bs": 1, "as": 1, "t": 1})
    frame = encode_array([trade, quote])
    spans = scan(frame)
    gather(frame, spans, np.array([True, False]))
    gather(frame, spans)
    trades(frame, spans)
    quotes(frame, spans)
    slots, starts = np.full(256, -1, np.int64), np.zeros(1, np.int64)
    word = np.zeros(0, np.uint64)
    kernels.route_mask(spans, slots, starts, word, word, word, word, np.empty(2, np.bool_))
    kernels.newest_times(spans, TRADE, word, word, np.zeros(0, np.int64))
