"""What a round's decision is made from, and what it says: plain frozen data.

`msgspec.msgpack` packs and unpacks a `RoundInput` as it is, so a stored round can be decided again.
Money and prices are `Decimal` USD, features floats, times UTC epoch ns of the market clock.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class SymbolFacts:
    """What the hub knows of one symbol today."""

    trades_today: int = 0
    last_exit_ns: int | None = None
    last_resume_ns: int | None = None  # end of its newest halt
    pauses_today: int = 0
    blocked: str = ""  # why it must not be entered today; "" is free
    sector: str | None = None
    beta: float | None = None
    rvol: float | None = None


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
    universe: frozenset[str]
    account: AccountSnapshot | None
    account_as_of_ns: int
    exposures: tuple[Exposure, ...] = ()
    busy_symbols: frozenset[str] = frozenset()  # any position or open order, here or at the broker
    reserved_usd: Decimal = Decimal(0)  # of intents that the broker's account does not show yet
    day_pnl: Decimal | None = Decimal(0)  # realized + open
    daily_loss_latched: bool = False
    trades_today: int = 0
    take_profits_today: int = 0
    consecutive_losses: int = 0
    last_exit_ns: int | None = None
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    kill_switch: str = "none"
    stream_connected: bool = True
    unresolved_order: bool = False
    doubt: str = ""  # why entries are locked, whatever the market does
    unprotected: bool = False
    mixed_versions: bool = False
    market_halted: bool = False
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


@dataclass(frozen=True, kw_only=True)
class Streak:
    """How many rounds in a row, up to and with k, a candidate passed everything."""

    k: int
    count: int
    params_version: int


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate's answer. `passed` None is unknown; `open` is what counts."""

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

    @property
    def notional(self) -> Decimal:
        return self.quantity * self.limit


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
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
            "gates": [gate.as_dict() for gate in self.gates],
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
