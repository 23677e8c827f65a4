"""Closed buckets as rows, and the hash that proves two runs equal. Light: no kernels behind it."""

from collections.abc import Iterable

import numpy as np

from signals.digest import digest

BUCKET_ROW = np.dtype(
    [
        ("k", "<i8"),
        ("symbol", "S16"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("vwap", "<f8"),
        ("synthetic", "u1"),
    ]
)


def sorted_rows(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the rows of all blocks sorted by (k, symbol); exact repetitions count once.

    A bucket is closed again after a take-over, and must then be the same.
    """
    rows = np.concatenate([np.empty(0, BUCKET_ROW), *blocks])
    rows = rows[np.lexsort((rows["symbol"], rows["k"]))]
    packed = np.ascontiguousarray(rows).view((np.void, BUCKET_ROW.itemsize))
    if rows.size > 1:
        rows = rows[np.r_[True, packed[1:] != packed[:-1]]]
    return rows


def bucket_hash(rows: np.ndarray) -> str:
    """Return the hash of closed buckets: every field, floats bit for bit, in (k, symbol) order."""
    ordered = sorted_rows([rows])
    columns = [ordered[name].tolist() for name in BUCKET_ROW.names or ()]
    columns[1] = [symbol.decode("ascii") for symbol in columns[1]]
    columns[-1] = [bool(flag) for flag in columns[-1]]
    return digest(zip(*columns, strict=True))


def read_rows(recorded: bytes) -> np.ndarray:
    """Return the rows of a record file; an unfinished last row is left out."""
    whole = len(recorded) // BUCKET_ROW.itemsize * BUCKET_ROW.itemsize
    return np.frombuffer(recorded[:whole], BUCKET_ROW)
