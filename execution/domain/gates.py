"""May we? The gates that hold for the whole account and market: G1 to G15.

Every gate is evaluated for every candidate and says one sentence with numbers and units. Doubt
closes a gate (`passed` None, `open` False) unless its own text says that it lets the unknown pass.
Source: design, trigger 5.3.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from execution.domain.prices import decimal_of, exact
from execution.domain.rounds import GateResult, RoundInput

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
NOT_ASKED = "Not asked: no candidate of this round could fire."
NO_DAY = "Today's trades are unknown."
PDT_EQUITY_USD = Decimal(25_000)
PDT_MOST = 3  # day trades in five sessions (the rule before June 2026)
#: Their values depend on when we looked, not on the market: outside the hash of decisions.
OPERATIONAL = frozenset({"G4", "G5", "G6", "G14", "S7"})


def compare(
    gate_id: str,
    value: float | Decimal | None,
    op: str,
    limit: float,
    text: str,
    *,
    unknown: str = "",
    unknown_open: bool = False,
) -> GateResult:
    """Return the result of `value op limit`; a value of None is unknown.

    Two floats compare as the decimals that they are written as do; only the margin differs in its
    last digits, and people read the margin of a closed gate: that one is exact.
    """
    if value is None:
        return GateResult(
            id=gate_id, passed=None, open=unknown_open, text=unknown, op=op, limit=limit
        )
    margin: float | Decimal
    if isinstance(value, Decimal):
        margin = exact(limit) - value if op[0] == "<" else value - exact(limit)
    else:
        margin = limit - value if op[0] == "<" else value - limit
    passed = margin >= 0 if len(op) == 2 else margin > 0
    if not passed and type(margin) is float:
        found = decimal_of(float(value))
        margin = exact(limit) - found if op[0] == "<" else found - exact(limit)
    return GateResult(
        id=gate_id,
        passed=passed,
        open=passed,
        text=text,
        value=value if isinstance(value, int) else float(value),
        op=op,
        limit=limit,
        margin=float(margin),
    )


def state(gate_id: str, passed: bool, good: str, bad: str, value: str | bool = "") -> GateResult:
    """Return the result of a plain yes or no."""
    return GateResult(
        id=gate_id, passed=passed, open=passed, text=good if passed else bad, value=value
    )


def known(
    gate_id: str, passed: bool | None, good: str, bad: str, doubt: str, value: bool | None = None
) -> GateResult:
    """Return the result of a yes, a no, or None: nobody knows, and that closes the gate."""
    if passed is None:
        return unknown(gate_id, doubt)
    return state(gate_id, passed, good, bad, passed if value is None else value)


def unknown(gate_id: str, text: str, *, open: bool = False) -> GateResult:
    """Return a gate that cannot be judged."""
    return GateResult(id=gate_id, passed=None, open=open, text=text)


def tightest(*results: GateResult) -> GateResult:
    """Return the first that is closed, else the one with the least margin."""
    for result in results:
        if not result.open:
            return result
    return min(results, key=lambda r: float("inf") if r.margin is None else r.margin)


def global_gates(r: RoundInput, p: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """Return G1 to G15 of this round."""
    return (
        _mode(r, p),
        _switch(r),
        _session(r, p),
        _health(r, p),
        _account(r, p),
        known(
            "G6",
            r.stream_connected,
            "The order updates are connected.",
            "The order updates are not connected.",
            "Whether the order updates are connected is unknown.",
        ),
        _daily_loss(r, p),
        _trades(r, p),
        _take_profits(r, p),
        _losses(r, p),
        _rest(r, p),
        _unresolved(r),
        known(
            "G13",
            None if r.market_halted is None else not r.market_halted,
            "There is no market-wide halt.",
            "The whole market is halted.",
            "Whether the whole market is halted is unknown.",
            r.market_halted,
        ),
        compare(
            "G14",
            r.api_calls_left,
            ">",
            p["api_calls_reserved_for_exits"],
            f"{r.api_calls_left} API calls are left this minute; "
            f"{p['api_calls_reserved_for_exits']} are kept for exits.",
            unknown="The broker has not told its API budget yet; this lets it pass.",
            unknown_open=True,
        ),
        _crowd(r, p),
    )


def since_exit(
    gate_id: str, whose: str, last_exit_ns: int | None, at_ns: int, cooldown_s: int
) -> GateResult:
    """Return whether the cool-down after the newest exit is over."""
    if last_exit_ns is None:
        return state(gate_id, True, f"No exit of this {whose} today.", "")
    passed_s = (at_ns - last_exit_ns) / SECOND_NS
    return compare(
        gate_id,
        passed_s,
        ">=",
        cooldown_s,
        f"The last exit of this {whose} was {passed_s:.0f} s ago; your cool-down is "
        f"{cooldown_s} s.",
    )


def _mode(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if not r.mode:
        return unknown("G1", "The trading mode is unknown.")
    off = "off" in (r.mode, p["alpaca_trading_mode"])
    return state("G1", not off, f"Trading mode is {r.mode}.", "alpaca_trading_mode is off.", r.mode)


def _switch(r: RoundInput) -> GateResult:
    if r.kill_switch == "unreadable":
        return unknown("G2", "The kill switch is unreadable.")
    return state(
        "G2",
        r.kill_switch == "none",
        "The kill switch is off.",
        f"The kill switch is at {r.kill_switch}.",
        r.kill_switch,
    )


def _session(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if r.open_ns <= 0 or r.close_ns <= r.open_ns:
        return unknown("G3", "The trading calendar of today is unknown.")
    delay_s, cutoff = p["entry_start_delay_s"], p["entry_cutoff_min_before_close"]
    opened_s = (r.bucket_end_ns - r.open_ns) / SECOND_NS
    left = (r.close_ns - r.bucket_end_ns) / MINUTE_NS
    return tightest(
        compare(
            "G3",
            opened_s,
            ">=",
            delay_s,
            f"The session is open for {opened_s:.0f} s; entries start after {delay_s} s.",
        ),
        compare(
            "G3",
            left,
            ">=",
            cutoff,
            f"{left:.1f} minutes are left to the close; entries stop {cutoff} minutes before.",
        ),
    )


def _health(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if r.mixed_versions:
        return state("G4", False, "", "Shards and hub use different parameter versions.")
    lag, skew = r.relay_lag_ms, r.clock_skew_ms
    return tightest(
        compare(
            "G4",
            r.coverage,
            ">=",
            p["min_shard_coverage"],
            f"{100 * r.coverage:.1f} % of the universe reported; your minimum is "
            f"{100 * p['min_shard_coverage']:.1f} %.",
        ),
        compare(
            "G4",
            lag,
            "<=",
            p["max_relay_lag_ms"],
            f"Market data is {lag or 0:.0f} ms late; your limit is {p['max_relay_lag_ms']} ms.",
            unknown="How late the market data is, is unknown.",
        ),
        compare(
            "G4",
            None if skew is None else abs(skew),
            "<=",
            p["max_clock_skew_ms"],
            f"The clocks differ by {abs(skew or 0):.0f} ms; your limit is "
            f"{p['max_clock_skew_ms']} ms.",
            unknown="How far the clocks differ is unknown.",
        ),
    )


def _account(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if not r.account_asked:
        return unknown("G5", NOT_ASKED, open=True)
    if r.account is None:
        return unknown("G5", "The account is unknown.")
    a = r.account
    if a.status != "ACTIVE":
        return state("G5", False, "", f"The account's status is {a.status}.", a.status)
    if a.trading_blocked or a.account_blocked or a.suspended_by_user:
        return state("G5", False, "", "The broker has blocked or suspended trading.", "blocked")
    age_s = max(0, r.now_ns - r.account_as_of_ns) / SECOND_NS
    return compare(
        "G5",
        age_s,
        "<=",
        p["account_max_age_s"],
        f"The account data is {age_s:.1f} s old; your limit is {p['account_max_age_s']} s.",
    )


def start_equity(r: RoundInput) -> Decimal:
    """Return the equity that risk is measured on: of the day's start, or now if lower; USD."""
    if r.account is None:
        return Decimal(0)
    a = r.account
    return min(a.last_equity, a.equity) if a.last_equity > 0 else a.equity


