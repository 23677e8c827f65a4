"""Arrays that hold the shard's symbols: one element per symbol, one row per bucket.

A symbol's row number is local to this process and never leaves it; whatever is stored or sent
carries names. `Columns` is one array per field, so that a close runs over contiguous memory.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from relay import frames
from shards import closing, kernels, letters
from shards.state import RingArrays

FIRST_CAPACITY = 64
USUAL_CAPACITY = 1024  # what a shard begins with: thirty megabytes
Arrays = TypeVar("Arrays", bound=tuple[np.ndarray, ...])
#: Test issues of the exchanges; their prints are no market.
TEST_SYMBOLS = frozenset({"ZVZZT", "ZWZZT", "ZXZZT", "ZBZX", "ZTST", "ZTEST", "CBO", "CBX"})
TEST_PREFIXES = ("NTEST", "ATEST", "PTEST", "MTEST", "ZIEXT", "ZEXIT")


def is_test_symbol(symbol: str) -> bool:
    """Tell whether the symbol is one of the exchanges' test issues."""
    return symbol in TEST_SYMBOLS or symbol.startswith(TEST_PREFIXES)


class Columns:
    """One growing array per field of `dtype`, each new element starting from `defaults`."""

    def __init__(self, dtype: np.dtype, defaults: Mapping[str, Any], capacity: int) -> None:
        self.dtype = dtype
        self._defaults = defaults
        self._arrays: dict[str, np.ndarray] = {
            name: self._fresh(name, capacity) for name in dtype.names or ()
        }
        self.size = 0
        self._view: tuple[np.ndarray, ...] | None = None

    def _fresh(self, name: str, count: int) -> np.ndarray:
        return np.full(count, self._defaults.get(name, 0), self.dtype[name])

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name][: self.size]

    def view(self, kind: Callable[..., Arrays]) -> Arrays:
        """Return the arrays with the room behind them, as the tuple that the kernels take."""
        if self._view is None:
            self._view = kind(**{name: self._arrays[name] for name in kind._fields})  # type: ignore[attr-defined]
        return self._view  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays, with the room kept for more."""
        return sum(array.nbytes for array in self._arrays.values())

    def resize(self, size: int) -> None:
        """Make room for `size` elements, at least doubling when more is needed."""
        for name, array in self._arrays.items():
            if size > array.size:
                extra = self._fresh(name, max(size, 2 * array.size) - array.size)
                self._arrays[name] = np.concatenate((array, extra))
                self._view = None
        self.size = size

    def pack(self, rows: np.ndarray) -> np.ndarray:
        """Return the fields of `rows` as records of `dtype`."""
        records = np.empty(rows.size, self.dtype)
        for name in self.dtype.names or ():
            records[name] = self._arrays[name][rows]
        return records

    def unpack(self, rows: np.ndarray, records: np.ndarray) -> None:
        """Set the fields of `rows` from records of `dtype`."""
        for name in self.dtype.names or ():
            self._arrays[name][rows] = records[name]


class Rings:
    """The last `depth` buckets of every symbol: per field a (depth, symbols) array.

    Bucket k lies in row k % depth, the depth a power of two; integers start as 0 and floats as NaN.
    """

    def __init__(self, dtype: np.dtype, depth: int, capacity: int = FIRST_CAPACITY) -> None:
        if depth & (depth - 1):
            raise ValueError(f"rings of {depth} buckets: the depth is a power of two")
        self.dtype = dtype
        self.depth = depth
        self._capacity = capacity
        self._arrays = {name: self._fresh(name, depth, capacity) for name in dtype.names or ()}
        self.size = 0
        self._view: tuple[np.ndarray, ...] | None = None

    def _fresh(self, name: str, depth: int, count: int) -> np.ndarray:
        kind = self.dtype[name]
        return np.full((depth, count), np.nan if kind.kind == "f" else 0, kind)

    def view(self) -> RingArrays:
        """Return the whole arrays as the tuple that the kernels take (of RING only)."""
        if self._view is None:
            self._view = RingArrays(**self._arrays)
        return self._view  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays, with the room kept for more."""
        return sum(array.nbytes for array in self._arrays.values())

    def resize(self, size: int) -> None:
        """Make room for `size` symbols, at least doubling when more is needed."""
        if size > self._capacity:
            more = max(size, 2 * self._capacity) - self._capacity
            for name, array in self._arrays.items():
                extra = self._fresh(name, self.depth, more)
                self._arrays[name] = np.concatenate((array, extra), axis=1)
            self._capacity += more
            self._view = None
        self.size = size

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def row(self, name: str, k: int) -> np.ndarray:
        """Return (symbols,) of bucket k, writable."""
        found: np.ndarray = self._arrays[name][k % self.depth, : self.size]
        return found

    def total(self, name: str, k: int, count: int) -> np.ndarray:
        """Return the sum over the `count` buckets up to k, added strictly oldest to newest."""
        result = np.empty(self.size, np.float64 if self.dtype[name].kind == "f" else np.int64)
        closing.window_sum(self._arrays[name], k, count, 0, self.size, result)
        return result

    def window(self, name: str, k: int, count: int, columns: np.ndarray) -> np.ndarray:
        """Return a (count, len(columns)) copy of the buckets up to k, oldest first."""
        return self.windows(name, np.full(columns.size, k), count, columns)

    def windows(self, name: str, last: np.ndarray, count: int, columns: np.ndarray) -> np.ndarray:
        """Return (count, len(columns)), each column up to its own last bucket."""
        ring = self._arrays[name]
        found = np.empty((count, columns.size), ring.dtype)
        kernels.ring_window(ring, last, columns, found)
        return found

    def deepened(self, depth: int, k: int) -> "Rings":
        """Return rings of another depth with the buckets up to k that fit."""
        other = Rings(self.dtype, depth, self._capacity)
        other.resize(self.size)
        for j in range(k - min(depth, self.depth) + 1, k + 1):
            for name, array in other._arrays.items():
                array[j % depth] = self._arrays[name][j % self.depth]
        return other


