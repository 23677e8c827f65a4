"""msgpack frames as JSON text, for consumers that read JSON: the slow path, one decode each."""

import datetime as dt
import json
import math
import re
import struct
from collections.abc import Iterable

import msgspec

from relay import frames

_elements = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_decode_value = msgspec.msgpack.Decoder().decode
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIMESTAMP_LEADS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")


def to_json(frame: bytes) -> str:
    """Return the frame as JSON text; times become RFC 3339 with all their nanoseconds.

    A message that JSON cannot say (text that is no UTF-8, keys that are no strings) is left out.
    """
    try:
        elements: Iterable[bytes | msgspec.Raw] = _elements(frame)
    except RecursionError:  # nested too deeply for the decoder; the scanner minds no depth
        elements = [frame[span["start"] : span["end"]] for span in frames.scan(frame)]
    texts = [_message(raw) for raw in elements]
    return f"[{','.join(text for text in texts if text)}]"


def _message(raw: bytes | msgspec.Raw) -> str:
    try:
        message = {key: _value(bytes(value)) for key, value in _decode(raw).items()}
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return ""


def _value(raw: bytes) -> object:
    if not raw.startswith(_TIMESTAMP_LEADS):
        value = _decode_value(raw)
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if raw[0] == 0xD6:
        return rfc3339(struct.unpack(">I", raw[2:])[0], 0)
    if raw[0] == 0xD7:
        word = struct.unpack(">Q", raw[2:])[0]
        return rfc3339(word & 0x3FFFFFFFF, word >> 34)
    nanoseconds, seconds = struct.unpack(">Iq", raw[3:])
    return rfc3339(seconds, nanoseconds)


def rfc3339(seconds: int, nanoseconds: int) -> str | None:
    """Return the UTC time as the venue writes it: trailing zeros trimmed, `Z`; None beyond 9999."""
    try:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - UTC
    except OverflowError:
        return None
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def parse_rfc3339(text: str) -> int:
    """Return an RFC 3339 time as UTC ns, all nine digits of it.

    Raises:
        ValueError: it is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    whole, fraction, zone = found.groups()
    moment = dt.datetime.fromisoformat(f"{whole.upper()}{zone.upper().replace('Z', '+00:00')}")
    seconds = (moment - _EPOCH) // dt.timedelta(seconds=1)
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
