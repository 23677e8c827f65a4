"""Ends the hub's day when the next one begins: a hub that runs for days trades each of them.

The hub leaves as it does when it is stopped, and a fresh one in the same process goes through the
whole start-up: nothing in memory is a day old, and it works however the hub was started, also
without a unit or a supervisor that would start a process again. A tape has one day.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from execution import selectors
from execution.brokers.port import Broker, BrokerError, TradingDay
from execution.domain import days
from execution.errors import DayOver
from execution.services import trades
from execution.services.moves import TradeState as T
from signals.session import NEW_YORK, day_of

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

logger = logging.getLogger(__name__)

ASK_S = 30.0
LOOK_AHEAD = timedelta(days=10)  # the longest the exchange was closed since 1945 were seven days


class NewDay:
    """`look` costs nothing while the session is on, and asks the calendar a few times a night."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub
        self._asked_at = float("-inf")
        self._not_before_ns = 0

    def look(self) -> None:
        """Leave the day when it is over and the next one begins.

        Raises:
            DayOver: now.
        """
        hub, now_ns = self.hub, self.hub.clock.now_ns()
        if hub.config.lockstep_url or hub.in_lockstep or hub.run.day is None:
            return
        if not hub.clock.known or now_ns < max(hub.run.close_ns, self._not_before_ns):
            return
        if hub.mono() - self._asked_at < ASK_S:
            return
        self._asked_at = hub.mono()
        coming = self._coming(now_ns)
        if coming is None or coming.day <= hub.run.day:
            return
        if days.is_over(hub.run.day, coming, now_ns, busy=self._is_busy()):
            self._leave(coming)
        # Asked once more then: a day may be taken out of the calendar at short notice.
        self._not_before_ns = days.begins_ns(coming)

    def _coming(self, now_ns: int) -> TradingDay | None:
        try:
            return coming_day(self.hub.broker, now_ns)
        except BrokerError as exc:
            logger.warning("no calendar", extra={"error": str(exc)})
            return None

    def _is_busy(self) -> bool:
        """Is an exit under way, or the fate of an order unknown?"""
        hub = self.hub
        leaving = trades.active(hub.run).filter(state=T.EXITING)
        unknown = hub.run.orders.filter(status__in=selectors.UNRESOLVED)
        return bool(hub.desk.unsettled) or leaving.exists() or unknown.exists()

    def _leave(self, coming: TradingDay) -> NoReturn:
        day = self.hub.run.day
        said = f"the trading day {coming.day} begins, {hours(coming)} New York; {day} is over"
        self.hub.note("startup", said, day=str(coming.day), before=str(day))
        raise DayOver(said)


def coming_day(broker: Broker, now_ns: int) -> TradingDay | None:
    """Return the broker's trading day that counts at a time, None when it knows of none.

    Raises:
        BrokerError: no answer.
    """
    today = day_of(now_ns)
    return days.trading_day(broker.calendar(today, today + LOOK_AHEAD), now_ns)


def hours(day: TradingDay) -> str:
    """Return a session's hours in New York: 09:30 to 16:00."""
    moments = (datetime.fromtimestamp(ns // 10**9, UTC) for ns in (day.open_ns, day.close_ns))
    return " to ".join(f"{moment.astimezone(NEW_YORK):%H:%M}" for moment in moments)
