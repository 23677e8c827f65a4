"""What every part of the order desk shares: the run, the broker, the fence, the market clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from execution.brokers.port import Broker, BrokerOrder, BrokerPosition
from execution.domain.prices import tick_of
from execution.models import Order, Run, Trade
from execution.services import activity, journal, moves

MS = 1_000_000
SECOND = 1_000_000_000
SELL_PURPOSES = ("tp", "sl", "o", "x", "f")
CANCEL_AGAIN_NS = 2 * SECOND
LIVE = tuple(str(status) for status in moves.LIVE)


@dataclass(kw_only=True)
class Desk:
    """Args: now_ns: the market clock; bid_of: newest bid of a symbol that we know of, or None."""

    run: Run
    broker: Broker
    epoch: int
    now_ns: Callable[[], int]
    bid_of: Callable[[str], Decimal | None] = lambda symbol: None
    #: Market time that our own work costs on a tape that runs fast (`MarketClock.slack_ns`).
    slack_ns: Callable[[], int] = lambda: 0
    #: Trades whose next step failed for want of an answer; asked again on the process clock.
    unsettled: set[int] = field(default_factory=set)
    #: Bids that came with an exit signal of this moment, by symbol.
    signal_bids: dict[str, Decimal] = field(default_factory=dict)
    #: Executions may be missing here: ask the account's activities. A new hub has heard of none.
    fills_missing: bool = True
    #: Fills that REST told although the stream had had its time: it is open and does not speak.
    stream_missed: int = 0
    #: Entries of today that another run made on this account: they are of the same day's number.
    entries_of_others: int = 0

    def late_ns(self, since_ns: int) -> int:
        """Return how much later than `since_ns` it is, what a fast tape excuses left out."""
        return max(0, self.now_ns() - since_ns - self.slack_ns())

    def due_ns(self, wait_ns: int) -> int:
        """Return when the wait for an answer is over that should take `wait_ns` at most."""
        return self.now_ns() + wait_ns + self.slack_ns()

    def note(self, kind: str, text: str, *, level: str = "info", **facts: Any) -> None:
        activity.note(self.run.pk, kind, text, level=level, market_ns=self.now_ns(), **facts)

    def note_trade(
        self, trade: Trade, kind: str, text: str, *, level: str = "info", **facts: Any
    ) -> None:
        """Record what became of a trade: the sentence names its stock, the facts which trade."""
        which = {"symbol": trade.symbol, "trade": trade.pk, "slot": trade.slot}
        self.note(kind, f"{trade.symbol}: {text}", level=level, **which, **facts)

    def position(self, symbol: str) -> BrokerPosition | None:
        """Return the venue's position in a symbol, None when it says there is none."""
        return next((row for row in self.broker.positions() if row.symbol == symbol), None)

    def cancel_sells(self, trade: Trade) -> list[Order]:
        """Ask for the cancel of every live sell; of one that outlives its cancel, once more.

        A second cancel changes nothing, and the first may never have arrived. Returns: the live
        ones, as they were before.
        """
        live, now_ns = self.live_orders(trade), self.now_ns()
        for order in live:
            asked_ns = order.cancel_requested_ns
            if order.broker_id and (asked_ns is None or now_ns >= asked_ns + CANCEL_AGAIN_NS):
                journal.cancel(order, self.broker, epoch=self.epoch, now_ns=now_ns)
        return live

    def live_orders(self, trade: Trade, *purposes: str) -> list[Order]:
        """Return the trade's orders that are, or may be, at the venue."""
        rows = trade.orders.filter(status__in=LIVE, purpose__in=purposes or SELL_PURPOSES)
        return list(rows.order_by("pk"))


def shown(price: Decimal | None) -> str:
    """Return a price for people: to its tick."""
    return "market" if price is None else str(price.quantize(tick_of(price)))


def legs_of(seen: BrokerOrder) -> tuple[BrokerOrder, ...]:
    """Return the sells that protect: a bracket's legs, or an OCO with its child."""
    return seen.legs if seen.side == "buy" else (seen, *seen.legs)