def _daily_loss(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if r.daily_loss_latched:
        return state("G7", False, "", "The daily loss limit was reached; it holds for the day.")
    if r.account is None and not r.account_asked:
        return unknown("G7", NOT_ASKED, open=True)
    equity = start_equity(r)
    if r.day_pnl is None or equity <= 0:
        return unknown("G7", "The day's profit and loss is unknown.")
    percent = 100 * r.day_pnl / equity
    limit = -p["max_daily_loss_percent"]
    return compare(
        "G7",
        percent,
        ">",
        limit,
        f"The day stands at {percent:.2f} % of equity; your stop is at {limit:.2f} %.",
    )


def _trades(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    """G8, with the old pattern-day-trader rule where the broker still has it."""
    if r.trades_today is None:
        return unknown("G8", NO_DAY)
    today = compare(
        "G8",
        r.trades_today,
        "<",
        p["max_trades_per_day"],
        f"{r.trades_today} trades today; your limit is {p['max_trades_per_day']}.",
    )
    if p["day_trade_policy"] != "legacy_pdt_guard":
        return today
    if r.account is None:
        return unknown("G8", "Whether the day-trading rule applies is unknown: no account data.")
    if r.account.equity >= PDT_EQUITY_USD:
        return today
    guard = compare(
        "G8",
        r.day_trades_5d,
        "<",
        PDT_MOST,
        f"{r.day_trades_5d} day trades in 5 sessions; {PDT_MOST} are the most with less than "
        f"{PDT_EQUITY_USD} USD of equity.",
    )
    return tightest(today, guard)


def _take_profits(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    most = p["stop_after_take_profits"]
    if most == 0:
        return state("G9", True, "Take-profits do not end the day.", "")
    if r.trades_today is None:
        return unknown("G9", NO_DAY)
    text = f"{r.take_profits_today} take-profits today; the day ends after {most}."
    return compare("G9", r.take_profits_today, "<", most, text)


def _losses(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if r.trades_today is None:
        return unknown("G10", NO_DAY)
    found, most = r.consecutive_losses, p["max_consecutive_losses"]
    return compare("G10", found, "<", most, f"{found} losses in a row; your limit is {most}.")


def _rest(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if r.trades_today is None:
        return unknown("G11", NO_DAY)
    cooldown_s = p["cooldown_after_trade_s"]
    return since_exit("G11", "account", r.last_exit_ns, r.bucket_end_ns, cooldown_s)


def _unresolved(r: RoundInput) -> GateResult:
    if r.unprotected:
        return state("G12", False, "", "A position is without protection.", "unprotected")
    if r.doubt:
        return state("G12", False, "", f"Entries are locked: {r.doubt}.", "doubt")
    return known(
        "G12",
        None if r.unresolved_order is None else not r.unresolved_order,
        "No order is unresolved, no position without protection.",
        "An order's fate is unknown.",
        "Whether an order is unresolved is unknown.",
        r.unresolved_order,
    )


def _crowd(r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    bursting = len({c.symbol for c in r.candidates if not c.shadow and c.k == r.k})
    size = r.universe_size or len(r.universe)
    percent = 100 * bursting / size if size else None
    return compare(
        "G15",
        percent,
        "<=",
        p["max_crowd_percent"],
        f"{bursting} of {size} symbols burst at once ({percent or 0:.2f} %); your limit "
        f"is {p['max_crowd_percent']:.2f} %.",
        unknown="The universe of today is unknown.",
    )
