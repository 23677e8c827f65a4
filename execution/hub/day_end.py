"""Out for the day, always: the ladder before the calendar's close."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from execution.brokers.port import BrokerError
from execution.domain.exits import Ladder, ladder
from execution.failpoints import reach
from execution.hub import cover, exits
from execution.hub.desk import SECOND
from execution.hub.trader import Trader
from execution.models import Trade
from execution.services import journal, moves, trades
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T

HARD_RETRY_NS = 5 * SECOND


@dataclass(kw_only=True)
class DayEnd:
    """Args: parameters: the set that counts now; a trade keeps its own exit parameters."""

    trader: Trader
    parameters: Callable[[], Mapping[str, Any]]
    _done: set[str] = field(default_factory=set)
    _hard_again_ns: int = 0
    _close_all_again_ns: int = 0

    @property
    def times(self) -> Ladder:
        return ladder(self.trader.desk.run.close_ns, self.parameters())

    def act(self) -> bool:
        """Do what is due now; each rung acts on what is left, so a restart loses nothing.

        Returns: whether the ladder has begun.
        """
        now, times = self.trader.desk.now_ns(), self.times
        if now < times.flatten_ns:
            return False
        active = self.trader.active_trades()
        if now >= times.verify_ns:
            self._after_the_close(active)
        else:
            self._flatten(active, now, times)
        return True

    def wake_ns(self) -> int | None:
        """Return when time alone asks for something: a rung with work left."""
        now, times = self.trader.desk.now_ns(), self.times
        if not self.trader.seen:
            return None
        due = [times.flatten_ns, times.close_all_ns, times.hard_flatten_ns, times.verify_ns]
        if now >= times.hard_flatten_ns:
            due.append(self._hard_again_ns)
        if now >= times.close_all_ns:
            due.append(self._close_all_again_ns)
        return min((one for one in due if one > now), default=None)

    def _flatten(self, active: list[Trade], now: int, times: Ladder) -> None:
        hard = now >= times.hard_flatten_ns
        for trade in active:
            self._cancel_entry(trade, now)
            if trade.held > 0 and trade.state in exits.LEAVING_FROM:
                exits.begin(self.trader.desk, trade, "flatten", hard=hard)
        if hard and now >= self._hard_again_ns:
            self._hard_again_ns = now + HARD_RETRY_NS
            for trade in active:
                trade.refresh_from_db()
                if trade.state == T.EXITING:
                    exits.begin(self.trader.desk, trade, "hard_flatten", hard=True)
        due = now >= max(times.close_all_ns, self._close_all_again_ns)
        if due and "close_all" not in self._done and active:
            self._close_all_again_ns = now + HARD_RETRY_NS
            self._close_all()

    def _cancel_entry(self, trade: Trade, now: int) -> None:
        desk = self.trader.desk
        for entry in trade.orders.filter(purpose="e", cancel_requested_ns__isnull=True):
            if entry.status in moves.LIVE and entry.broker_id:
                journal.cancel(entry, desk.broker, epoch=desk.epoch, now_ns=now)

    def _close_all(self) -> None:
        """The venue's own close-all: it cancels and sells whatever is left, ours or not."""
        desk, active = self.trader.desk, self.trader.active_trades()
        if all(trade.held == 0 or cover.at_it(desk, trade) for trade in active):
            return  # what is being bought back, the venue would buy once more
        try:
            desk.broker.close_all()
            reach("day_end.after_close_all")
            self._done.add("close_all")
            desk.note("exit", "asked the venue to close everything", level="warning")
        except BrokerError as exc:
            desk.note("exit", f"close-all: {exc}", level="alarm")

    def _after_the_close(self, active: list[Trade]) -> None:
        """Say once whether we are flat; what is left sleeps behind a stop until people look."""
        if "verify" not in self._done:
            self._done.add("verify")
            self._verify()
        for trade in active:
            night = f"night {trade.pk}"
            if trade.held > 0 and trade.state == T.EXITING and night not in self._done:
                self._done.add(night)
                exits.give_up(self.trader.desk, trade)
            elif trade.held > 0 and trade.state == T.OPEN_PROTECTED:
                trades.change(trade, V.HOLD)

    def _verify(self) -> None:
        desk = self.trader.desk
        try:
            left = [p.symbol for p in desk.broker.positions() if p.quantity]
        except BrokerError as exc:
            desk.note("exit", f"cannot verify that we are flat: {exc}", level="alarm")
            return
        text = f"not flat after the close: {', '.join(left)}" if left else "flat after the close"
        desk.note("exit", text, level="alarm" if left else "info")
