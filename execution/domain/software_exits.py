"""What our software adds to the venue's bracket: break-even, a trailing stop, no progress, time.

Only for a position born with exit_mode bracket_plus_software; the venue's legs stay in any case. A
stop moves by a replace of its leg and only up: never a cancel first, so the shares are never naked.
Source: design, trigger 5.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from execution.domain.exits import MINUTE_NS
from execution.domain.prices import CENT, ceil_tick, decimal_of, floor_tick

MOVE_PAUSE_NS = 10_000_000_000  # between two moves of a stop


@dataclass(frozen=True, kw_only=True)
class Held:
    """A protected position as its exits see it; prices USD, times UTC ns of the market clock.

    high: best eligible price since the entry, None while nobody told one; price: where it could be
    sold now (the bid, else the last close), None when unknown; cost: round trip, per share.
    """

    entry: Decimal
    first_stop: Decimal
    stop: Decimal
    cost: Decimal
    opened_ns: int
    high: Decimal | None = None
    price: Decimal | None = None
    stop_moved_ns: int | None = None

    @property
    def risk(self) -> Decimal:
        """One R: what the first stop would have cost per share."""
        return self.entry - self.first_stop


@dataclass(frozen=True, kw_only=True)
class Action:
    """What to do now: `stop` moves the leg there, `leave` says why the position is closed."""

    stop: Decimal | None = None
    leave: str = ""


NOTHING = Action()


def next_action(held: Held, now_ns: int, parameters: Mapping[str, Any]) -> Action:
    """Return what the software exits ask for now; time comes before price."""
    if parameters["exit_mode"] != "bracket_plus_software":
        return NOTHING
    limit = time_stop_ns(held.opened_ns, parameters)
    if limit is not None and now_ns >= limit:
        return Action(leave="time_stop")
    limit = no_progress_ns(held.opened_ns, parameters)
    if limit is not None and now_ns >= limit and _without_progress(held, parameters):
        return Action(leave="no_progress")
    return _raised(held, now_ns, parameters)


def wake_ns(held: Held, now_ns: int, parameters: Mapping[str, Any]) -> int | None:
    """Return when time alone will ask for something, None when it never will."""
    due = [time_stop_ns(held.opened_ns, parameters), no_progress_ns(held.opened_ns, parameters)]
    return min((at for at in due if at is not None and at > now_ns), default=None)


def time_stop_ns(opened_ns: int, parameters: Mapping[str, Any]) -> int | None:
    """Return when the position has been held long enough; None leaves it to the ladder."""
    return _minutes_after(opened_ns, "max_hold_minutes", parameters)


def no_progress_ns(opened_ns: int, parameters: Mapping[str, Any]) -> int | None:
    """Return when a position must have made progress; None never asks."""
    return _minutes_after(opened_ns, "no_progress_minutes", parameters)


def _minutes_after(opened_ns: int, name: str, p: Mapping[str, Any]) -> int | None:
    if p["exit_mode"] != "bracket_plus_software" or p[name] == 0:
        return None
    return opened_ns + int(p[name]) * MINUTE_NS


def _without_progress(held: Held, p: Mapping[str, Any]) -> bool:
    """An unknown high is no proof that nothing happened: the bracket and the time stop remain."""
    if held.high is None:
        return False
    return held.high - held.entry < decimal_of(p["no_progress_r"]) * held.risk


def _raised(held: Held, now_ns: int, p: Mapping[str, Any]) -> Action:
    """Raise the stop; where the market has come back below it already, it would have sold."""
    if held.high is None:
        return NOTHING
    wanted = ratcheted_stop(
        entry=held.entry,
        risk=held.risk,
        high=held.high,
        current=held.stop,
        cost=held.cost,
        parameters=p,
    )
    if wanted == held.stop:
        return NOTHING
    if held.price is not None and held.price <= wanted:
        return Action(leave="trail")
    if held.stop_moved_ns is not None and now_ns - held.stop_moved_ns < MOVE_PAUSE_NS:
        return NOTHING
    return Action(stop=wanted)


def ratcheted_stop(
    *,
    entry: Decimal,
    risk: Decimal,
    high: Decimal,
    current: Decimal,
    cost: Decimal,
    parameters: Mapping[str, Any],
) -> Decimal:
    """Return where the stop belongs after a high: break-even, then trailing; never down.

    Args:
        risk: entry − first stop, USD per share: one R.
        cost: round-trip cost per share, USD.
    """
    p, stops = parameters, [current]
    if p["exit_mode"] != "bracket_plus_software":
        return current
    gain = high - entry
    if p["breakeven_at_r"] > 0 and gain >= decimal_of(p["breakeven_at_r"]) * risk:
        stops.append(ceil_tick(entry + cost))
    if p["trailing_enabled"] and gain >= decimal_of(p["trail_start_r"]) * risk:
        stops.append(floor_tick(high - decimal_of(p["trail_distance_r"]) * risk))
    best = max(stops)
    return best if best - current >= CENT else current


def progress_r(held: Held) -> Decimal | None:
    """Return where the position stands, in units of its first risk; None when unknown."""
    if held.price is None or held.risk <= 0:
        return None
    return (held.price - held.entry) / held.risk
