"""Drives every active trade to where it should be, from what the rows say — not from memory.

`settle` may be called after any event, any number of times, and after a restart: it looks at the
trade and its orders and takes the next step only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from execution.brokers.port import BrokerError, TradeUpdate
from execution.hub import exits, protect
from execution.hub.desk import MS, SECOND, Desk
from execution.hub.resolver import Resolver
from execution.models import Order, Trade
from execution.services import journal, moves, trades, venue_state
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T

CANCEL_LATE_NS = SECOND
TASK_LOST_S = 25.0
#: Passes over the trades in one settling; each pass takes at least one step somewhere.
PASSES_MAX = 20
THE_FILLS = 0  # in `unsettled`, where trades have their keys: the account's executions


@dataclass(kw_only=True)
class Trader:
    """Args: mono: the process clock, for look-ups and lost tasks."""

    desk: Desk
    resolver: Resolver = field(default_factory=Resolver)
    mono: Callable[[], float] = time.monotonic
    #: Entries whose task was sent, by order: not ours to touch until it answers or is lost.
    in_flight: dict[int, float] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)  # symbols with orders that are not ours
    busy: bool = True

    # --- news -------------------------------------------------------------------------------------
    def apply(self, update: TradeUpdate) -> None:
        """Take one trade update into the books and rows."""
        applied = venue_state.apply_update(self.desk.run, update)
        order = applied.order
        if order is None:
            if applied.new:
                self._foreign(update)
            return
        self.busy = True
        self.desk.fills_missing |= applied.fills_missing
        if not applied.new:
            return
        if update.event in ("fill", "partial_fill"):
            self.desk.note(
                "order",
                f"{order.symbol}: {order.side} {update.quantity} at {update.price}"
                f" ({order.purpose})",
                order=order.client_order_id,
            )
        if order.purpose in ("tp", "sl", "o") and update.event in ("replaced", "rejected"):
            self._recheck(order)

    def _foreign(self, update: TradeUpdate) -> None:
        """An order we did not make: adopt nothing, pause entries in its symbol, tell people."""
        if update.order.symbol not in self.foreign:
            self.foreign.add(update.order.symbol)
            self.desk.note(
                "order",
                f"{update.order.symbol}: an order that is not ours ({update.event})",
                level="alarm",
                client_order_id=update.order.client_order_id,
            )

    def _recheck(self, order: Order) -> None:
        """A leg has changed: what we believe of the protection is looked up again."""
        trade = Trade.objects.get(pk=order.trade_id)
        if trade.state == T.OPEN_PROTECTED and not self._covered(trade):
            trades.note_unprotected(trade, self.desk.now_ns())

    def _covered(self, trade: Trade) -> bool:
        parent = (
            trade.orders.filter(purpose="o", status__in=[str(s) for s in moves.LIVE]).last()
            or trade.orders.filter(purpose="e").first()
        )
        try:
            seen = self.desk.broker.order(str(parent.broker_id)) if parent else None
        except BrokerError:
            return False
        return seen is not None and protect.covers(seen, trade.held)

    # --- settling ---------------------------------------------------------------------------------
    def settle(self) -> None:
        """Take every step that is due now; afterwards all that is left waits for news or time."""
        self.desk.unsettled.clear()
        for _ in range(PASSES_MAX):
            before = self._fingerprint()
            asked = self.desk.fills_missing
            if asked and not self.fetch_fills():
                self.desk.unsettled.add(THE_FILLS)
            active = list(trades.active(self.desk.run))
            for trade in active:
                self.advance(trade)
            self.busy = bool(active)
            if self._fingerprint() == before and (asked or not self.desk.fills_missing):
                break
        if self.desk.fills_missing:  # asked, and not told: again, but not at once
            self.desk.unsettled.add(THE_FILLS)

    def _fingerprint(self) -> tuple[object, ...]:
        rows = trades.active(self.desk.run)
        fields = ("pk", "state", "exit_step", "filled_quantity", "exit_quantity", "version")
        return tuple(rows.values_list(*fields))

    def advance(self, trade: Trade) -> None:
        """Take the next step of one trade."""
        entry = trade.orders.get(purpose="e")
        self._unsent(trade, entry)
        self._look_up(trade)
        entry.refresh_from_db()
        if self.desk.fills_missing and entry.status in moves.TERMINAL and not trade.held:
            return  # it may have shares that we could not read of: it neither ends nor is flat
        trade = trades.follow_entry(trade, self.desk.now_ns())
        if trade.state in trades.ENDED:
            self.desk.note("trade", f"{trade.symbol}: slot {trade.slot} given back: {trade.state}")
            return
        entry.refresh_from_db()
        try:
            self._entry_ttl(entry)
            self._position(trade)
            trade.refresh_from_db()
            if entry.status in moves.TERMINAL and trade.filled_quantity and trade.held <= 0:
                self._close(trade)
        except BrokerError as exc:
            self.desk.unsettled.add(trade.pk)
            self.desk.note("order", f"{trade.symbol}: {exc}", level="warning")

    def _unsent(self, trade: Trade, entry: Order) -> None:
        """An intent that is too old to be sent ends here (its task was lost, or we restarted)."""
        if entry.status == Status.INTENT and self.desk.late_ns(trade.send_before_ns) > 0:
            journal.deny(
                entry, status=Status.EXPIRED_LOCAL, reason="too old", now_ns=self.desk.now_ns()
            )

    def _look_up(self, trade: Trade) -> None:
        """Ask about orders without an answer; one that a task is sending now is left to it."""
        unknown = (str(Status.UNKNOWN), str(Status.SENDING))
        for order in trade.orders.filter(status__in=unknown).order_by("pk"):
            if order.status == Status.SENDING and self._is_in_flight(order):
                continue
            self.resolver.look(
                order, self.desk.broker, mono_s=self.mono(), now_ns=self.desk.now_ns()
            )
            order.refresh_from_db()
            if order.status in unknown:
                self.desk.unsettled.add(trade.pk)

    def _is_in_flight(self, order: Order) -> bool:
        since = self.in_flight.get(order.pk)
        return since is not None and self.mono() - since < TASK_LOST_S

    def _entry_ttl(self, entry: Order) -> None:
        """Cancel what is unfilled at the end of the entry's time; ask when the answer is late."""
        if entry.status not in moves.LIVE or entry.broker_id is None:
            return
        now = self.desk.now_ns()
        if entry.cancel_requested_ns is None:
            if entry.expires_ns is not None and now >= entry.expires_ns:
                journal.cancel(entry, self.desk.broker, epoch=self.desk.epoch, now_ns=now)
        elif now >= entry.cancel_requested_ns + CANCEL_LATE_NS + self.desk.slack_ns():
            seen = self.desk.broker.order(entry.broker_id)
            if seen is None:
                return
            applied = venue_state.take_over(entry, seen, now_ns=now)
            self.desk.fills_missing |= applied.fills_missing
            entry.refresh_from_db()
            if entry.status in moves.LIVE and not applied.fills_missing:
                journal.cancel(entry, self.desk.broker, epoch=self.desk.epoch, now_ns=now)

    def _position(self, trade: Trade) -> None:
        if trade.held <= 0:
            return
        if trade.state == T.OPEN_PROTECTED and not protect.covered_here(self.desk, trade):
            trade = trades.note_unprotected(trade, self.desk.now_ns())
            self.desk.note("trade", f"{trade.symbol}: protection is gone", level="alarm")
        if trade.state == T.UNPROTECTED:
            why = protect.protect(self.desk, trade)
            if why is not None:
                trade.refresh_from_db()
                exits.begin(self.desk, trade, why, hard=True)
        elif trade.state == T.EXITING:
            exits.proceed(self.desk, trade)
        elif trade.state == T.OPEN_PROTECTED:
            exits.again(self.desk, trade)

    def _close(self, trade: Trade) -> None:
        """Free the slot when nothing of ours is live and the venue says flat — not before."""
        if self.desk.live_orders(trade):
            exits.refresh(self.desk, trade)
            if self.desk.live_orders(trade):
                for order in self.desk.live_orders(trade):
                    if order.broker_id and order.cancel_requested_ns is None:
                        journal.cancel(
                            order,
                            self.desk.broker,
                            epoch=self.desk.epoch,
                            now_ns=self.desk.now_ns(),
                        )
                return
        position = self.desk.position(trade.symbol)
        if position is not None and position.quantity:
            self.desk.fills_missing = True
            self.desk.unsettled.add(trade.pk)
            return
        sold = trade.orders.filter(side="sell", filled_quantity__gt=0)
        last = max((order.terminal_ns or 0 for order in sold), default=0)
        reason = exits.reason_of(trade)
        closed_ns = last or self.desk.now_ns()
        trade = trades.close(
            trade, reason=reason, now_ns=closed_ns, naked_ns=self._naked_until(trade, closed_ns)
        )
        self.desk.note(
            "trade",
            f"{trade.symbol}: flat ({reason}), {trade.realized_pnl:+.2f} USD",
            pnl=str(trade.realized_pnl),
        )

    def _naked_until(self, trade: Trade, ts_ns: int) -> int:
        since_ns = trade.naked_since_ns
        return 0 if since_ns is None else max(0, ts_ns - since_ns - self.desk.slack_ns())

    def fetch_fills(self) -> bool:
        """Book the account's executions that we have no event for; never an invented one.

        Returns: False when they could not be read: then they are still missing.
        """
        try:
            fills = self.desk.broker.fills(after_ns=self._fills_from())
        except BrokerError as exc:
            self.desk.fills_missing = True
            self.desk.note("reconcile", f"cannot read the fills: {exc}", level="warning")
            return False
        self.desk.fills_missing = False
        for fill in fills:
            applied = venue_state.apply_fill(self.desk.run, fill)
            if applied.new and applied.order is not None:
                self.desk.note(
                    "reconcile",
                    f"{fill.symbol}: booked a fill the stream did not bring",
                    level="warning",
                    execution=fill.execution_id,
                )
        return True

    def _fills_from(self) -> int:
        """Return a time before the oldest execution that may be missing: the day's, or older."""
        oldest = trades.active(self.desk.run).values_list("reserved_ns", flat=True).first()
        opened = self.desk.run.open_ns or 0
        return min(opened, oldest or opened) - SECOND

    # --- time -------------------------------------------------------------------------------------
    def wake_ns(self) -> int | None:
        """Return the market time of the earliest thing that waits for time alone."""
        if not self.busy:
            return None
        due = []
        for trade in trades.active(self.desk.run):
            entry = trade.orders.get(purpose="e")
            due.append(self._entry_wake(trade, entry))
            due.append(exits.wake_ns(trade))
            due.append(protect.wake_ns(trade, self.desk.now_ns()))
            if trade.filled_quantity and trade.held <= 0:
                due.append(self.desk.now_ns() + 250 * MS)  # flat by fills, not closed yet
        return min((one for one in due if one is not None), default=None)

    def _entry_wake(self, trade: Trade, entry: Order) -> int | None:
        if entry.status == Status.INTENT:
            return trade.send_before_ns + self.desk.slack_ns() + 1
        if entry.status not in moves.LIVE:
            return None
        if entry.cancel_requested_ns is not None:
            late_ns = entry.cancel_requested_ns + CANCEL_LATE_NS + self.desk.slack_ns()
            return max(late_ns, self.desk.now_ns() + 250 * MS)
        return entry.expires_ns

    def active_trades(self) -> list[Trade]:
        return list(trades.active(self.desk.run))
