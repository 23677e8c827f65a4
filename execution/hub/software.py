"""Software exits: what the shards tell of watched positions, and what follows from it.

The rule is `domain.software_exits`. A position is left by the one way out (`exits`), its stop moves
by the one way to move a leg (`protect.move_leg`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from django.db.models import QuerySet

from execution.domain import software_exits
from execution.domain.prices import decimal_of
from execution.domain.software_exits import Held
from execution.hub import exits, protect
from execution.hub.desk import shown
from execution.hub.trader import Trader
from execution.models import Trade
from execution.services.moves import TradeState as T
from signals.messages import Mark, Report
from signals.session import BUCKET_NS

BPS = Decimal(10_000)
NAKED = (T.PARTIAL, T.UNPROTECTED)
MARK_MAX_AGE_NS = 15_000_000_000  # an older one says nothing of where the market is


@dataclass(kw_only=True)
class SoftwareExits:
    """`marks`: the newest of each symbol; its high is kept with the trade."""

    trader: Trader
    marks: dict[str, Mark] = field(default_factory=dict)

    def see(self, reports: Iterable[Report]) -> bool:
        """Take the marks of closed buckets, in any order; True when there is something to judge."""
        told: dict[str, list[Mark]] = {}
        for mark in (mark for report in reports for mark in report.marks):
            told.setdefault(mark.symbol, []).append(mark)
            known = self.marks.get(mark.symbol)
            if known is None or known.k < mark.k:
                self.marks[mark.symbol] = mark
        if not told:
            return False
        managed = [
            trade
            for trade in self._protected().filter(symbol__in=told)
            if trade.exit_parameters.get("exit_mode") == "bracket_plus_software"
        ]
        for trade in managed:
            self._raise_high(trade, told[trade.symbol])
        naked = Trade.objects.filter(run=self.trader.desk.run, state__in=NAKED)
        return bool(managed) or naked.filter(symbol__in=told).exists()

    def _raise_high(self, trade: Trade, marks: Iterable[Mark]) -> None:
        """Keep the best price; the bucket of the entry holds prints from before it."""
        since_ns = trade.opened_ns or trade.reserved_ns
        highs = [decimal_of(mark.high) for mark in marks if mark.k * BUCKET_NS >= since_ns]
        best = max([*highs, *([] if trade.high is None else [trade.high])], default=None)
        if best != trade.high:
            Trade.objects.filter(pk=trade.pk).update(high=best)

    def act(self) -> bool:
        """Do what is due now; what a decision or a person asked to leave goes first.

        Returns: whether anything was begun.
        """
        busy = [one.trade for one in self.trader.look()]
        begun = self._leave_naked(trade for trade in busy if trade.state in NAKED)
        for trade in (trade for trade in busy if trade.state == T.OPEN_PROTECTED):
            mark = self._fresh_mark(trade.symbol)
            if mark is not None and mark.halted:
                continue  # nobody can sell, and the legs must stay as they are
            if trade.leave_why:
                exits.begin(self.trader.desk, trade, trade.leave_why)
                begun = True
                continue
            now_ns = self.trader.desk.now_ns()
            held = self.held(trade)
            action = software_exits.next_action(held, now_ns, trade.exit_parameters)
            if action.leave:
                exits.begin(self.trader.desk, trade, action.leave)
                begun = True
            elif action.stop is not None:
                self._move(trade, action.stop)
                begun = True
        return begun

    def _leave_naked(self, naked: Iterable[Trade]) -> bool:
        """Shares without a live stop are sold where the stop would have been (trigger 5.7)."""
        begun = False
        for trade in naked:
            price = self._price(trade.symbol)
            if trade.held > 0 and price is not None and price <= trade.stop_loss:
                exits.leave(self.trader.desk, trade, "stop")
                begun = True
        return begun

    def wake_ns(self) -> int | None:
        """Return when time alone asks for something."""
        now_ns = self.trader.desk.now_ns()
        due = [
            software_exits.wake_ns(self.held(trade), now_ns, trade.exit_parameters)
            for trade in (one.trade for one in self.trader.seen)
            if trade.state == T.OPEN_PROTECTED
        ]
        return min((at for at in due if at is not None), default=None)

    def held(self, trade: Trade) -> Held:
        """Return the position as the rule sees it now."""
        return held_of(trade, self._price(trade.symbol))

    def _protected(self) -> QuerySet[Trade]:
        run = self.trader.desk.run
        return Trade.objects.filter(run=run, state=T.OPEN_PROTECTED).order_by("pk")

    def _fresh_mark(self, symbol: str) -> Mark | None:
        mark = self.marks.get(symbol)
        if mark is None:
            return None
        late_ns = self.trader.desk.late_ns((mark.k + 1) * BUCKET_NS)
        return mark if late_ns <= MARK_MAX_AGE_NS else None

    def _price(self, symbol: str) -> Decimal | None:
        """Return where it could be sold now: our own bid, the bucket's, else its close."""
        bid = self.trader.desk.bid_of(symbol)
        if bid is not None:
            return bid
        mark = self._fresh_mark(symbol)
        return None if mark is None else price_of(mark)

    def _move(self, trade: Trade, stop: Decimal) -> None:
        """Raise the stop's leg; a refusal keeps the old one, and is tried again after the pause."""
        desk, before = self.trader.desk, trade.stop_loss
        moved = protect.move_leg(desk, trade, ("sl",), stop=stop)
        trade.stop_moved_ns = desk.now_ns()
        if moved:
            trade.first_stop = before if trade.first_stop is None else trade.first_stop
            trade.stop_loss = stop
            trade.version += 1
        trade.save(update_fields=["stop_moved_ns", "first_stop", "stop_loss", "version"])
        said = "raised to" if moved else "could not be raised to"
        desk.note_trade(
            trade,
            "exit",
            f"stop {said} {shown(stop)} from {shown(before)}",
            level="info" if moved else "warning",
            stop=str(stop),
        )
        self.trader.busy = True


def held_of(trade: Trade, price: Decimal | None) -> Held:
    """Return a trade as its software exits see it, with the market at `price`."""
    entry = trade.entry_value / trade.filled_quantity if trade.filled_quantity else trade.limit
    cost_bps = decimal_of(trade.exit_parameters["plan"].get("round_trip_bps") or 0.0)
    return Held(
        entry=entry,
        first_stop=trade.stop_loss if trade.first_stop is None else trade.first_stop,
        stop=trade.stop_loss,
        cost=entry * cost_bps / BPS,
        opened_ns=trade.opened_ns or trade.reserved_ns,
        high=trade.high,
        price=price,
        stop_moved_ns=trade.stop_moved_ns,
    )


def price_of(mark: Mark) -> Decimal:
    """Return where the position could be sold at the bucket's end: the bid, else the close."""
    quote = mark.quote
    if quote is not None and 0 < quote.bid < quote.ask:
        return decimal_of(quote.bid)
    return decimal_of(mark.close)
