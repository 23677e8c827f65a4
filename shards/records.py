"""Closed buckets as rows, and the hash that proves two runs equal. Light: no kernels behind it."""

from collections.abc import Iterable
from pathlib import Path

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

#: The same with the revision: 0 is what was decided on, later ones what became of it.
REVISED_ROW = np.dtype([*BUCKET_ROW.descr, ("rev", "<i4")])


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


def revised_rows(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the rows of all blocks as REVISED_ROW, one per (k, symbol, rev), in that order.

    Args: blocks: REVISED_ROW, or BUCKET_ROW, which is revision 0; of several rows the first stays.
    """
    made = [np.empty(0, REVISED_ROW)]
    for block in blocks:
        rows = block
        if block.dtype != REVISED_ROW:
            rows = np.zeros(block.size, REVISED_ROW)
            for name in BUCKET_ROW.names or ():
                rows[name] = block[name]
        made.append(rows)
    rows = np.concatenate(made)
    rows = rows[np.lexsort((rows["rev"], rows["symbol"], rows["k"]))]
    again = np.ones(max(rows.size - 1, 0), np.bool_)
    for name in ("k", "symbol", "rev"):
        again &= rows[name][1:] == rows[name][:-1]
    once: np.ndarray = rows[np.r_[True, ~again][: rows.size]]
    return once


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


def rows_of_symbol(
    path: Path, symbol: str, first_k: int, last_k: int, dtype: np.dtype = BUCKET_ROW
) -> np.ndarray:
    """Return one symbol's rows of a record or spool file in [first_k, last_k], oldest first.

    What was decided on: a revision (`REVISED_ROW`, rev > 0) is passed over. The file is searched
    where it lies, so a whole market's costs no more than a small one.
    Raises:
        OSError: the file cannot be read.
    """
    whole = path.stat().st_size // dtype.itemsize
    if whole == 0:
        return np.empty(0, dtype)
    rows = np.memmap(path, dtype, mode="r", shape=(whole,))
    name, at, found = symbol.encode("ascii", "replace"), 0, []
    for k in range(first_k, last_k + 1):
        at = _first_at(rows, (k, name), at)
        if at < whole and (int(rows["k"][at]), bytes(rows["symbol"][at])) == (k, name):
            found.append(at)
    return np.array(rows[found]) if found else np.empty(0, dtype)


def _first_at(rows: np.ndarray, key: tuple[int, bytes], low: int) -> int:
    """Return the first decided row at or after `low` whose (k, symbol) is not below the key."""
    high = rows.size
    while low < high:
        middle = (low + high) // 2
        at = _decided(rows, middle, high)
        if at < high and (int(rows["k"][at]), bytes(rows["symbol"][at])) < key:
            low = at + 1
        else:
            high = middle
    return _decided(rows, low, rows.size)


def _decided(rows: np.ndarray, at: int, stop: int) -> int:
    """Return the first row from `at` on that is no revision; those lie where they came."""
    if "rev" in (rows.dtype.names or ()):
        while at < stop and rows["rev"][at] > 0:
            at += 1
    return at
