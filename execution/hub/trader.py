"""Drives every active trade to where it should be, from what the rows say — not from memory.

`settle` may be called after any event, any number of times, and after a restart: it looks at the
trade and its orders and takes the next step only.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from execution.brokers.port import BrokerError, BrokerOrder, FillActivity, TradeUpdate
from execution.hub import cover, exits, legs, overnight, protect, waiting
from execution.hub.desk import MS, SECOND, Desk
from execution.hub.resolver import Resolver
from execution.models import Order, Trade
from execution.services import cash, external, journal, moves, seen, trades, venue_state
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.services.seen import Seen
from signals.messages import Withdrawn

#: Ends of a candidacy that take an unfilled entry back, and the flag of what is filled already.
TAKEN_BACK = {"halt": "", "revised": "born_from_canceled_print"}
MOVED = ("replaced", "rejected", "order_replace_rejected")  # a leg may be at another price
TASK_LOST_S = 25.0
ANSWER_LATE_NS = 6 * SECOND  # the longest a request may take; then what became of it is asked
STREAM_LATE_NS = 2 * SECOND
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
    _ask_again_ns: dict[int, int] = field(default_factory=dict)  # by trade
    foreign: set[str] = field(default_factory=set)  # symbols with orders that are not ours
    busy: bool = True
    fills_booked: int = 0  # that REST told, since the hub began
    seen: list[Seen] = field(default_factory=list)  # the busy trades as of the newest look

    # --- news -------------------------------------------------------------------------------------
    def apply(self, update: TradeUpdate) -> bool:
        """Take one trade update into the books and rows; True when it brought an execution."""
        applied = venue_state.apply_update(self.desk.run, update)
        order = applied.order
        if order is None:
            if applied.new:
                self.note_stranger(update.order)
            return False
        self.busy = True
        self.desk.fills_missing |= applied.fills_missing
        if not applied.new:
            return False
        filled = update.event in ("fill", "partial_fill")
        if filled:
            self.desk.note_trade(
                order.trade,
                "order",
                f"{order.side} {update.quantity} at {update.price} ({order.purpose})",
                order=order.client_order_id,
                quantity=update.quantity,
                price=str(update.price),
            )
        if order.purpose in ("tp", "sl", "o") and update.event in MOVED:
            self._recheck(order)
        return filled

    def note_stranger(self, seen: BrokerOrder) -> None:
        """An order we did not make: adopt nothing, keep it, lock entries, tell people.

        In a symbol of which we hold shares it is adopted by its news, or its executions.
        """
        self.foreign.add(seen.symbol)
        idle = seen.status in legs.DEAD_LEGS and not seen.filled_quantity
        if idle or venue_state.holder(self.desk.run, seen) is not None:
            return
        if external.note_order(self.desk.run, seen, now_ns=self.desk.now_ns(), locks=True):
            self.desk.note(
                "order",
                f"{seen.symbol}: an order that is not ours ({seen.status}): entries are locked",
                level="alarm",
                symbol=seen.symbol,
                client_order_id=seen.client_order_id,
            )

    def withdraw(self, told: Iterable[Withdrawn]) -> bool:
        """A candidacy ended that we have fired on: take back what is not filled, mark what is.

        Halted, or built on a print that was canceled: no share more of it. What was bought keeps
        its bracket. Returns: whether there was such a trade.
        """
        reasons = {w.candidate_id: w.reason for w in told if w.reason in TAKEN_BACK}
        if not reasons:
            return False
        fired = Trade.objects.filter(run=self.desk.run, candidate_id__in=sorted(reasons))
        living = list(fired.exclude(state__in=trades.ENDED).order_by("pk"))
        for trade in living:
            self._take_back(trade, reasons[trade.candidate_id])
        return bool(living)

    def _take_back(self, trade: Trade, reason: str) -> None:
        for entry in trade.orders.filter(purpose="e", cancel_requested_ns__isnull=True):
            now_ns = self.desk.now_ns()
            journal.deny(entry, status=Status.DENIED, reason=f"withdrawn: {reason}", now_ns=now_ns)
            if entry.status in moves.LIVE and entry.broker_id:
                journal.cancel(entry, self.desk.broker, epoch=self.desk.epoch, now_ns=now_ns)
            self.busy = True
        flag = TAKEN_BACK[reason]
        if flag and trade.filled_quantity and flag not in trade.flags:
            trade.flags = [*trade.flags, flag]
            Trade.objects.filter(pk=trade.pk).update(flags=trade.flags)
            self.desk.note_trade(trade, "trade", flag.replace("_", " "), level="warning", flag=flag)

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
        return seen is not None and legs.protects(seen, trade)

    # --- settling ---------------------------------------------------------------------------------
    def look(self) -> list[Seen]:
        """Read the busy trades and their orders anew."""
        self.seen = seen.read(self.desk.run)
        self.busy = bool(self.seen)
        return self.seen

    def settle(self) -> None:
        """Take every step that is due now; afterwards all that is left waits for news or time."""
        self.desk.unsettled.clear()
        self.look()
        for _ in range(PASSES_MAX):
            before, asked = self._fingerprint(), self.desk.fills_missing
            if asked:
                if not self.fetch_fills():
                    self.desk.unsettled.add(THE_FILLS)
                self.look()
            awake = [one for one in self.seen if not waiting.waits(self, one)]
            for one in awake:
                self.advance(one if one is awake[0] else self._again(one))
            if awake:
                self.look()
            if self._fingerprint() == before and (asked or not self.desk.fills_missing):
                break
        if self.desk.fills_missing:  # asked, and not told: again, but not at once
            self.desk.unsettled.add(THE_FILLS)

    def _fingerprint(self) -> tuple[object, ...]:
        return tuple(
            (t.pk, t.state, t.exit_step, t.filled_quantity, t.exit_quantity, t.version)
            for t in (one.trade for one in self.seen)
        )

    @staticmethod
    def _again(one: Seen) -> Seen:
        """Read a trade anew: the steps of another one took their time."""
        trade = Trade.objects.get(pk=one.trade.pk)
        return Seen(trade, list(trade.orders.order_by("pk")))

    def advance(self, one: Seen) -> None:
        """Take the next step of one trade."""
        trade, entry = one.trade, one.entry
        if self._unsent(trade, entry) or self._look_up(one):
            entry.refresh_from_db()
            trade.refresh_from_db()
        if trade.held < 0 and entry.status in moves.TERMINAL:
            self._buy_back(trade)
            return
        if self.desk.fills_missing and entry.status in moves.TERMINAL and not trade.held:
            return  # it may have shares that we could not read of: it neither ends nor is flat
        if trades.event_of_entry(trade, entry) is not None:
            trade = trades.follow_entry(trade, self.desk.now_ns())
        if trade.state in trades.ENDED:
            text = f"slot {trade.slot} given back: {trade.state}"
            self.desk.note_trade(trade, "trade", text, state=trade.state)
            return
        try:
            self._entry_ttl(entry)
            self._position(trade)
            trade.refresh_from_db()
            entry.refresh_from_db()
            held_once = trade.filled_quantity or trades.never_was(trade, entry)
            if entry.status in moves.TERMINAL and held_once and trade.held == 0:
                self._close(trade)
        except BrokerError as exc:
            self.desk.unsettled.add(trade.pk)
            self.desk.note_trade(trade, "order", str(exc), level="warning")

    def _buy_back(self, trade: Trade) -> None:
        try:
            cover.buy_back(self.desk, trade)
        except BrokerError as exc:
            self.desk.unsettled.add(trade.pk)
            self.desk.note_trade(trade, "exit", str(exc), level="alarm")

    def _unsent(self, trade: Trade, entry: Order) -> bool:
        """An intent that is too old to be sent ends here (its task was lost, or we restarted).

        Returns: whether there was one, and its row is to be read again.
        """
        if entry.status != Status.INTENT or self.desk.late_ns(trade.send_before_ns) <= 0:
            return False
        journal.deny(
            entry, status=Status.EXPIRED_LOCAL, reason="too old", now_ns=self.desk.now_ns()
        )
        return True

    def _look_up(self, one: Seen) -> bool:
        """Ask about orders without an answer; one that a task is sending now is left to it.

        Returns: whether there was one, and the rows are to be read again.
        """
        lost = [order for order in one.orders if order.status in waiting.NO_ANSWER]
        for order in lost:
            if order.status == Status.SENDING and self.is_in_flight(order):
                continue
            self.resolver.look(
                order, self.desk.broker, mono_s=self.mono(), now_ns=self.desk.now_ns()
            )
            order.refresh_from_db()
            if order.status in waiting.NO_ANSWER:
                self.desk.unsettled.add(order.trade_id)
        return bool(lost)

    def is_in_flight(self, order: Order) -> bool:
        """Is a task at it that may still answer? An answer that is late may be filled meanwhile."""
        since = self.in_flight.get(order.pk)
        if since is None or self.mono() - since >= TASK_LOST_S:
            return False
        return order.sent_ns is None or self.desk.late_ns(order.sent_ns) < ANSWER_LATE_NS

    def _entry_ttl(self, entry: Order) -> None:
        """Cancel what is unfilled at the end of the entry's time; ask when the answer is late."""
        if entry.status not in moves.LIVE or entry.broker_id is None:
            return
        now = self.desk.now_ns()
        if entry.cancel_requested_ns is None:
            if entry.expires_ns is not None and now >= entry.expires_ns:
                journal.cancel(entry, self.desk.broker, epoch=self.desk.epoch, now_ns=now)
        elif now >= waiting.entry_step_ns(self.desk, entry):
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
        safe = trade.state in (T.OPEN_PROTECTED, T.HELD_OVERNIGHT)
        if safe and not protect.covered_here(self.desk, trade):
            if trade.state == T.HELD_OVERNIGHT and self.take_in_activities():
                trade.refresh_from_db()  # in new shares, when it was its split that took the legs
            if protect.is_gone(self.desk, trade):  # legs at other prices are said when looked up
                self.desk.note_trade(trade, "trade", "protection is gone", level="alarm")
            trade = trades.note_unprotected(trade, self.desk.now_ns())
        if trade.state == T.UNPROTECTED:
            why = protect.protect(self.desk, trade)
            if why is not None:
                trade.refresh_from_db()
                exits.begin(self.desk, trade, why, hard=True)
        elif trade.state == T.EXITING:
            exits.proceed(self.desk, trade)
        elif trade.state == T.OPEN_PROTECTED:
            exits.again(self.desk, trade)
        elif trade.state == T.HELD_OVERNIGHT:
            overnight.look_after(self.desk, trade)

    def _close(self, trade: Trade) -> None:
        """Free the slot when nothing of ours is live and the venue says flat — not before."""
        if self.desk.live_orders(trade):
            self._ask(trade)
            if self.desk.cancel_sells(trade):
                return
        position = self.desk.position(trade.symbol)
        outside = external.shares(self.desk.run).get(trade.symbol, 0)
        # A fraction that is left is not ours either.
        if position is not None and int(position.quantity) != outside:
            self.desk.fills_missing = True
            self.desk.unsettled.add(trade.pk)
            return
        exits.name_legs(self.desk, trade)  # one that nobody knows would sell what is not there
        if self.desk.cancel_sells(trade):
            return
        sold = trade.orders.filter(side="sell", filled_quantity__gt=0)
        last = max((order.terminal_ns or 0 for order in sold), default=0)
        reason = exits.reason_of(trade)
        closed_ns = last or self.desk.now_ns()
        trade = trades.close(
            trade, reason=reason, now_ns=closed_ns, naked_ns=self._naked_until(trade, closed_ns)
        )
        self.desk.note_trade(
            trade,
            "trade",
            f"flat ({reason}), {trade.realized_pnl:+.2f} USD",
            reason=reason,
            pnl=str(trade.realized_pnl),
        )

    def _ask(self, trade: Trade) -> None:
        """Ask about the orders of a trade whose shares are gone, at most once a second."""
        now_ns = self.desk.now_ns()
        if now_ns >= self._ask_again_ns.get(trade.pk, 0):
            self._ask_again_ns[trade.pk] = now_ns + SECOND
            exits.refresh(self.desk, trade)

    def _naked_until(self, trade: Trade, ts_ns: int) -> int:
        since_ns = trade.naked_since_ns
        return 0 if since_ns is None else max(0, ts_ns - since_ns - self.desk.slack_ns())

    def fetch_fills(self) -> bool:
        """Book the account's executions that we have no event for; never an invented one.

        Returns: False when they could not be read: then they are still missing.
        """
        try:
            fills = self.desk.broker.fills(after_ns=self._fills_from())
            fresh = venue_state.unheard(self.desk.run, fills)
            done = [(fill, self._apply_fill(fill)) for fill in fresh]
        except BrokerError as exc:
            self.desk.fills_missing = True
            self.desk.note("reconcile", f"cannot read the fills: {exc}", level="warning")
            return False
        self.desk.fills_missing = False
        for fill, applied in done:
            if applied.new and applied.order is not None:
                self.fills_booked += 1
                late = self.desk.now_ns() - fill.ts_ns - self.desk.slack_ns()
                self.desk.stream_missed += late > STREAM_LATE_NS
                self.desk.note_trade(
                    applied.order.trade,
                    "reconcile",
                    "booked a fill the stream did not bring",
                    level="warning",
                    execution=fill.execution_id,
                )
        return True

    def take_in_activities(self) -> int:
        """Book what came or went without an order; returns how many entries are new."""
        made = cash.take_in(self.desk.run, self.desk.broker, now_ns=self.desk.now_ns())
        self.busy |= made > 0
        return made

    def _apply_fill(self, fill: FillActivity) -> venue_state.Applied:
        """Book one execution; that of a stranger's order in a symbol that we hold, as ours.

        The venue's own close-all makes such orders, and we may not have heard of them. An order of
        our own whose answer was lost, or a leg's successor, is known by what the venue says of it.
        """
        applied = venue_state.apply_fill(self.desk.run, fill)
        if applied.order is not None or not self._held_before(fill):
            return applied
        order = self.desk.broker.order(fill.order_id)
        if order is None:
            return applied
        ours = venue_state.find(self.desk.run.pk, order)
        if ours is None:
            venue_state.adopt_external(self.desk.run, order, fill.ts_ns)
        else:
            venue_state.take_over(ours, order, now_ns=self.desk.now_ns())
        return venue_state.apply_fill(self.desk.run, fill)

    def _held_before(self, fill: FillActivity) -> bool:
        """Did we have shares of its symbol, then or earlier in the run?"""
        of_symbol = Trade.objects.filter(run=self.desk.run, symbol=fill.symbol)
        return of_symbol.filter(opened_ns__lte=fill.ts_ns).exists()

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
        for trade, entry in ((one.trade, one.entry) for one in self.seen):
            due.append(self._entry_wake(trade, entry))
            due.append(exits.wake_ns(trade))
            due.append(overnight.wake_ns(self.desk, trade))
            due.append(protect.wake_ns(trade, self.desk.now_ns()))
            if trade.filled_quantity and trade.held <= 0:
                due.append(self.desk.now_ns() + 250 * MS)  # flat by fills, not closed yet
        return min((one for one in due if one is not None), default=None)

    def _entry_wake(self, trade: Trade, entry: Order) -> int | None:
        if entry.status == Status.INTENT:
            return trade.send_before_ns + self.desk.slack_ns() + 1
        if entry.status == Status.SENDING and self.is_in_flight(entry):
            return (entry.sent_ns or self.desk.now_ns()) + ANSWER_LATE_NS + self.desk.slack_ns()
        if entry.status not in moves.LIVE or entry.broker_id is None:
            return None  # ended, or its fate is being looked up on the process clock
        if entry.cancel_requested_ns is not None:
            late_ns = int(waiting.entry_step_ns(self.desk, entry))
            return max(late_ns, self.desk.now_ns() + 250 * MS)
        return entry.expires_ns

    def active_trades(self) -> list[Trade]:
        """Return the busy trades as they are now."""
        return [one.trade for one in self.look()]
