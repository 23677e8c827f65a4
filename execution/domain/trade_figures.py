"""What a closed trade was like: slippage, how far it went for and against us, what came after.

Pure; prices USD as Decimal, times UTC ns. Bucket rows are those of `lab buckets`: whoever has none
gets None, never an invented number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

BUCKET_NS = 5_000_000_000
MARKOUTS_S = (60, 300)
BPS = Decimal(10_000)
HUNDREDTH = Decimal("0.01")
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Bar:
    """One bucket of the symbol."""

    k: int
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, kw_only=True)
class TradeFacts:
    """A closed round trip. `decided`: the price that the decision was made on, None: not kept."""

    entry: Decimal  # average fill
    exit: Decimal
    stop: Decimal  # as planned
    level: Decimal | None  # what the exit was meant to get: the leg's price; None: the market
    decided: Decimal | None
    opened_ns: int
    closed_ns: int


@dataclass(frozen=True, kw_only=True)
class TradeFigures:
    """bps of the entry; R is the planned risk per share; both to two decimals.

    None: no buckets of that time.
    """

    entry_slippage_bps: Decimal | None  # positive: paid more than at the decision
    exit_slippage_bps: Decimal | None  # positive: got less than the level
    mae_r: Decimal | None  # the worst it was against us, in R, not positive
    mfe_r: Decimal | None  # the best it was for us, in R, not negative
    markouts_bps: dict[int, Decimal | None]  # after the exit, by seconds; positive: left too early


def rounded(value: Decimal) -> Decimal:
    """Return a figure to the two decimals that every output has; no zero has a minus."""
    return value.quantize(HUNDREDTH) + 0


def in_r(amount: Decimal, risk: Decimal) -> Decimal | None:
    """Return an amount in R, rounded; both in USD. None: nothing was at risk."""
    return rounded(amount / risk) if risk > 0 else None


def figures(trade: TradeFacts, bars: Iterable[Bar]) -> TradeFigures:
    """Return the figures of a trade from the buckets of its symbol, in any order."""
    rows = sorted(bars, key=lambda bar: bar.k)
    risk = trade.entry - trade.stop
    first, last = trade.opened_ns // BUCKET_NS + 1, trade.closed_ns // BUCKET_NS
    held = [bar for bar in rows if first <= bar.k < last]
    lows = [min(bar.low for bar in held)] if held else []
    highs = [max(bar.high for bar in held)] if held else []
    ends = [trade.entry, trade.exit]
    return TradeFigures(
        entry_slippage_bps=_slipped(trade.entry, trade.decided, trade.entry),
        exit_slippage_bps=_slipped(trade.level, trade.exit, trade.entry),
        mae_r=in_r(min(Decimal(0), min([*lows, *ends]) - trade.entry), risk) if rows else None,
        mfe_r=in_r(max(Decimal(0), max([*highs, *ends]) - trade.entry), risk) if rows else None,
        markouts_bps={s: _markout(trade, rows, s) for s in MARKOUTS_S},
    )


def _slipped(worse: Decimal | None, better: Decimal | None, of: Decimal) -> Decimal | None:
    return None if worse is None or better is None else _bps(worse - better, of)


def _markout(trade: TradeFacts, rows: Sequence[Bar], seconds: int) -> Decimal | None:
    k = (trade.closed_ns + seconds * SECOND_NS) // BUCKET_NS
    then = next((bar.close for bar in rows if bar.k == k), None)
    return None if then is None else _bps(then - trade.exit, trade.entry)


def _bps(difference: Decimal, of: Decimal) -> Decimal:
    return rounded(difference / of * BPS)
