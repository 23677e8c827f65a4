"""The floor of the paper venue: working orders against market data, fills, groups, trade updates.

Sans-I/O and exact in Decimal. `engine.VenueEngine` adds requests and time on top.
"""

import random
from collections.abc import Iterator
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

from execution.venue import holds, matching, wire
from execution.venue.account import Account, Bust, Fill
from execution.venue.books import Book, Books, is_quote
from execution.venue.orders import Event, Group, Status, VenueOrder


class Floor:
    """One account, its open orders, and what the market does to them."""

    def __init__(self, *, cash: Decimal, seed: str, partial_rate: float, books: Books) -> None:
        self.books = books
        self.updates_emitted = 0
        self.orders: dict[str, VenueOrder] = {}
        self.unprotected: list[tuple[str, int, int | None]] = []  # symbol, from, until
        self._namespace = uuid5(NAMESPACE_URL, f"venue/{seed}")
        self.account = Account(f"PA{self._id('account').hex[:8].upper()}", cash)
        self._random = random.Random(seed)
        self._partial_rate = partial_rate
        self._open: dict[int, VenueOrder] = {}
        self._armed: dict[str, list[VenueOrder]] = {}
        self._updates: list[wire.JSON] = []
        self.naked_since: dict[str, int] = {}
        self._executions = 0
        self.halted: set[str] = set()  # nothing trades in these

    @property
    def open_orders(self) -> list[VenueOrder]:
        return [self._open[number] for number in sorted(self._open)]

    @property
    def buying_power(self) -> Decimal:
        return holds.buying_power(self.account, self._open.values(), self.books)

    def available(self, symbol: str) -> int:
        """Return the shares of a position that no open order holds, signed like the position."""
        quantity = self.account.quantity(symbol)
        side = "sell" if quantity > 0 else "buy"
        held, _ = holds.held_shares(self._open.values(), symbol, side)
        return quantity - held if quantity > 0 else quantity + held

    def triggers(self) -> dict[str, list[matching.Trigger]]:
        """Return, by symbol, what the market must do for any working order to move."""
        return {
            symbol: [matching.trigger_of(order) for order in orders]
            for symbol, orders in self._armed.items()
        }

    def take_updates(self) -> list[wire.JSON]:
        """Return the trade updates since the last call, numbered from 1 by `sequence`."""
        taken, self._updates = self._updates, []
        return taken

    # --- market data and time ---------------------------------------------------------------------
    def on_quote(self, symbol: str, bid: Decimal, ask: Decimal, ts_ns: int) -> None:
        """Take one NBBO update; one that does not count changes nothing."""
        if not is_quote(bid, ask):
            return
        book = Book(bid, ask, self.books.get(symbol).last)
        self.books.put(symbol, book)
        for order in self._working(symbol):
            if not order.waits_for_print:
                self._try_fill(order, matching.price_now(order, book), ts_ns)
        self.settle(symbol, ts_ns)

    def on_trade(self, symbol: str, price: Decimal, size: int, eligible: bool, ts_ns: int) -> None:
        """Take one print; only price-eligible ones move orders."""
        if not eligible or price <= 0 or size <= 0:
            return
        before = self.books.get(symbol)
        book = Book(before.bid, before.ask, price)
        self.books.put(symbol, book)
        for order in self._working(symbol):
            if order.waits_for_print:
                if matching.elects(order, price, book):
                    self._elect(order, book, ts_ns)
            elif not book.quoted:
                self._try_fill(order, matching.price_within(order, price), ts_ns)
        self.settle(symbol, ts_ns)

    # --- events -----------------------------------------------------------------------------------
    def _id(self, name: str) -> UUID:
        return uuid5(self._namespace, name)

    def _activate(self, order: VenueOrder, ts_ns: int) -> None:
        """Make the order work, say so, and let it trade at once if it can."""
        order.apply(Event.NEW, ts_ns)
        self._emit(Event.NEW, order, ts_ns)
        self._arm(order)
        if not order.waits_for_print:
            book = self.books.get(order.symbol)
            self._try_fill(order, matching.price_now(order, book), ts_ns)

    def _arm(self, order: VenueOrder) -> None:
        order.armed = True
        orders = self._armed.setdefault(order.symbol, [])
        orders.append(order)
        orders.sort(key=by_number)

    def _working(self, symbol: str) -> Iterator[VenueOrder]:
        """Yield the orders that work when their turn comes, oldest first."""
        for order in tuple(self._armed.get(symbol, ())):
            if order.armed:
                yield order

    def _elect(self, order: VenueOrder, book: Book, ts_ns: int) -> None:
        order.elected = True
        if order.type == "stop_limit" and order.status is Status.HELD:
            order.apply(Event.NEW, ts_ns)
            self._emit(Event.NEW, order, ts_ns)
        self._try_fill(order, matching.price_now(order, book), ts_ns)

    def _try_fill(self, order: VenueOrder, price: Decimal | None, ts_ns: int) -> None:
        if price is None or not order.armed or order.symbol in self.halted:
            return
        quantity = order.leaves
        may_split = quantity > 1 and order.time_in_force != "fok"
        if may_split and self._split(order, ts_ns):
            quantity = self._random.randint(1, quantity - 1)
        self._fill(order, quantity, price, ts_ns)

    def _split(self, order: VenueOrder, ts_ns: int) -> bool:
        """Say whether this fill is partial."""
        return self._partial_rate > 0 and self._random.random() < self._partial_rate

    def _fill(self, order: VenueOrder, quantity: int, price: Decimal, ts_ns: int) -> None:
        fill, position = self.execute(order, quantity, price, ts_ns)
        event = Event.PARTIAL_FILL if order.leaves else Event.FILL
        order.apply(event, ts_ns)
        self._retire(order)
        self.say(event.value, order, ts_ns, fill=fill, position=position)
        self._after_fill(fill, ts_ns)
        if order.group is not None:
            self._fill_in_group(order.group, order, quantity, ts_ns)

    def _after_fill(self, fill: Fill, ts_ns: int) -> None:
        """What may become of a fill later; nothing, here."""

    def next_execution_id(self) -> str:
        self._executions += 1
        return str(self._id(f"fill/{self._executions}"))

    def execute(
        self, order: VenueOrder, quantity: int, price: Decimal, ts_ns: int, *, corrects: str = ""
    ) -> tuple[Fill, int]:
        """Move shares and money for one execution; return it and the position after it."""
        order.filled += quantity
        order.filled_value += quantity * price
        fill = Fill(
            execution_id=self.next_execution_id(),
            number=self._executions,
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            ts_ns=ts_ns,
            cumulative=order.filled,
            leaves=order.leaves,
            corrects=corrects,
        )
        return fill, self.account.apply(fill)

    def _fill_in_group(self, group: Group, order: VenueOrder, quantity: int, ts_ns: int) -> None:
        if order is group.entry:
            group.entered += quantity
            if order.leaves == 0:
                self._arm_exits(group, ts_ns)
        elif order.leaves == 0:
            self._cancel_rest(group, ts_ns)
        else:
            for other in group.exits:
                if other is not order and other.is_open:
                    other.quantity = other.filled + order.leaves

    def _arm_exits(self, group: Group, ts_ns: int) -> None:
        """The entry is complete: the take-profit works, the stop-loss is held but watches."""
        for leg in group.exits:
            leg.quantity = group.entered
        for leg in tuple(group.exits):
            if not leg.is_open:
                continue
            if leg.waits_for_print and len(group.exits) > 1:
                self._arm(leg)
            else:
                self._activate(leg, ts_ns)

    def _cancel_rest(self, group: Group, ts_ns: int) -> None:
        for other in sorted(group.members, key=by_number):
            if other.is_open:
                self._end(other, Event.CANCELED, ts_ns)

    def _end(self, order: VenueOrder, event: Event, ts_ns: int) -> None:
        order.apply(event, ts_ns)
        self._retire(order)
        self._emit(event, order, ts_ns)

    def end_orders(self, symbol: str, ts_ns: int) -> None:
        """End every open order of a symbol, as a venue does when its shares become others."""
        for order in self.open_orders:
            if order.symbol == symbol and order.is_open:
                self._end(order, Event.CANCELED, ts_ns)

    def _retire(self, order: VenueOrder) -> None:
        """Forget an ended order everywhere but in the books."""
        if order.is_open:
            return
        self._open.pop(order.number, None)
        working = self._armed.get(order.symbol, [])
        if order in working:
            working.remove(order)
            if not working:
                del self._armed[order.symbol]

    def _emit(self, event: Event, order: VenueOrder, ts_ns: int) -> None:
        self.say(event.value, order, ts_ns)

    def say(
        self,
        event: str,
        order: VenueOrder,
        ts_ns: int,
        *,
        fill: Fill | None = None,
        bust: Bust | None = None,
        position: int = 0,
    ) -> None:
        """Number one trade update and keep it for the stream."""
        self.updates_emitted += 1
        update: wire.JSON = {
            "sequence": self.updates_emitted,
            "event": event,
            "timestamp": wire.rfc3339(ts_ns),
            "order": wire.order_json(order),
        }
        if fill is not None:
            update |= {
                "execution_id": fill.execution_id,
                "price": wire.plain(fill.price),
                "qty": str(fill.quantity),
                "position_qty": str(position),
            }
            if fill.corrects:
                update["previous_execution_id"] = fill.corrects
        if bust is not None:
            update |= {
                "execution_id": bust.execution_id,
                "previous_execution_id": bust.previous.execution_id,
                "price": wire.plain(bust.previous.price),
                "qty": str(bust.previous.quantity),
                "position_qty": str(position),
            }
        self._updates.append(update)

    def settle(self, symbol: str, ts_ns: int) -> None:
        """Note when a position loses or regains a live stop behind every share."""
        quantity = self.account.quantity(symbol)
        naked = quantity != 0 and holds.unprotected_shares(
            quantity, self._armed.get(symbol, ()), symbol
        )
        since = self.naked_since.get(symbol)
        if naked and since is None:
            self.naked_since[symbol] = ts_ns
        elif not naked and since is not None:
            del self.naked_since[symbol]
            if since != ts_ns:
                self.unprotected.append((symbol, since, ts_ns))

    def truth(self) -> wire.JSON:
        """Return what really happened, for whoever checks the hub's books against it."""
        naked = [*self.unprotected, *((s, at, None) for s, at in sorted(self.naked_since.items()))]
        return {
            "account": self.account.number,
            "cash": wire.plain(self.account.cash),
            "initial_cash": wire.plain(self.account.initial_cash),
            "realized": wire.plain(self.account.realized),
            "positions": {s: p.quantity for s, p in sorted(self.account.positions.items())},
            "orders": len(self.orders),
            "open_orders": len(self._open),
            "fills": len(self.account.fills),
            "unprotected": [
                {"symbol": symbol, "from_ns": start, "until_ns": until}
                for symbol, start, until in naked
            ],
        }


def by_number(order: VenueOrder) -> int:
    return order.number
