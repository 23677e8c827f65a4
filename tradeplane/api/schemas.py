"""What goes in and out. Money is text with its decimals; `*_ns` are UTC nanoseconds as integers."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from accounts.domain.ledger import Ledger as BooksLedger
from accounts.models import JournalEntry
from execution.domain.orders import OrderStatus, TradeState

LIMIT_DEFAULT, LIMIT_MAX = 50, 500
ID_MAX = 2**53


def _plain(value: object) -> object:
    return f"{value:f}" if isinstance(value, Decimal) else value


Money = Annotated[
    str, BeforeValidator(_plain), Field(pattern=r"^-?\d+(\.\d+)?$", examples=["13.930000"])
]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9./-]{1,16}$", examples=["AIG"])]
RunId = Annotated[str, Field(pattern=r"^[!-~]{1,40}$", description="default: the newest run")]
Id = Annotated[int, Field(ge=1, le=ID_MAX)]
Version = Annotated[int, Field(ge=0, le=ID_MAX)]


def _one_line(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "say why, it is kept")
    if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in text):
        raise PydanticCustomError("control", "must be one line, without control characters")
    return text


#: One line of text from a person; no control characters, which would forge lines of a log.
Line = Annotated[str, AfterValidator(_one_line)]
Outcome = Literal["fired", "not_fired", "shadow"]


class Strict(Schema):
    """A body: a name that is not known is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


# --- what may be asked ---------------------------------------------------------------------------


class PageAsked(Schema):
    """Newest first; `before` is the `next` of the page before."""

    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    before: Id | None = None


class HistoryAsked(Schema):
    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)


class OfRun(PageAsked):
    run: RunId | None = None
    symbol: Symbol | None = None


class DecisionsAsked(OfRun):
    k: int | None = Field(None, ge=0, le=ID_MAX, description="bucket number: ts_ns // 5e9")
    outcome: Outcome | None = None


class FunnelAsked(Schema):
    k: int | None = Field(None, ge=0, le=ID_MAX, description="one round; without it the day")
    run: RunId | None = None


class FunnelOut(Schema):
    """Candidate-rounds left after each stage: G, S, C, score, confirm, P, rank, fired."""

    k: int | None
    stages: dict[str, int]
    closed: dict[str, int] = Field(description="how often each gate stood in the way")


class WhyNotAsked(Schema):
    symbol: Symbol
    k: int | None = Field(None, ge=0, le=ID_MAX, description="bucket number: ts_ns // 5e9")
    at: str | None = Field(None, pattern=r"^[0-9:]{4,8}$", description="or New York: 10:30:05")
    run: RunId | None = None


class ThresholdOut(Schema):
    id: str
    name: str = Field(description="the parameter; empty for T1")
    value: float | None
    op: str
    limit: float
    margin: float | None = Field(description="below 0: so much is missing")
    passed: bool
    text: str


class WhyNotOut(Schema):
    """`state`: decided (read the decision), recomputed, young, outside the session, gone."""

    symbol: str
    k: int
    state: str
    said: str
    decision_id: int | None
    tests: list[ThresholdOut]
    changes: list[dict[str, str]]
    badge: str = Field(description="how sure it is that the changes would have made a candidate")
    note: str


class TradesAsked(OfRun):
    state: TradeState | None = None
    day: date | None = None


class OrdersAsked(OfRun):
    status: OrderStatus | None = None
    trade: Id | None = None


class NothingAsked(Schema):
    """A list without filters."""


class PositionsAsked(Schema):
    account: Id | None = Field(None, description="default: the account of the newest run")


class LedgerAsked(PageAsked):
    account: Id | None = Field(None, description="default: the account of the newest run")
    symbol: Symbol | None = None
    ledger: BooksLedger | None = None
    kind: JournalEntry.Kind | None = None
    day: date | None = None


# --- status --------------------------------------------------------------------------------------


class RoundOut(Schema):
    k: int
    state: str
    closed_ns: int
    n_symbols: int
    n_candidates: int
    n_shadow: int
    coverage: float
    flags: list[Any]


class StepOut(Schema):
    name: str
    state: str
    reason: str
    at: datetime


class TodayOut(Schema):
    trades: int
    take_profits: int
    consecutive_losses: int
    realized: Money


class StatusOut(Schema):
    run: str | None
    state: str = Field(description="off, starting, running, ended or failed")
    mode: str | None
    account_number: str | None
    day: date | None
    market_ns: int
    kill_switch: str
    parameters_version: int = Field(description="active; a run takes it two buckets later")
    run_parameters_version: int | None
    blocked_by: list[str] = Field(description="what keeps entries off until the day is over")
    round: RoundOut | None
    startup: list[StepOut]
    today: TodayOut | None
    shards: dict[str, dict[str, str]] | None = Field(
        description="their own words by number; null when Redis does not answer"
    )


# --- decisions, trades, orders -------------------------------------------------------------------


class GateOut(Schema):
    id: str
    text: str


class CandidateOut(Schema):
    symbol: str
    candidate_id: str
    k: int
    outcome: str
    reason: str
    shadow: bool
    streak: int
    rank: int | None
    score: float | None
    held_back_by: list[GateOut]
    features: dict[str, float | int | None]


class CandidatesOut(Schema):
    k: int | None = Field(description="the newest bucket that had any")
    items: list[CandidateOut]


class DecisionOut(Schema):
    id: int
    run_id: str
    k: int
    symbol: str
    candidate_id: str
    outcome: str
    primary_reason: str
    shadow: bool
    streak: int
    rank: int | None
    score: float | None


