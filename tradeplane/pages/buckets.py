"""Reads closed buckets from the shards' store for charts and open positions.

The web role stays free of the shards' compiled kernels, so the record's shape is written down here
a second time; the store's blobs carry a checksum of theirs, and a test compares the two.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from signals import nearmiss

ROW = np.dtype(
    [
        ("name", "S16"), ("open", "<f8"), ("high", "<f8"), ("low", "<f8"), ("close", "<f8"),
        ("volume", "<i8"), ("trades", "<i8"), ("calm", "<i8"), ("value", "<i8"), ("shares", "<i8"),
        ("mid", "<f8"), ("spread_bps", "<f8"), ("source", "<f8"), ("ao", "<f8"), ("x", "<f8"),
        ("synthetic", "u1"),
    ]
)  # fmt: skip
LAYOUT = zlib.crc32(repr([ROW.descr]).encode())
_HEAD = struct.Struct("<4sIIqqqqI")
_MAGIC = b"TPS1"
BARS_MAX = 360


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One closed bucket of one symbol; prices USD, x in bps (None before warm-up)."""

    k: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    x: float | None


class Buckets:
    """All methods answer None or nothing when Redis or the bucket is not there."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def newest(self, run: str, day: object, symbol: str) -> Bar | None:
        """Return the newest closed bucket of a symbol."""
        cell = symbol[:2]
        try:
            newest: Any = self._client.hget(f"cells:{run}:{day}", cell)
            if newest is None:
                return None
            blob: Any = self._client.get(f"b:{run}:{day}:{cell}:{int(newest)}")
        except redis.RedisError:
            return None
        return _bar(blob, symbol)

    def bars(self, run: str, day: object, symbol: str, last_k: int, count: int) -> list[Bar]:
        """Return up to `count` buckets that end with `last_k`, oldest first."""
        first = last_k - min(count, BARS_MAX) + 1
        keys = [f"b:{run}:{day}:{symbol[:2]}:{k}" for k in range(first, last_k + 1)]
        try:
            blobs: Any = self._client.mget(keys)
        except redis.RedisError:
            return []
        return [bar for blob in blobs if (bar := _bar(blob, symbol)) is not None]

    def history(
        self, run: str, day: object, symbol: str, last_k: int, count: int
    ) -> list[nearmiss.Bar]:
        """Return up to `count` buckets that end with `last_k`, with all that a birth asks for."""
        keys = [f"b:{run}:{day}:{symbol[:2]}:{k}" for k in range(last_k - count + 1, last_k + 1)]
        try:
            blobs: Any = self._client.mget(keys)
        except redis.RedisError:
            return []
        return [bar for blob in blobs if (bar := _full_bar(blob, symbol)) is not None]


def _full_bar(blob: bytes | None, symbol: str) -> nearmiss.Bar | None:
    found = _row(blob, symbol)
    if found is None:
        return None
    k, row = found
    shares = int(row["shares"])
    return nearmiss.Bar(
        k=k,
        high=float(row["high"]),
        low=float(row["low"]),
        close=float(row["close"]),
        volume=int(row["volume"]),
        trades=int(row["trades"]),
        vwap=int(row["value"]) / shares / 1e6 if shares else float(row["close"]),
        synthetic=bool(row["synthetic"]),
        source=float(row["source"]),
        calm=int(row["calm"]),
    )


def _bar(blob: bytes | None, symbol: str) -> Bar | None:
    found = _row(blob, symbol)
    if found is None:
        return None
    k, row = found
    return Bar(
        k=k,
        open=float(row["open"]),
        high=float(row["high"]),
        low=float(row["low"]),
        close=float(row["close"]),
        volume=int(row["volume"]),
        x=None if np.isnan(row["x"]) else float(row["x"]),
    )


def _row(blob: bytes | None, symbol: str) -> tuple[int, Any] | None:
    found = rows(blob)
    if found is None:
        return None
    k, records = found
    at = np.flatnonzero(records["name"] == symbol.encode())
    if at.size == 0 or np.isnan(records[int(at[0])]["close"]):
        return None
    return k, records[int(at[0])]


def rows(blob: bytes | None) -> tuple[int, np.ndarray] | None:
    """Return (k, ROW records) of a blob; None when it is missing, damaged or of another format."""
    if blob is None or len(blob) < _HEAD.size:
        return None
    magic, layout, checksum, k, _, _, _, n = _HEAD.unpack_from(blob)
    body = blob[_HEAD.size :]
    if (magic, layout, len(body)) != (_MAGIC, LAYOUT, n * ROW.itemsize):
        return None
    return None if zlib.crc32(body) != checksum else (k, np.frombuffer(body, ROW))
