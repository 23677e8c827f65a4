"""Getting out: is an exit signal true, and when does the day's ladder act?

A shard's exit signal is a hint. The venue's own legs normally win; the hub acts only when they do
not. Source: design, trigger 6.2 and DESIGN 11.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from execution.domain.orders import TRADE_ENDED, TradeState
from signals.messages import ExitSignal, Quote
from signals.session import BUCKET_NS

MINUTE_NS = 60_000_000_000
FRESH_POSITION_NS = 2_000_000_000
LATEST_PRINT_NS = 5_000_000_000
QUOTE_PATIENCE_NS = 2_000_000_000
RETRY_NS = 500_000_000
OUTLIER_SIGMAS = 5 * math.sqrt(3)  # about 15 seconds of noise
MOST_DEFERRALS = 3
BROKER_KINDS = frozenset({"stop", "target"})


#: With one of these a print elects no stop, on every tape (`alpaca` 2.1); those that depend on the
#: tape were judged by the shard, which knows it.
INELIGIBLE_CODES = frozenset("CGHIMNPQRTUVZ479")


def is_eligible(conditions: Iterable[str], *, odd_lots_in_price: bool) -> bool:
    """May a print with these sale conditions confirm that a level was reached?"""
    codes = set(conditions)
    return not codes & (INELIGIBLE_CODES - {"I"} if odd_lots_in_price else INELIGIBLE_CODES)


class ExitOutcome(StrEnum):
    CONFIRMED_BY_BROKER = "confirmed_by_broker"
    ACTED = "acted"
    DEFERRED = "deferred"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class ExitContext:
    """What the hub knows when it looks at the signal; `tries` counts its earlier deferrals."""

    now_ns: int
    seen: bool  # this signal id was already answered for good
    newest: bool  # epoch and seq are the newest of its shard
    position_version: int | None  # None: no such position
    state: TradeState
    broker_quantity: int | None  # signed shares at the broker, None unknown
    broker_as_of_ns: int
    leg_filled: bool  # a protective leg is completely filled
    leg_partially_filled: bool
    entry_fill_ns: int
    print_eligible: bool
    print_canceled: bool
    quote: Quote | None
    halted: bool
    exit_mode: str
    tries: int = 0


@dataclass(frozen=True, kw_only=True)
class ExitVerdict:
    """The answer; `quantity_left` only: sell what a partly filled target leaves."""

    outcome: ExitOutcome
    reason: str
    retry_at_ns: int | None
    checks: tuple[dict[str, Any], ...]
    quantity_left: bool = False


@dataclass(frozen=True)
class _Stop:
    """A check that ends the walk."""

    outcome: ExitOutcome
    reason: str
    retry_at_ns: int | None = None


def validate_exit(
    signal: ExitSignal, context: ExitContext, parameters: Mapping[str, Any]
) -> ExitVerdict:
    """Walk E1 to E10 in order; `parameters` are those the position was born with."""
    walked: list[dict[str, Any]] = []
    for check_id, check in _CHECKS:
        stop = check(signal, context, parameters)
        walked.append({"id": check_id, "pass": stop is None, "text": stop.reason if stop else ""})
        if stop is not None:
            return ExitVerdict(
                outcome=stop.outcome,
                reason=stop.reason,
                retry_at_ns=stop.retry_at_ns,
                checks=tuple(walked),
            )
    return ExitVerdict(
        outcome=ExitOutcome.ACTED,
        reason=f"{signal.kind}_not_acted_on_by_broker",
        retry_at_ns=None,
        checks=tuple(walked),
        quantity_left=context.leg_partially_filled,
    )


def _rejected(reason: str) -> _Stop:
    return _Stop(ExitOutcome.REJECTED, reason)


def _deferred(c: ExitContext, reason: str, at_ns: int) -> _Stop:
    return _Stop(ExitOutcome.DEFERRED, reason, max(at_ns, c.now_ns + 1))


def _e1_known(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if c.seen:
        return _rejected("duplicate")
    if c.position_version is None:
        return _rejected("unknown_position")
    if not c.newest or s.position_version != c.position_version:
        return _rejected("stale_version")
    return None


def _e2_open(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if c.state in (TradeState.OPEN_PROTECTED, TradeState.UNPROTECTED, TradeState.PARTIAL):
        return None
    if c.state in TRADE_ENDED and c.leg_filled:
        return _Stop(ExitOutcome.CONFIRMED_BY_BROKER, "leg_already_filled")
    return _rejected("already_exiting" if c.state is TradeState.EXITING else f"state_{c.state}")


def _e3_position(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if c.leg_filled:
        return None  # E4 books it
    if c.broker_quantity is None or c.now_ns - c.broker_as_of_ns >= FRESH_POSITION_NS:
        return _deferred(c, "position_not_fresh", c.now_ns + RETRY_NS)
    return None if c.broker_quantity > 0 else _rejected("no_position")


def _e4_legs(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if c.leg_filled:
        return _Stop(ExitOutcome.CONFIRMED_BY_BROKER, "leg_already_filled")
    return None


def _e5_print(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if not c.print_eligible or c.print_canceled:
        return _rejected("ineligible_print")
    late = c.now_ns - s.ts_ns > LATEST_PRINT_NS and c.tries == 0
    return _rejected("late_print") if late or s.ts_ns < c.entry_fill_ns else None


def _e6_not_alone(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    through = s.prints_through >= p["exit_confirm_prints"] or _bid_confirms(s, c.quote)
    if through and not _outlier(s):
        return None
    if c.tries >= MOST_DEFERRALS:
        return _rejected("lone_print")
    return _deferred(c, "lone_print", c.now_ns + BUCKET_NS)


def _e7_quote(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if _sane(c.quote, c.now_ns, p["max_quote_age_ms"]):
        return None
    if c.now_ns - s.ts_ns < QUOTE_PATIENCE_NS:
        return _deferred(c, "no_sane_quote", s.ts_ns + QUOTE_PATIENCE_NS)
    return None if s.kind == "stop" else _rejected("no_sane_quote")


def _e8_halt(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    return _deferred(c, "halted", c.now_ns + BUCKET_NS) if c.halted else None


def _e9_grace(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    if c.state is TradeState.PARTIAL:
        return None  # its legs are not alive yet: nobody else will sell
    until_ns = s.ts_ns + p["broker_exit_grace_ms"] * 1_000_000
    return _deferred(c, "broker_grace", until_ns) if c.now_ns < until_ns else None


def _e10_kind(s: ExitSignal, c: ExitContext, p: Mapping[str, Any]) -> _Stop | None:
    allowed = s.kind in BROKER_KINDS or c.exit_mode == "bracket_plus_software"
    return None if allowed else _rejected("not_permitted")


_CHECKS = (
    ("E1", _e1_known),
    ("E2", _e2_open),
    ("E3", _e3_position),
    ("E4", _e4_legs),
    ("E5", _e5_print),
    ("E6", _e6_not_alone),
    ("E7", _e7_quote),
    ("E8", _e8_halt),
    ("E9", _e9_grace),
    ("E10", _e10_kind),
)


def _sane(quote: Quote | None, now_ns: int, max_age_ms: int) -> bool:
    return (
        quote is not None
        and 0 < quote.bid < quote.ask
        and now_ns - quote.ts_ns <= max_age_ms * 1_000_000
    )


def _bid_confirms(s: ExitSignal, quote: Quote | None) -> bool:
    if quote is None or not 0 < quote.bid < quote.ask:
        return False
    return quote.bid <= s.threshold if s.kind == "stop" else quote.bid >= s.threshold


def _outlier(s: ExitSignal) -> bool:
    """Is the print farther from the one before than noise goes? Unknown noise is no reason."""
    if s.prior_price is None or s.prior_price <= 0 or not s.sigma5_bps:
        return False
    jump_bps = abs(1e4 * (s.price / s.prior_price - 1))
    return jump_bps > OUTLIER_SIGMAS * s.sigma5_bps


CLOSE_ALL_MIN = 5  # the venue's own close-all, if anything is left
VERIFY_AFTER_MIN = 2


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """When the day's end acts, UTC ns of the market clock, in this order."""

    entry_cutoff_ns: int
    flatten_ns: int
    close_all_ns: int
    hard_flatten_ns: int
    verify_ns: int


def ladder(close_ns: int, parameters: Mapping[str, Any]) -> Ladder:
    """Return the end-of-day times from the calendar's close (half days included)."""
    flatten, hard = parameters["flatten_min_before_close"], parameters["hard_flatten_min"]
    close_all = min(max(CLOSE_ALL_MIN, hard), flatten)
    return Ladder(
        entry_cutoff_ns=close_ns - parameters["entry_cutoff_min_before_close"] * MINUTE_NS,
        flatten_ns=close_ns - flatten * MINUTE_NS,
        close_all_ns=close_ns - close_all * MINUTE_NS,
        hard_flatten_ns=close_ns - hard * MINUTE_NS,
        verify_ns=close_ns + VERIFY_AFTER_MIN * MINUTE_NS,
    )