class DecisionDetail(DecisionOut):
    record: dict[str, Any] = Field(description="every gate, figure and plan, as decided")


class Decisions(Schema):
    items: list[DecisionOut]
    next: int | None


class TradeOut(Schema):
    id: int
    run_id: str
    account_number: str
    day: date
    slot: int
    symbol: str
    state: str
    k: int
    candidate_id: str
    score: float
    quantity: int
    limit: Money
    take_profit: Money
    stop_loss: Money
    filled_quantity: int
    entry_value: Money
    exit_quantity: int
    exit_value: Money
    realized_pnl: Money
    parameters_version: int
    reserved_ns: int
    opened_ns: int | None
    protected_ns: int | None
    naked_ns: int
    exit_reason: str
    closed_ns: int | None


class Trades(Schema):
    items: list[TradeOut]
    next: int | None


class OrderOut(Schema):
    id: int
    run_id: str
    trade_id: int
    parent_id: int | None
    purpose: str = Field(description="e entry, tp and sl legs, o protection, x exit, f flatten")
    client_order_id: str
    broker_id: str | None
    symbol: str
    side: str
    type: str
    quantity: int
    filled_quantity: int
    filled_value: Money
    limit: Money | None
    stop: Money | None
    take_profit: Money | None
    stop_loss: Money | None
    time_in_force: str
    status: str
    venue_status: str
    reason: str
    created_ns: int
    sent_ns: int | None
    terminal_ns: int | None


class Orders(Schema):
    items: list[OrderOut]
    next: int | None


# --- books ---------------------------------------------------------------------------------------


class AccountOut(Schema):
    id: int
    number: str
    run_id: str
    mode: str
    opened_on: date
    closed_through: date | None


class AccountDetail(AccountOut):
    cash: Money
    realized: Money
    fees: Money
    positions: int


class Accounts(Schema):
    items: list[AccountOut]
    next: int | None


class PositionOut(Schema):
    symbol: str
    quantity: int
    cost: Money
    average_price: Money


class Positions(Schema):
    account: int | None
    items: list[PositionOut]


class PostingOut(Schema):
    id: int
    entry_id: int
    source_key: str
    kind: str
    occurred_ns: int
    session_date: date
    ledger: str
    symbol: str
    amount_usd: Money
    quantity: int
    order_ref: str
    reason: str
    reverses_id: int | None


class Ledger(Schema):
    items: list[PostingOut]
    next: int | None


# --- parameters and kill switch ------------------------------------------------------------------


class ParametersOut(Schema):
    version: int
    values: dict[str, Any]


class ParameterOut(Schema):
    name: str
    kind: str
    unit: str
    default: Any
    low: float | None
    high: float | None
    choices: list[str]
    group: str
    help: str


class ChangeOut(Schema):
    version: int
    base: int
    author: str
    comment: str
    saved_at: datetime
    changed: dict[str, tuple[Any, Any]] = Field(description="name → [old, new]")


class ParametersIn(Strict):
    """Either `values` (every name) or `changes` (names that differ); saved as one whole set."""

    base_version: int = Field(ge=0, le=ID_MAX, description="the active version you started from")
    reason: Line = Field(max_length=300)
    values: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    expires_minutes: int | None = Field(
        None, ge=1, le=390, description="of market time: then the change goes back by itself"
    )


class PreviewIn(Strict):
    """The set to try: either `values` (every name) or `changes` (names that differ)."""

    minutes: int = Field(30, ge=1, le=120, description="of market time, up to the newest round")
    values: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None


class WhatIfIn(Strict):
    changes: dict[str, Any]


class WhatIfOut(Schema):
    badge: str
    note: str
    classes: dict[str, str]
    outcome: str | None = Field(description="null: it cannot be told; reason says why")
    reason: str
    trials: int = Field(description="different sets tried so far on recorded data; 0: not counted")


class PreviewChange(Schema):
    k: int
    symbol: str
    candidate_id: str
    exact: bool = Field(description="false: after the first difference the day would be another")
    score: float | None
    was: str = Field(description="the reason that was recorded")
    would: str = Field(description="the reason under the other set")
    decision_id: int | None


class PreviewOut(Schema):
    """What would have fired.

    `badge`: exact, at least, recomputed, by the day as it was, refused, none.
    """

    badge: str
    note: str
    classes: dict[str, str] = Field(description="A, B, C, D or - of each changed parameter")
    first_k: int
    last_k: int
    rounds: int
    short: bool = Field(description="too many candidates: only the newest rounds were looked at")
    unknown: int = Field(description="candidates left out: their buckets are gone (class B)")
    trials: int = Field(description="different sets tried so far on recorded data; 0: not counted")
    fired_before: int
    fired: int
    gained: list[PreviewChange]
    lost: list[PreviewChange]


class SavedOut(Schema):
    version: int
    advice: list[str] = Field(description="allowed, but perhaps not meant")


class SwitchOut(Schema):
    level: str
    reason: str
    actor: str
    at: datetime | None


class SwitchIn(Strict):
    level: Literal["pause", "cancel_entries", "flatten", "freeze"]
    reason: Line = Field(max_length=200)


class ResetIn(Strict):
    """`from_level` is the level you mean to end: a switch that moved since is not reset."""

    from_level: Literal["pause", "cancel_entries", "flatten", "freeze"]
    reason: Line = Field(min_length=10, max_length=200, description="typed by a person")
