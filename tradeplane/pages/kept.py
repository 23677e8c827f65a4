"""The closed buckets that were kept of a symbol: the shards' store, record files, the archive."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import redis
from django.conf import settings

from execution.models import Run
from shards.archive import SPOOL, SUFFIX, read_parquet
from shards.letters import cell_of
from shards.records import BUCKET_ROW, REVISED_ROW, rows_of_symbol
from signals.nearmiss import Bar
from tradeplane.pages.buckets import Buckets
from tradeplane.runtime.redis import short_client

FILES_MAX = 200


def bars_of(run: Run, symbol: str, k: int, depth: int) -> list[Bar]:
    """Return the symbol's buckets up to k without a gap, oldest first, at most `depth`."""
    return kept_bars(run, symbol, k, depth)[0]


def kept_bars(run: Run, symbol: str, k: int, depth: int) -> tuple[list[Bar], str]:
    """Return the symbol's buckets up to k without a gap, at most `depth`, and where they are from.

    The shards' store is asked first: it holds what they computed with.
    """
    found = _without_gap(_stored(run, symbol, k, depth), k)
    filed = [] if len(found) >= depth else _without_gap(_filed(run, symbol, k, depth), k)
    return (filed, "files") if len(filed) > len(found) else (found, "store" if found else "")


def _without_gap(bars: Iterable[Bar], k: int) -> list[Bar]:
    known, found = {bar.k: bar for bar in bars}, []
    while k in known:
        found.append(known[k])
        k -= 1
    return found[::-1]


def _stored(run: Run, symbol: str, k: int, depth: int) -> list[Bar]:
    try:
        client = short_client(settings.REDIS_STATE_URL)
    except redis.RedisError:
        return []
    return Buckets(client).history(run.pk, run.day, symbol, k, depth)


def _filed(run: Run, symbol: str, k: int, depth: int) -> list[Bar]:
    first_k = k - depth + 1
    found: list[Bar] = []
    for path, dtype in _files(run)[:FILES_MAX]:
        try:
            rows = rows_of_symbol(path, symbol, first_k, k, dtype)
        except OSError:
            continue
        found += [_bar_of(row) for row in rows]
    return found or [_bar_of(row) for row in _finished(run, symbol, first_k, k)]


def _files(run: Run) -> list[tuple[Path, np.dtype]]:
    """Return the run's record files, and the spools of the archive that are not finished yet."""
    records = (settings.TRADEPLANE_HOME / "records" / run.pk).glob("buckets-*.rows")
    found = [(path, BUCKET_ROW) for path in sorted(records)]
    if settings.ARCHIVE_HOME is not None:
        spools = (settings.ARCHIVE_HOME / str(run.day) / SPOOL).glob(f"{run.pk}-*{SUFFIX}")
        found += [(path, REVISED_ROW) for path in sorted(spools)]
    return found


def _finished(run: Run, symbol: str, first_k: int, last_k: int) -> np.ndarray:
    """Return the rows of a day that is archived already."""
    nothing = np.empty(0, REVISED_ROW)
    if settings.ARCHIVE_HOME is None:
        return nothing
    path = settings.ARCHIVE_HOME / str(run.day) / f"{cell_of(symbol)}.parquet"
    try:
        rows = read_parquet(path)
    except (OSError, ImportError):
        return nothing
    mine = (rows["symbol"] == symbol.encode("ascii", "replace")) & (rows["rev"] == 0)
    return rows[mine & (rows["k"] >= first_k) & (rows["k"] <= last_k)]


def _bar_of(row: Any) -> Bar:
    return Bar(
        k=int(row["k"]),
        high=float(row["high"]),
        low=float(row["low"]),
        close=float(row["close"]),
        volume=int(row["volume"]),
        trades=int(row["trades"]),
        vwap=float(row["vwap"]),
        synthetic=bool(row["synthetic"]),
    )
