"""The engine's state as blobs per storage cell: what the store keeps, without the store.

A cell is the first two characters of a symbol, so a letter can move to another shard and be taken
up there. Every blob names its symbols, its format and its length; one that does not fit is refused
and counts as missing, never as data.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from shards.kernels import QUOTE_STATE
from shards.letters import cell_of
from shards.state import STATE, STORED_ROW, EngineState

MINUTE_ROW = np.dtype([("name", "S16"), ("close", "<f8")])
_HEAD = struct.Struct("<4sIIqqqqI")  # magic, layout, checksum, k, offset, position, cut, count
_MAGIC = b"TPS1"


class BlobError(ValueError):
    """Bytes that are not a blob of this version."""


class CellState(NamedTuple):
    """What one cell adds to the state after bucket k; epoch is the relay's."""

    k: int
    epoch: int
    first_later_offset: int
    position: int
    cut_ns: int
    table: np.ndarray
    quotes: np.ndarray


class CellBlobs(NamedTuple):
    """The encoded blobs of one cell and bucket."""

    rows: bytes
    state: bytes
    minute: bytes | None


def _layout(*dtypes: np.dtype) -> int:
    return zlib.crc32(repr([dtype.descr for dtype in dtypes]).encode())


_ROWS_LAYOUT = _layout(STORED_ROW)
_STATE_LAYOUT = _layout(STATE, QUOTE_STATE)
_MINUTE_LAYOUT = _layout(MINUTE_ROW)


def encode(state: EngineState, epoch: int) -> dict[str, CellBlobs]:
    """Return the blobs of every cell of a state; symbols are sorted, so cells are runs."""
    names = state.table["name"]
    if names.size == 0:
        return {}
    heads = names.astype("S2")  # what `cell_of` looks at
    starts = np.flatnonzero(np.r_[True, heads[1:] != heads[:-1]])
    bounds = [*starts.tolist(), names.size]
    return {
        cell_of(names[first].decode()): _encode_cell(state, epoch, slice(first, last))
        for first, last in pairwise(bounds)
    }


def _encode_cell(state: EngineState, epoch: int, part: slice) -> CellBlobs:
    minute = None
    if state.minute_closes is not None:
        closes = np.empty(part.stop - part.start, MINUTE_ROW)
        closes["name"], closes["close"] = state.table["name"][part], state.minute_closes[part]
        minute = _blob(_MINUTE_LAYOUT, closes.tobytes(), closes.size, state.k, 0, 0, 0)
    table, quotes = state.table[part], state.quotes[part]
    offsets = (state.first_later_offset, state.position, state.cut_ns)
    body = struct.pack("<Q", epoch) + table.tobytes() + quotes.tobytes()
    rows = state.rows[part]
    return CellBlobs(
        rows=_blob(_ROWS_LAYOUT, rows.tobytes(), rows.size, state.k, 0, 0, 0),
        state=_blob(_STATE_LAYOUT, body, table.size, state.k, *offsets),
        minute=minute,
    )


def _blob(layout: int, body: bytes, count: int, *numbers: int) -> bytes:
    return _HEAD.pack(_MAGIC, layout, zlib.crc32(body), *numbers, count) + body


def _open(blob: bytes, layout: int) -> tuple[int, int, int, int, int, bytes]:
    if len(blob) < _HEAD.size:
        raise BlobError("cut off")
    magic, found, checksum, k, offset, position, cut_ns, count = _HEAD.unpack_from(blob)
    body = blob[_HEAD.size :]
    if magic != _MAGIC or found != layout:
        raise BlobError("another format")
    if zlib.crc32(body) != checksum:
        raise BlobError("damaged")
    return k, offset, position, cut_ns, count, body


def _records(body: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    if len(body) != count * dtype.itemsize:
        raise BlobError("its length does not fit")
    return np.frombuffer(body, dtype)


def decode_rows(blob: bytes) -> tuple[int, np.ndarray]:
    """Return the bucket and its STORED_ROW records.

    Raises:
        BlobError: damaged, or of another version.
    """
    k, _, _, _, count, body = _open(blob, _ROWS_LAYOUT)
    return k, _records(body, STORED_ROW, count)


def rows_body(blob: bytes) -> bytes:
    """Return a bucket's STORED_ROW records as bytes, checked: many are joined at once.

    Raises:
        BlobError: damaged, or of another version.
    """
    *_, count, body = _open(blob, _ROWS_LAYOUT)
    if len(body) != count * STORED_ROW.itemsize:
        raise BlobError("its length does not fit")
    return body


def decode_minute(blob: bytes) -> np.ndarray:
    """Return MINUTE_ROW records.

    Raises:
        BlobError: damaged, or of another version.
    """
    *_, count, body = _open(blob, _MINUTE_LAYOUT)
    return _records(body, MINUTE_ROW, count)


def decode_state(blob: bytes) -> CellState:
    """Return what one cell knew after its bucket.

    Raises:
        BlobError: damaged, or of another version.
    """
    k, offset, position, cut_ns, count, body = _open(blob, _STATE_LAYOUT)
    (epoch,) = struct.unpack_from("<Q", body) if len(body) >= 8 else (0,)
    split = 8 + count * STATE.itemsize
    table = _records(body[8:split], STATE, count)
    quotes = _records(body[split:], QUOTE_STATE, count)
    return CellState(k, epoch, offset, position, cut_ns, table, quotes)


class Kept(NamedTuple):
    """What the store kept for some cells, ready for `Engine.restore`."""

    newest: EngineState
    history: dict[int, np.ndarray]
    minutes: dict[int, tuple[np.ndarray, np.ndarray]]
    epoch: int


def join(
    states: Iterable[CellState],
    rows: Mapping[int, Iterable[np.ndarray]],
    minutes: Mapping[int, Iterable[np.ndarray]],
) -> Kept | None:
    """Put cells together again; None when their states are not of one bucket and relay epoch.

    Every offset that belongs to a cell holds for all: no frame between two cells' positions holds
    anything of theirs (positions are those before the frame whose watermark closed the bucket).
    """
    each = list(states)
    if len({(state.k, state.epoch) for state in each}) != 1:
        return None
    k = each[0].k
    history = {j: np.concatenate(found) for j, blocks in rows.items() if (found := list(blocks))}
    newest = EngineState(
        k=k,
        table=np.concatenate([state.table for state in each]),
        quotes=np.concatenate([state.quotes for state in each]),
        rows=history.pop(k, np.empty(0, STORED_ROW)),
        minute_closes=None,
        first_later_offset=min(state.first_later_offset for state in each),
        position=max(state.position for state in each),
        cut_ns=max(state.cut_ns for state in each),
    )
    joined = {}
    for minute, blocks in minutes.items():
        if found := list(blocks):
            closes = np.concatenate(found)
            joined[minute] = (closes["name"], closes["close"])
    return Kept(newest, history, joined, each[0].epoch)
