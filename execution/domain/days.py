"""Which trading day it is, and when a hub that runs for days begins the next one.

An hour before the open: the broker's list of assets and its bars of the last session are the
morning's by then, and an hour is enough for a start-up that meets trouble. Only the calendar says
when that is, so half days, holidays and the change of the clocks need no rule of their own.
"""

from collections.abc import Iterable
from datetime import date

from execution.brokers.port import TradingDay
from signals.session import day_of

MINUTE_NS = 60_000_000_000
BEFORE_OPEN_NS = 60 * MINUTE_NS
#: Whatever is unresolved then is taken along: the start-up goes on with it from the rows.
AT_LATEST_NS = 15 * MINUTE_NS


def trading_day(days: Iterable[TradingDay], now_ns: int) -> TradingDay | None:
    """Return today's session, also when it is over, or the next one; None when `days` has none."""
    today = day_of(now_ns)
    coming = (one for one in days if one.day == today or one.close_ns > now_ns)
    return min(coming, key=lambda one: one.day, default=None)


def begins_ns(coming: TradingDay, *, busy: bool = False) -> int:
    """Return when a hub leaves its last day for this one, market time.

    Args: busy: an exit or an order of the last day is unresolved; it is given most of the hour.
    """
    return coming.open_ns - (AT_LATEST_NS if busy else BEFORE_OPEN_NS)


def is_over(day: date, coming: TradingDay, now_ns: int, *, busy: bool) -> bool:
    """Tell whether a hub in `day` should begin `coming` now. Args: busy: as in `begins_ns`."""
    return coming.day > day and now_ns >= begins_ns(coming, busy=busy)
