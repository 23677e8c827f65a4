"""The slow twin of the bucket book: dicts, integers and fractions, one print after the other.

Written from DESIGN 12 and the condition table, not from the kernels.
"""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

NO_PRICE = {
    "A": set("BCHIMNPQRTUVZ479"),
    "B": set("BCHIMNPQRTUVZ479"),
    "C": set("CGHIMNPQRTUVWZ479"),
    "N": set("CINPRTU"),
    "O": set("CINPRTUW"),
    "": set("CINPRTU"),
}
NO_VOLUME = {"A": set("MQ9"), "B": set("MQ9"), "C": set("MQ9"), "N": set(), "O": set(), "": set()}
SOLD_LAST = {"A", "B", "C"}
WIDTH_NS = 5_000_000_000


class Tick(NamedTuple):
    """One trade print as the stream has it."""

    symbol: str
    ts_ns: int
    id: int
    exchange: str
    price: float
    size: int
    conditions: tuple[str, ...]
    tape: str

    @property
    def sold_last(self) -> bool:
        return "L" in self.conditions and self.tape in SOLD_LAST

    @property
    def sets_price(self) -> bool:
        return not NO_PRICE[self.tape] & set(self.conditions)

    @property
    def counts(self) -> bool:
        return not NO_VOLUME[self.tape] & set(self.conditions)

    @property
    def order(self) -> tuple[int, int, str]:
        return self.ts_ns, self.id, self.exchange


class Bar(NamedTuple):
    """One closed bucket."""

    symbol: str
    k: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    vwap: float
    synthetic: bool


def bars(ticks: Iterable[Tick], open_ns: int, close_ns: int, last_k: int) -> list[Bar]:
    """Return every bar up to bucket `last_k`, sorted by (k, symbol); no print is late."""
    waiting: dict[str, dict[int, set[Tick]]] = defaultdict(lambda: defaultdict(set))
    for tick in ticks:
        if tick.price > 0 and tick.size > 0 and open_ns <= tick.ts_ns < close_ns:
            waiting[tick.symbol][tick.ts_ns // WIDTH_NS].add(tick)  # a set: duplicates count once
    found = []
    for symbol, buckets in waiting.items():
        close = None
        for k in range(open_ns // WIDTH_NS, last_k + 1):
            bar = _bar(symbol, k, sorted(buckets.get(k, ()), key=lambda t: t.order), close)
            if bar is not None:
                found.append(bar)
                close = bar.close
    return sorted(found, key=lambda bar: (bar.k, bar.symbol))


def _bar(symbol: str, k: int, ticks: list[Tick], previous: float | None) -> Bar | None:
    candidates = [tick for tick in ticks if tick.sets_price]
    priced = [t for t in candidates if not t.sold_last or t is candidates[-1]]
    counted = [tick for tick in ticks if tick.counts]
    if not priced and previous is None:
        return None
    averaged = [t for t in counted if t in priced or "I" in t.conditions]
    micro = sum(round(t.price * 1e6) * t.size for t in averaged)
    shares = sum(t.size for t in averaged)
    prices = [t.price for t in priced] or [previous]
    vwap = float(Fraction(micro, shares * 1_000_000)) if shares else prices[-1]
    return Bar(
        symbol, k, prices[0], max(prices), min(prices), prices[-1],
        sum(t.size for t in counted), len(counted), vwap, not priced,
    )  # fmt: skip
