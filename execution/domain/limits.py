"""The last look before an order leaves: our own refusals, each with a code.

Runs right before the attempt is committed, on the newest data. Missing data denies. Source: design,
reliability 3.15; trigger 5.2 (pre-trade recheck).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Any

from execution.brokers.port import AccountSnapshot
from execution.domain.bracket import HUNDRED, geometry_problem
from execution.domain.gates import MINUTE_NS, SECOND_NS
from execution.domain.portfolio import COST_FACTOR, slots
from execution.domain.prices import decimal_of
from execution.domain.rounds import EntryPlan
from signals.confidence.spread import quote_problem, spread_bps
from signals.messages import Quote

Number = Decimal | float
MICRO = Decimal("0.000001")
MAX_SHARES = 50_000
COLLAR = Decimal("0.01")  # of the ask, of the last price
FAT_FINGER = 5  # times the usual value of our entries
TRADE_MAX_AGE_S = 5
DUPLICATE_S = 60
ENTRIES_PER_MINUTE = 5
REQUESTS_PER_MINUTE = 60
RECONCILED_WITHIN_S = 90
LEASE_NEEDED_MS = 6000  # the longest a request may take, and two seconds


class DenyCode(StrEnum):
    """Every reason of ours not to send an entry; `means` is the line of the docs' table."""

    means: str

    def __new__(cls, value: str, means: str) -> "DenyCode":
        made = str.__new__(cls, value)
        made._value_, made.means = value, means
        return made

    KILL_SWITCH = "kill_switch", "the kill switch is not at `none`"
    MODE = "mode", "trading mode and account differ, or trading is off"
    LEASE = "lease", "the hub's lease is unknown or ends within 6 s"
    PARAMETERS = (
        "parameters",
        "the set that decided, or the one that counts now, is gone, invalid or of another mode",
    )
    SIGNAL_AGE = "signal_age", "the signal has expired"
    SESSION = (
        "session",
        "the market is closed, or too near its close (`entry_cutoff_min_before_close`)",
    )
    DOUBT = (
        "doubt",
        "since the decision: books and broker differ, an order's fate is unknown or people must"
        " look at it, shares are without protection, or the broker's order news are away",
    )
    RECONCILE = "reconcile", "no clean comparison with the broker in the last 90 s"
    DATA_FLAGS = "data_flags", "the candidate's data carry a flag"
    NOT_TRADABLE = "not_tradable", "the symbol is not in the universe"
    HALTED = "halted", "the symbol is halted, or that is unknown"
    QUOTE = "quote", "no quote, a crossed or one-sided one, or one older than `max_quote_age_ms`"
    SPREAD = "spread", "the spread is over `max_spread_bps`"
    ASK_MOVED = "ask_moved", "the ask has passed the limit"
    TRADE_AGE = "trade_age", "no print in the last 5 s"
    COLLAR = "collar", "the limit is over 1 % from the ask or the last price"
    BAND = "band", "the limit is above the halt band"
    PRICE_FLOOR = "price_floor", "the ask is below `universe_min_price`"
    GEOMETRY = "geometry", "stop, limit and target are not in order, or finer than a tick"
    QUANTITY = "quantity", "under 1 or over 50,000 shares"
    ORDER_VALUE = "order_value", "over `max_notional_percent` of the equity"
    FAT_FINGER = "fat_finger", "over 5 times the median of our entries"
    ACCOUNT = "account", "the account is unknown, old, blocked or not active"
    BUYING_POWER = "buying_power", "not enough free"
    DAILY_LOSS = "daily_loss", "the day's loss has reached `max_daily_loss_percent`"
    LOSSES = "consecutive_losses", "`max_consecutive_losses` reached"
    POSITIONS = "open_positions", "every slot is busy"
    ENTRIES = "entries_today", "`max_trades_per_day` reached"
    SYMBOL_ENTRIES = "symbol_entries_today", "`max_trades_per_symbol_per_day` reached"
    DUPLICATE = "duplicate", "the same symbol was bought in the last 60 s"
    ORDER_RATE = "order_rate", "over 5 entries or 60 requests in a minute"
    API_BUDGET = "api_budget", "what is left of the request budget is reserved for exits"


