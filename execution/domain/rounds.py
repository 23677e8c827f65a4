"""What a round's decision is made from, and what it says: plain frozen data.

`msgspec.msgpack` packs and unpacks a `RoundInput` as it is, so a stored round can be decided again.
Money and prices are `Decimal` USD, features floats, times UTC epoch ns of the market clock.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec

from execution.brokers.port import AccountSnapshot
from signals.messages import Candidate, Gravity
from signals.session import BUCKET_NS


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """A busy slot: a position, a working entry, or a reservation that is not sent yet."""

    symbol: str
    quantity: int
    entry: Decimal  # average fill, else the limit
    stop: Decimal
    sector: str | None = None
    returns_1m_bps: tuple[float, ...] = ()  # up to 60, oldest first, ending at this round
    #: Of a protected position that nobody leaves yet; None for the rest.
    position: "OpenPosition | None" = None


@dataclass(frozen=True, kw_only=True)
class OpenPosition:
    """What the replacement rule asks of an open position."""

    opened_ns: int
    score: float  # it was entered with
    progress_r: float | None  # gain now, in units of its first risk; None unknown
    round_trip_bps: float


@dataclass(frozen=True, kw_only=True)
class SymbolFacts:
    """What the hub knows of one symbol today."""

    trades_today: int = 0
    last_exit_ns: int | None = None
    last_resume_ns: int | None = None  # end of its newest halt
    pauses_today: int = 0
    blocked: str = ""  # why it must not be entered now; "" is free
    sector: str | None = None
    beta: float | None = None
    rvol: float | None = None  # volume so far ÷ the usual by this time of day
    has_news: bool | None = None  # in the last 30 minutes; None: no news channel. Never scored


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """One index symbol as of a closed bucket; returns in percent."""

    symbol: str
    as_of_ns: int
    last_k: int
    return_5m_percent: float | None
    sigma_5m_percent: float | None
    closes: tuple[float, ...] = ()  # newest buckets, oldest first, the last one is last_k's


@dataclass(frozen=True, kw_only=True)
class FuturesPart:
    """One leg of the medium-term trend (design: trigger 4.2)."""

    symbol: str
    weight: float
    sign: int
    ema_gap_bps: float
    scale_bps: float
    ret15_z: float


@dataclass(frozen=True, kw_only=True)
class RoundInput:
    """Everything `decide` may look at for bucket k; frozen when the round closes.

    A value of None is unknown: the gate that needs it stays closed, except where the gate's own
    text says otherwise.
    """

    run: str
    k: int
    now_ns: int
    params_version: int
    mode: str
    day: date
    open_ns: int
    close_ns: int
    candidates: tuple[Candidate, ...]
    coverage: float
    n_symbols: int
    n_expected: int
    universe: frozenset[str]  # of today, at least as far as its candidates are concerned
    account: AccountSnapshot | None
    account_as_of_ns: int
    universe_size: int = 0  # of the whole of it; 0: `universe` is the whole
    exposures: tuple[Exposure, ...] | None = ()
    #: Any position or open order, here or at the broker.
    busy_symbols: frozenset[str] | None = frozenset()
    reserved_usd: Decimal = Decimal(0)  # of intents that the broker's account does not show yet
    day_pnl: Decimal | None = Decimal(0)  # realized + open
    daily_loss_latched: bool = False
    trades_today: int | None = 0  # None: nothing is known of today's trades (G8 to G11)
    take_profits_today: int = 0
    consecutive_losses: int = 0
    last_exit_ns: int | None = None  # None: no exit today
    last_replacement_ns: int | None = None
    unsettled_usd: Decimal = Decimal(0)  # proceeds of today's sales (day_trade_policy cash)
    day_trades_5d: int = 0  # round trips of the account in this and the last four sessions
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    kill_switch: str = "none"  # "unreadable": nobody knows; it counts as on
    stream_connected: bool | None = True
    unresolved_order: bool | None = False
    doubt: str = ""  # why entries are locked, whatever the market does
    unprotected: bool = False
    mixed_versions: bool = False
    market_halted: bool | None = False
    feed_has_luld: bool = False
    relay_lag_ms: float | None = 0.0
    clock_skew_ms: float | None = 0.0
    api_calls_left: int | None = None
    gravity: Gravity = field(default_factory=Gravity)
    index: dict[str, IndexState] = field(default_factory=dict)
    futures: tuple[FuturesPart, ...] = ()
    futures_as_of_ns: int | None = None

    @property
    def bucket_end_ns(self) -> int:
        """End of the round's bucket; what is decided is measured from here, not from now."""
        return (self.k + 1) * BUCKET_NS

    @property
    def account_asked(self) -> bool:
        """The hub asks the broker for the account only when a candidate may fire."""
        return not self.candidates or any(not c.shadow for c in self.candidates)

    @cached_property
    def claims(self) -> Counter[tuple[str, int]]:
        """How many candidates claim a symbol in a bucket, counted once for the whole round."""
        distinct = {(c.candidate_id, c.symbol, c.k) for c in self.candidates}
        return Counter((symbol, k) for _, symbol, k in distinct)


