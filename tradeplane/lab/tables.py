"""The laboratory's tables: what a replay yields, as CSV.

Numbers are written so that reading them gives the same bits (`repr` of a float); an undefined
number is an empty cell. A table is written beside its place and moved there when it is complete.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from shards.records import BUCKET_ROW, bucket_hash
from signals.digest import digest
from signals.messages import Candidate
from signals.session import BUCKET_NS
from tradeplane.lab.replay import Replayed

BUCKET_COLUMNS = (
    "symbol", "k", "start_ns", "open", "high", "low", "close", "volume", "trades", "vwap",
    "synthetic",
)  # fmt: skip
OSCILLATOR_COLUMNS = ("symbol", "k", "ao", "ac", "x_bps", "z", "accel")
CANDIDATE_COLUMNS = (
    "candidate_id", "symbol", "k", "shadow", "born_k", "b", "flat_len", "x", "z", "accel", "ao",
    "ac", "slow_mean", "surge", "cum_volume", "cum_dollars", "jump_share", "burst_trades",
    "sigma5_bps", "sigma1m_bps", "noise_gain", "close", "base_close", "volume_1m", "volume_5m",
    "dollar_volume_1m", "synthetic_share",
)  # fmt: skip
Row = Sequence[object]


class Table:
    """One table in the making: its columns, its rows, and what to say about it at the end."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.count = 0
        self.symbols: set[str] = set()

    def rows(self, step: Replayed) -> Iterator[Row]:
        """Yield the rows of one bucket, by symbol."""
        raise NotImplementedError

    def summary(self) -> dict[str, object]:
        """Return what the command prints with --json."""
        return {"rows": self.count, "symbols": sorted(self.symbols), "hash": self.hash()}

    def hash(self) -> str:
        """Return the hash that equal runs share."""
        raise NotImplementedError


class Buckets(Table):
    """Every closed bucket; its hash is the run's hash of buckets."""

    columns = BUCKET_COLUMNS

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[np.ndarray] = []

    def rows(self, step: Replayed) -> Iterator[Row]:
        closed = np.concatenate([each.rows for each in step.closed])
        self._kept.append(closed)
        for row in closed[np.argsort(closed["symbol"], kind="stable")].tolist():
            k, symbol, *prices, volume, trades, vwap, synthetic = row
            yield (
                symbol.decode(), k, k * BUCKET_NS, *prices, volume, trades, vwap, int(synthetic)
            )  # fmt: skip

    def hash(self) -> str:
        return bucket_hash(np.concatenate([np.empty(0, BUCKET_ROW), *self._kept]))


class Oscillator(Table):
    """The oscillator of every closed bucket."""

    columns = OSCILLATOR_COLUMNS

    def __init__(self) -> None:
        super().__init__()
        self._sha = hashlib.sha256()

    def rows(self, step: Replayed) -> Iterator[Row]:
        each = sorted(row for engine in step.engines for row in engine.oscillator_rows())
        for symbol, *values in each:
            self._sha.update(digest([(symbol, step.k, *values)]).encode())
            yield symbol, step.k, *values

    def hash(self) -> str:
        return self._sha.hexdigest()


class Candidates(Table):
    """Candidates and near misses (shadow), one row per bucket of their life."""

    columns = CANDIDATE_COLUMNS

    def __init__(self) -> None:
        super().__init__()
        self._sha = hashlib.sha256()
        self.births = 0

    def rows(self, step: Replayed) -> Iterator[Row]:
        found: list[Candidate] = []
        for closed in step.closed:
            found += closed.report_parts["candidates"]
            self.births += closed.report_parts["births"]
        for one in sorted(found, key=lambda each: each.symbol):
            values = [getattr(one, name) for name in CANDIDATE_COLUMNS]
            self._sha.update(digest([values]).encode())
            yield values

    def summary(self) -> dict[str, object]:
        return {**super().summary(), "births": self.births}

    def hash(self) -> str:
        return self._sha.hexdigest()


def write_table(path: Path, table: Table, steps: Iterable[Replayed]) -> None:
    """Write the table; nothing is left at `path` when a step fails."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", newline="") as file:
            write = csv.writer(file, lineterminator="\n").writerow
            write(table.columns)
            for step in steps:
                _write_rows(write, table, step)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_rows(write: Callable[[Row], object], table: Table, step: Replayed) -> None:
    symbol_at = table.columns.index("symbol")
    for row in table.rows(step):
        write([_cell(value) for value in row])
        table.count += 1
        table.symbols.add(str(row[symbol_at]))


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else value


TABLES: dict[str, type[Table]] = {
    "buckets": Buckets,
    "oscillator": Oscillator,
    "candidates": Candidates,
}