@dataclass(frozen=True, kw_only=True)
class Denial:
    """Our refusal: nothing is sent, the slot is given back.

    Args: value, limit: what was measured and what is allowed, in the unit of the text; None where
        there is no number, or it is unknown.
    """

    code: DenyCode
    text: str
    value: Decimal | None = None
    limit: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class LimitContext:
    """What is known when it is sent; None is unknown and denies, except where the field says so.

    What only prints tell (halts, bands, last price and print, flags) is as of the round.
    """

    now_ns: int
    mode: str
    account_mode: str  # what the account behind the keys is
    kill_switch: str
    lease_left_ms: float | None  # process clock
    parameters_valid: bool
    open_ns: int
    close_ns: int
    reconciled_ns: int | None  # last clean reconciliation
    doubt: str  # why entries are locked, "" when they are not
    data_flags: tuple[str, ...]
    tradable: bool | None
    halted: bool | None
    quote: Quote | None
    last_price: Decimal | None
    last_trade_ns: int | None
    luld_up: Decimal | None  # None: the feed has no bands, no limit
    account: AccountSnapshot | None
    account_as_of_ns: int
    reserved_usd: Decimal  # other reservations the account does not show yet
    day_pnl: Decimal | None
    consecutive_losses: int
    open_positions: int  # busy slots without this one
    entries_today: int  # without this one
    symbol_entries_today: int
    last_same_entry_ns: int | None  # None: none today
    entries_last_minute: int
    requests_last_minute: int
    api_calls_left: int | None  # None: the broker tells no limit
    unsettled_usd: Decimal = Decimal(0)  # proceeds of today's sales
    usual_value: Decimal | None = None  # median of our entries; None: too few to say


def recheck(plan: EntryPlan, context: LimitContext, parameters: Mapping[str, Any]) -> Denial | None:
    """Return the first reason not to send this entry now; None sends it."""
    return next(denials(plan, context, parameters), None)