@dataclass(frozen=True, kw_only=True)
class Streak:
    """How many rounds in a row, up to and with k, a candidate passed everything."""

    k: int
    count: int
    params_version: int


class GateResult(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename={"passed": "pass"}):
    """One gate's answer. `passed` None is unknown; `open` is what counts.

    A struct that the collector does not follow (it holds plain values only), because a round of
    thousands of candidates makes hundreds of thousands of them.
    """

    id: str
    passed: bool | None
    open: bool
    text: str
    value: float | str | bool | None = None
    op: str = ""
    limit: float | str | bool | None = None
    margin: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "pass": self.passed,
            "open": self.open,
            "value": self.value,
            "op": self.op,
            "limit": self.limit,
            "margin": self.margin,
            "text": self.text,
        }


@dataclass(frozen=True, kw_only=True)
class EntryPlan:
    """One entry to make: prices in whole ticks, quantity in whole shares."""

    symbol: str
    candidate_id: str
    k: int
    rank: int
    score: float
    quantity: int
    limit: Decimal
    take_profit: Decimal
    stop_loss: Decimal
    entry_style: str
    time_in_force: str
    take_profit_percent: float
    stop_loss_percent: float
    planned_loss: Decimal  # at the stop, with slippage
    signal_price: Decimal  # close of the bucket
    expires_ns: int  # never sent after this (max_signal_age_ms)
    params_version: int
    sector: str | None = None
    round_trip_bps: float = 0.0  # cost of getting in and out, as the spread check saw it

    @property
    def notional(self) -> Decimal:
        return self.quantity * self.limit


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A much better candidate asks the weakest open position to make room; it enters later."""

    leaves: str  # symbol of the position to close
    enters: str
    candidate_id: str
    text: str


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why one candidate did or did not fire in one round (design: trigger 8.1)."""

    run: str
    k: int
    symbol: str
    candidate_id: str
    shadow: bool
    outcome: str  # fired | not_fired | shadow | late_for_round | skipped_stale
    primary_id: str  # first failed gate, "" when fired
    primary_reason: str
    all_failed: tuple[str, ...]
    streak: int
    rank: int | None
    params_version: int
    mode: str
    clock: dict[str, int]
    features: dict[str, float | int | None]
    quote: dict[str, float | int | None] | None
    gates: tuple[GateResult, ...]
    confidence: dict[str, float]
    checks: tuple[dict[str, Any], ...]
    score: dict[str, Any]
    plan: dict[str, Any] | None
    would_be_action: str  # enter | none
    beat: tuple[dict[str, Any], ...] = ()  # fired only: the ranked losers

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able data; prices are strings."""
        return {**self.fields(), "gates": [gate.as_dict() for gate in self.gates]}

    def fields(self) -> dict[str, Any]:
        """Return the record as its encoder takes it: the gates as they are."""
        return {
            "round": self.k,
            "symbol": self.symbol,
            "candidate_id": self.candidate_id,
            "shadow": self.shadow,
            "outcome": self.outcome,
            "primary_id": self.primary_id,
            "primary_reason": self.primary_reason,
            "all_failed": list(self.all_failed),
            "streak": self.streak,
            "rank": self.rank,
            "params_version": self.params_version,
            "mode": self.mode,
            "clock": self.clock,
            "features": self.features,
            "quote": self.quote,
            "gates": self.gates,
            "confidence": self.confidence,
            "checks": list(self.checks),
            "score": self.score,
            "plan": self.plan,
            "would_be_action": self.would_be_action,
            "beat": list(self.beat),
        }


@dataclass(frozen=True, kw_only=True)
class RoundDecision:
    """The answer of one round: every record, the entries in rank order, the streaks to keep."""

    records: tuple[DecisionRecord, ...]  # sorted by symbol
    entries: tuple[EntryPlan, ...]
    streaks: dict[str, Streak]  # by candidate id
    funnel: dict[str, Any]
    replacement: Replacement | None = None
