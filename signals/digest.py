"""Hashes that prove two runs equal: SHA-256 over sorted rows of event-time fields.

The caller sorts the rows by (k, symbol) and leaves out whatever may differ between equal runs:
shard, epoch, sequence, lags, run id. Floats count bit for bit.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence

Value = int | float | str | bool | None | Sequence["Value"]


def digest(rows: Iterable[Sequence[Value]]) -> str:
    """Return the hex SHA-256 of the rows, each value tagged with its type.

    Integers are little-endian int64, floats little-endian float64, text is length + UTF-8.

    Raises:
        TypeError: a value of another type.
        struct.error: an integer outside int64.
    """
    sha = hashlib.sha256()
    for row in rows:
        sha.update(_encoded(row))
    return sha.hexdigest()


def _encoded(value: Value) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"T" if value else b"F"
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"f" + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"s" + struct.pack("<I", len(text)) + text
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return b"l" + struct.pack("<I", len(value)) + b"".join(map(_encoded, value))
    raise TypeError(f"cannot digest a {type(value).__name__}")
