"""The archive's buckets of a trade, for what its figures need."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

from execution.domain.trade_figures import BUCKET_NS, Bar
from execution.models import Trade
from shards.archive import read_parquet
from shards.letters import cell_of

AFTER_BUCKETS = 62  # five minutes and a little


def reader(archive: Path) -> Callable[[Trade], Iterable[Bar]]:
    """Return a function that gives the buckets around a trade; none where the archive has none."""

    def bars(trade: Trade) -> list[Bar]:
        path = archive / f"{trade.day}" / f"{cell_of(trade.symbol)}.parquet"
        if not path.is_file() or trade.opened_ns is None or trade.closed_ns is None:
            return []
        return _read(path, trade.symbol, trade.opened_ns, trade.closed_ns)

    return bars


def _read(path: Path, symbol: str, opened_ns: int, closed_ns: int) -> list[Bar]:
    first, last = opened_ns // BUCKET_NS, closed_ns // BUCKET_NS + AFTER_BUCKETS
    rows = read_parquet(path)
    k, mine = rows["k"], rows["symbol"] == symbol.encode()
    newest: dict[int, tuple[int, Bar]] = {}
    for row in rows[mine & (k >= first) & (k <= last)]:
        number, revision = int(row["k"]), int(row["rev"])
        high, low, close = (Decimal(str(float(row[name]))) for name in ("high", "low", "close"))
        known = newest.get(number)
        if known is None or known[0] <= revision:
            newest[number] = (revision, Bar(number, high, low, close))
    return [bar for _, bar in newest.values()]