def denials(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    """Yield every reason, in fixed order."""
    yield from _may_we(plan, c, p)
    yield from _market(plan, c, p)
    yield from _order(plan, c, p)
    yield from _account(plan, c, p)
    yield from _counts(plan, c, p)


# --- those that are asked once more right before the socket --------------------------------------


def kill_switch(level: str) -> Denial:
    return _denied(DenyCode.KILL_SWITCH, f"The kill switch is at {level}.")


def lease_ends() -> Denial:
    return _denied(DenyCode.LEASE, f"Less than {LEASE_NEEDED_MS} ms are left of the lease.")


def signal_age(late_ns: int) -> Denial:
    late_ms = late_ns / 1e6
    return _denied(DenyCode.SIGNAL_AGE, f"The signal expired {late_ms:.0f} ms ago.", late_ms, 0)


def doubt(why: str) -> Denial:
    return _denied(DenyCode.DOUBT, f"Entries are locked: {why}.")


def _denied(
    code: DenyCode, text: str, value: Number | None = None, limit: Number | None = None
) -> Denial:
    return Denial(code=code, text=text, value=_exact(value), limit=_exact(limit))


def _exact(number: Number | None) -> Decimal | None:
    """Return a figure for the record, to its sixth decimal."""
    if number is None or not isfinite(number):
        return None
    return Decimal(str(number)).quantize(MICRO)


def _since(now_ns: int, then_ns: int | None, unit_ns: int) -> float | None:
    return None if then_ns is None else (now_ns - then_ns) / unit_ns


def _may_we(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    if c.kill_switch != "none":
        yield kill_switch(c.kill_switch)
    if c.mode == "off" or c.mode != c.account_mode:
        text = f"Trading mode is {c.mode}, the account is {c.account_mode}."
        yield _denied(DenyCode.MODE, text)
    if c.lease_left_ms is None or c.lease_left_ms < LEASE_NEEDED_MS:
        text = f"The lease has {c.lease_left_ms} ms left; {LEASE_NEEDED_MS} are needed."
        yield _denied(DenyCode.LEASE, text, c.lease_left_ms, LEASE_NEEDED_MS)
    if not c.parameters_valid:
        yield _denied(DenyCode.PARAMETERS, "The parameters of this entry are not valid.")
    if c.now_ns > plan.expires_ns:
        yield signal_age(c.now_ns - plan.expires_ns)
    cutoff_ns = c.close_ns - p["entry_cutoff_min_before_close"] * MINUTE_NS
    if not c.open_ns <= c.now_ns <= cutoff_ns:
        text, left = (
            "The market is closed or too near its close.",
            (c.close_ns - c.now_ns) / MINUTE_NS,
        )
        yield _denied(DenyCode.SESSION, text, left, p["entry_cutoff_min_before_close"])
    if c.doubt:
        yield doubt(c.doubt)
    clean = c.reconciled_ns is not None
    if not clean or c.now_ns - (c.reconciled_ns or 0) > RECONCILED_WITHIN_S * SECOND_NS:
        text = f"No clean reconciliation in the last {RECONCILED_WITHIN_S} s."
        age_s = _since(c.now_ns, c.reconciled_ns, SECOND_NS)
        yield _denied(DenyCode.RECONCILE, text, age_s, RECONCILED_WITHIN_S)
    if c.data_flags:
        text = f"Data flags: {', '.join(c.data_flags)}."
        yield _denied(DenyCode.DATA_FLAGS, text, len(c.data_flags), 0)


def _market(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    if c.tradable is not True:
        yield _denied(DenyCode.NOT_TRADABLE, f"{plan.symbol} is not known to be tradable.")
    if c.halted is not False:
        yield _denied(DenyCode.HALTED, f"{plan.symbol} is halted, or that is unknown.")
    age_ms = None if c.quote is None else (c.now_ns - c.quote.ts_ns) / 1e6
    problem = quote_problem(c.quote, age_ms, p["max_quote_age_ms"])
    if c.quote is None or problem:
        yield _denied(DenyCode.QUOTE, problem, age_ms, p["max_quote_age_ms"])
        return
    spread = spread_bps(c.quote.bid, c.quote.ask)
    if p["use_spread_liquidity"] and spread > p["max_spread_bps"]:
        text = f"Spread is {spread:.2f} bps; your limit is {p['max_spread_bps']:.2f} bps."
        yield _denied(DenyCode.SPREAD, text, spread, p["max_spread_bps"])
    ask = decimal_of(c.quote.ask)
    if ask > plan.limit:
        text = f"Ask is {ask} USD, above the limit of {plan.limit}."
        yield _denied(DenyCode.ASK_MOVED, text, ask, plan.limit)
    trade_ns = c.last_trade_ns
    if trade_ns is None or c.now_ns - trade_ns > TRADE_MAX_AGE_S * SECOND_NS:
        text = f"The last trade is unknown or older than {TRADE_MAX_AGE_S} s."
        age_s = _since(c.now_ns, trade_ns, SECOND_NS)
        yield _denied(DenyCode.TRADE_AGE, text, age_s, TRADE_MAX_AGE_S)
    if c.last_price is None or any(
        abs(plan.limit - reference) > COLLAR * reference for reference in (ask, c.last_price)
    ):
        text = f"The limit of {plan.limit} USD is over {100 * COLLAR:.0f} % from ask or last price."
        away = max(abs(plan.limit / one - 1) for one in (ask, c.last_price or ask))
        yield _denied(DenyCode.COLLAR, text, 100 * away, 100 * COLLAR)
    if c.luld_up is not None and plan.limit > c.luld_up:
        text = f"The limit is above the halt band of {c.luld_up} USD."
        yield _denied(DenyCode.BAND, text, plan.limit, c.luld_up)
    if ask < decimal_of(p["universe_min_price"]):
        text = f"Ask of {ask} USD is below universe_min_price."
        yield _denied(DenyCode.PRICE_FLOOR, text, ask, p["universe_min_price"])


def _order(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    problem = geometry_problem(plan.limit, plan.take_profit, plan.stop_loss)
    if problem:
        yield _denied(DenyCode.GEOMETRY, problem)
    if not 1 <= plan.quantity <= MAX_SHARES:
        text = f"{plan.quantity} shares; 1 to {MAX_SHARES} are allowed."
        yield _denied(DenyCode.QUANTITY, text, plan.quantity, MAX_SHARES)
    equity = None if c.account is None else c.account.equity  # None: the account denies
    most = (equity or Decimal(0)) * decimal_of(p["max_notional_percent"]) / HUNDRED
    if equity is not None and plan.notional > most:
        text = f"The order is worth {plan.notional:.2f} USD; your limit is {most:.2f} USD."
        yield _denied(DenyCode.ORDER_VALUE, text, plan.notional, most)
    if c.usual_value is not None and plan.notional > FAT_FINGER * c.usual_value:
        text = f"The order is worth over {FAT_FINGER} times the usual {c.usual_value:.2f} USD."
        yield _denied(DenyCode.FAT_FINGER, text, plan.notional, FAT_FINGER * c.usual_value)


def _account(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    a = c.account
    old = c.now_ns - c.account_as_of_ns > p["account_max_age_s"] * SECOND_NS
    blocked = a is None or a.trading_blocked or a.account_blocked or a.suspended_by_user
    if a is None or old or blocked or a.status != "ACTIVE":
        text = "The account is unknown, old, blocked or not active."
        age_s = None if a is None else _since(c.now_ns, c.account_as_of_ns, SECOND_NS)
        yield _denied(DenyCode.ACCOUNT, text, age_s, p["account_max_age_s"])
        return
    free = _spendable(a, c, p) - c.reserved_usd
    if COST_FACTOR * plan.notional > free:
        text = f"{COST_FACTOR * plan.notional:.2f} USD are needed, {free:.2f} USD are free."
        yield _denied(DenyCode.BUYING_POWER, text, COST_FACTOR * plan.notional, free)
    start = a.last_equity if a.last_equity > 0 else a.equity
    floor = -start * decimal_of(p["max_daily_loss_percent"]) / HUNDRED
    if c.day_pnl is None or c.day_pnl <= floor:
        text = f"The day stands at {c.day_pnl} USD; stop at {floor}."
        yield _denied(DenyCode.DAILY_LOSS, text, c.day_pnl, floor)


def _spendable(a: AccountSnapshot, c: LimitContext, p: Mapping[str, Any]) -> Decimal:
    if p["day_trade_policy"] == "cash":
        return min(a.buying_power, a.cash - c.unsettled_usd)
    return a.buying_power if p["use_margin"] else min(a.buying_power, a.cash)


def _counts(plan: EntryPlan, c: LimitContext, p: Mapping[str, Any]) -> Iterator[Denial]:
    for code, count, most in (
        (DenyCode.LOSSES, c.consecutive_losses, p["max_consecutive_losses"]),
        (DenyCode.POSITIONS, c.open_positions, slots(p)),
        (DenyCode.ENTRIES, c.entries_today, p["max_trades_per_day"]),
        (DenyCode.SYMBOL_ENTRIES, c.symbol_entries_today, p["max_trades_per_symbol_per_day"]),
        (DenyCode.ORDER_RATE, c.entries_last_minute, ENTRIES_PER_MINUTE),
        (DenyCode.ORDER_RATE, c.requests_last_minute, REQUESTS_PER_MINUTE),
    ):
        if count >= most:
            yield _denied(code, f"{code} is {count}; the limit is {most}.", count, most)
    last_ns = c.last_same_entry_ns
    if last_ns is not None and c.now_ns - last_ns < DUPLICATE_S * SECOND_NS:
        text = f"{plan.symbol} was bought less than {DUPLICATE_S} s ago."
        yield _denied(DenyCode.DUPLICATE, text, _since(c.now_ns, last_ns, SECOND_NS), DUPLICATE_S)
    if c.api_calls_left is not None and c.api_calls_left <= p["api_calls_reserved_for_exits"]:
        text, kept = f"{c.api_calls_left} API calls are left.", p["api_calls_reserved_for_exits"]
        yield _denied(DenyCode.API_BUDGET, text, c.api_calls_left, kept)