class Symbols:
    """Symbol words to row numbers, for the symbols of the shard's ranges."""

    def __init__(self, ranges: list[letters.Range]) -> None:
        self.ranges = ranges
        self.names: list[str] = []
        self.foreign = 0
        self.test_issues = 0
        self._rows: dict[str, int] = {}
        self._order = np.empty(0, np.int64)
        self._sorted_names = np.empty(0, "S16")
        self._table(1024)
        self._known: list[tuple[int, int, int]] = []

    def _table(self, size: int) -> None:
        self.slots = np.zeros(size, kernels.SYMBOL_SLOT)  # a new symbol may replace it
        self.slots["row"] = -1

    def __len__(self) -> int:
        return len(self.names)

    def row_of(self, symbol: str) -> int | None:
        """Return the row of a symbol that was seen, else None."""
        return self._rows.get(symbol)

    def rows_of(self, keys: np.ndarray, keys2: np.ndarray) -> np.ndarray:
        """Return each symbol's row, giving new ones theirs; FOREIGN outside the ranges."""
        found = np.empty(keys.size, np.int64)
        while kernels.find_rows(keys, keys2, self.slots, found):
            at = int(np.argmax(found == -1))
            self.add(int(keys[at]), int(keys2[at]))
        return found

    def add(self, key: int, key2: int) -> int:
        """Register a symbol by its words and return its row."""
        symbol = frames.key_symbol(key, key2)
        row = kernels.FOREIGN
        if is_test_symbol(symbol):
            self.test_issues += 1
        elif symbol and letters.holds(self.ranges, symbol):
            row = len(self.names)
            self.names.append(symbol)
            self._rows[symbol] = row
        else:
            self.foreign += 1
        self._known.append((key, key2, row))
        if 2 * len(self._known) > self.slots.size:
            self._table(4 * self.slots.size)
            for known in self._known:
                self._insert(*known)
        else:
            self._insert(key, key2, row)
        return row

    def _insert(self, key: int, key2: int, row: int) -> None:
        kernels.insert_row(np.uint64(key), np.uint64(key2), row, self.slots)

    def ordered(self) -> np.ndarray:
        """Return the row numbers in the order of the names."""
        known = self._order.size
        if known != len(self.names):
            new = np.array(self.names[known:], "S16")
            rows = np.argsort(new, kind="stable")
            if known:
                sorted_names = self._sorted_names
                places = np.searchsorted(sorted_names, new[rows])
                self._order = np.insert(self._order, places, known + rows)
                self._sorted_names = np.insert(sorted_names, places, new[rows])
            else:
                self._order, self._sorted_names = rows, new[rows]
        return self._order
