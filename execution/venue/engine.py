"""The paper venue's engine: requests and market data in, numbered trade updates out.

Sans-I/O: every call brings its time, ids come from the seed, and events happen in one total order
(time, kind, order number). Market data up to a time must be given before `advance` reaches it.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import replace as changed
from decimal import Decimal
from enum import IntEnum

from execution.venue import checks, holds, matching, mishaps, rejections
from execution.venue.account import Fill
from execution.venue.books import Books
from execution.venue.faults import FaultPlan
from execution.venue.floor import Floor
from execution.venue.orders import Changes, Event, Group, OrderRequest, Side, Status, VenueOrder
from signals.session import Session

MS = 1_000_000
HIDDEN_NS = 20_000 * MS  # how long a fault plan may hide an order from look-ups


class Kind(IntEnum):
    """What happens first when several things happen at one time."""

    CANCEL = 1
    REPLACE = 2
    SUBMIT = 3
    MISHAP = 4


@dataclass(frozen=True)
class Mishap:
    """Something that a fault plan has in store: what it does when its time comes."""

    symbol: str
    act: Callable[[int], object]


class VenueEngine(Floor):
    """One paper account on one session. Whole shares, regular hours unless asked otherwise."""

    def __init__(
        self,
        *,
        session: Session,
        symbols: Iterable[str],
        cash: Decimal = Decimal(100_000),
        seed: str = "paper",
        latency_ns: int = 150 * MS,
        partial_rate: float = 0.0,
        books: Books | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        super().__init__(cash=cash, seed=seed, partial_rate=partial_rate, books=books or Books())
        self.session = session
        self.symbols = frozenset(symbols)
        self.latency_ns = latency_ns
        self._by_client_id: dict[str, VenueOrder] = {}
        self.faults = faults or FaultPlan()
        self._requests: list[tuple[int, Kind, int, VenueOrder | Mishap]] = []
        self._mishaps = 0
        self._parked: list[VenueOrder] = []  # came after the close: for the next session
        self._created = 0

    # --- reading ----------------------------------------------------------------------------------
    def order(self, order_id: str) -> VenueOrder:
        """Return the order. Raises: Rejection (404): unknown."""
        order = self.orders.get(order_id)
        if order is None:
            raise rejections.not_found(f"order not found for {order_id[:64]}")
        return order

    def order_by_client_id(self, client_order_id: str, now_ns: int | None = None) -> VenueOrder:
        """Return the order. Raises: Rejection (404): unknown, or hidden by the fault plan."""
        order = self._by_client_id.get(client_order_id)
        young = order is not None and now_ns is not None and now_ns - order.created_ns < HIDDEN_NS
        if order is not None and young and now_ns is not None:
            order = None if self.faults.venue("hidden", order.symbol, now_ns) else order
        if order is None:
            raise rejections.not_found(f"order not found for {client_order_id[:128]}")
        return order

    def due_ns(self) -> int | None:
        """Return the time of the next event that needs no market data, or None."""
        due = [self._requests[0][0]] if self._requests else []
        if any(self._expires(order) for order in self._open.values()):
            due.append(self.session.close_ns)
        return min(due) if due else None

    # --- requests: answered at once, effective a latency later ------------------------------------
    def submit(
        self, request: OrderRequest, now_ns: int, *, closes_position: bool = False
    ) -> VenueOrder:
        """Take an order; it reaches the market at `now_ns` plus the latency.

        Args:
            closes_position: sells no more than is there on arrival, whatever other orders hold.
        Raises:
            Rejection: as Alpaca's API would.
        """
        checks.check_shape(request)
        opening, price = self._check_order(request, closes_position)
        order = self._create(request, now_ns)
        order.opening, order.hold_price = opening, price or Decimal(0)
        order.closes_position = closes_position
        if request.order_class not in ("", "simple"):
            order.group = self._group(order, request, now_ns)
        self._schedule_submit(order, now_ns)
        return order

    def cancel(self, order_id: str, now_ns: int) -> VenueOrder:
        """Ask for a cancel. Raises: Rejection: unknown order, or one that has ended."""
        order = self.order(order_id)
        if not order.is_open:
            raise rejections.not_cancelable(order.shown_status)
        if order.cancel_requested_ns is None:
            order.cancel_requested_ns = order.updated_ns = now_ns
            self._schedule(now_ns + self.latency_ns, Kind.CANCEL, order)
        return order

    def replace(self, order_id: str, changes: Changes, now_ns: int) -> VenueOrder:
        """Ask for a replace; return the new order, which takes over when it arrives.

        Raises:
            Rejection: unknown or ended order, one in flight, or prices the venue refuses.
        """
        old = self.order(order_id)
        request = self._replacing_request(old, changes)
        book = self.books.get(old.symbol)
        price = checks.hold_price(old.side, request.limit, request.stop, book) or Decimal(0)
        if old.opening:
            extra = request.quantity * price - old.leaves * old.hold_price
            self._check_buying_power(extra)
        elif request.quantity > old.leaves and old.is_simple:
            self._check_shares(request, extra=request.quantity - old.leaves)
        new = self._create(request, now_ns)
        new.order_class, new.group, new.opening = old.order_class, old.group, old.opening
        new.hold_price, new.replaces, new.on_its_way = price, old.id, True
        new.status = Status.HELD if old.status is Status.HELD else Status.ACCEPTED
        old.replacement, old.updated_ns = new, now_ns
        self._schedule(now_ns + self.latency_ns, Kind.REPLACE, new)
        return new

    def cancel_all(self, now_ns: int) -> list[VenueOrder]:
        """Ask for a cancel of every open order; return them."""
        return [self.cancel(order.id, now_ns) for order in self.open_orders]

    def close_position(
        self, symbol: str, now_ns: int, *, quantity: int | None = None, force: bool = False
    ) -> VenueOrder:
        """Send a market order that closes (part of) a position.

        Args:
            force: do not mind shares held by other orders (close-all cancels those first).
        Raises:
            Rejection: no position (404), or its shares are held.
        """
        held = self.account.quantity(symbol)
        if held == 0:
            raise rejections.not_found("position does not exist")
        side: Side = "sell" if held > 0 else "buy"
        request = OrderRequest(symbol=symbol, side=side, quantity=quantity or abs(held))
        return self.submit(request, now_ns, closes_position=force)

    # --- time -------------------------------------------------------------------------------------
    def advance(self, ts_ns: int) -> None:
        """Let every request and the session's close take effect up to and including `ts_ns`."""
        while (due := self.due_ns()) is not None and due <= ts_ns:
            if self.session.close_ns <= due and self._expire_day_orders(due):
                continue
            at, kind, _, order = heapq.heappop(self._requests)
            self._arrive(kind, order, at)
            self.settle(order.symbol, at)

    def open_session(self, session: Session) -> None:
        """Begin another trading day: orders that came after the close are due at its open."""
        self.session = session
        parked, self._parked = self._parked, []
        for order in parked:
            self._schedule_submit(order, session.open_ns)

    # --- taking requests --------------------------------------------------------------------------
    def _check_order(
        self, request: OrderRequest, closes_position: bool
    ) -> tuple[bool, Decimal | None]:
        """Return whether the order opens, and the price it holds buying power at."""
        if request.symbol not in self.symbols:
            raise rejections.unprocessable(f'asset "{request.symbol[:20]}" not found')
        if self.account.suspended:
            raise rejections.forbidden("new orders are rejected by user request")
        if request.client_order_id in self._by_client_id:
            raise rejections.duplicate_client_order_id()
        book = self.books.get(request.symbol)
        checks.check_legs(request, book)
        if request.type in ("stop", "stop_limit"):
            checks.check_stop(request.side, request.stop, book)
        price = checks.hold_price(request.side, request.limit, request.stop, book)
        if closes_position:
            return False, price
        self._check_wash(request)
        opening = self._opens(request)
        if opening:
            self._check_buying_power(request.quantity * (price or Decimal(0)))
        else:
            self._check_shares(request)
        return opening, price

    def _opens(self, request: OrderRequest) -> bool:
        quantity = self.account.quantity(request.symbol)
        if request.order_class == "oco" or quantity * (1 if request.side == "buy" else -1) < 0:
            return False
        if request.side == "sell" and self.account.no_shorting:
            raise rejections.forbidden("account is not allowed to short")
        return True

    def _check_wash(self, request: OrderRequest) -> None:
        opposite = (
            order
            for order in self.open_orders
            if order.symbol == request.symbol and order.side != request.side and order.is_simple
        )
        checks.check_wash(request, opposite)

    def _check_buying_power(self, cost: Decimal) -> None:
        free = self.buying_power
        if cost > free:
            raise rejections.insufficient_buying_power(free, cost)

    def _check_shares(self, request: OrderRequest, *, extra: int | None = None) -> None:
        existing = abs(self.account.quantity(request.symbol))
        if (self.account.quantity(request.symbol) > 0) != (request.side == "sell"):
            existing = 0  # an exit on the wrong side closes nothing
        held, ids = holds.held_shares(self._open.values(), request.symbol, request.side)
        available = max(existing - held, 0)
        if (request.quantity if extra is None else extra) > available:
            raise rejections.insufficient_quantity(
                request.symbol,
                requested=request.quantity,
                available=available,
                existing=existing,
                related=ids,
            )

    def _replacing_request(self, old: VenueOrder, changes: Changes) -> OrderRequest:
        status = old.shown_status
        if status not in ("new", "partially_filled", "held"):
            raise rejections.unprocessable(f"cannot replace order in {status} status")
        if changes.client_order_id in self._by_client_id:
            raise rejections.duplicate_client_order_id()
        request = OrderRequest(
            symbol=old.symbol,
            side=old.side,
            type=old.type,
            quantity=old.leaves if changes.quantity is None else changes.quantity,
            limit=old.limit if changes.limit is None else changes.limit,
            stop=old.stop if changes.stop is None else changes.stop,
            time_in_force=changes.time_in_force or old.time_in_force,
            extended_hours=old.extended_hours,
            client_order_id=changes.client_order_id,
        )
        checks.check_shape(request)
        if old.waits_for_print and changes.stop is not None:
            checks.check_stop(old.side, changes.stop, self.books.get(old.symbol))
        return request

    def _create(self, request: OrderRequest, now_ns: int) -> VenueOrder:
        """Make the row. Ids follow the client's id, so that they do not hang on request order."""
        self._created += 1
        client_id = request.client_order_id or str(self._id(f"client/{self._created}"))
        order = VenueOrder(
            number=self._created,
            id=str(self._id(f"order/{client_id}")),
            client_order_id=client_id,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            limit=request.limit,
            stop=request.stop,
            order_class=request.order_class,
            extended_hours=request.extended_hours,
            created_ns=now_ns,
            updated_ns=now_ns,
        )
        self.orders[order.id] = self._by_client_id[client_id] = order
        self._open[order.number] = order
        return order

    def _group(self, order: VenueOrder, request: OrderRequest, now_ns: int) -> Group:
        """Make the legs of a bracket, OCO or OTO order, held until they count."""
        is_oco = request.order_class == "oco"
        if is_oco:
            order.limit = request.take_profit
        opposite: Side = "sell" if request.side == "buy" else "buy"
        leg = changed(request, side=request.side if is_oco else opposite, stop=None)
        exits = [order] if is_oco else []
        if not is_oco and request.take_profit is not None:
            terms = changed(leg, type="limit", limit=request.take_profit)
            exits.append(self._leg(order, terms, "take-profit", now_ns))
        if request.stop_loss is not None:
            kind = "stop" if request.stop_loss_limit is None else "stop_limit"
            terms = changed(leg, type=kind, stop=request.stop_loss, limit=request.stop_loss_limit)
            exits.append(self._leg(order, terms, "stop-loss", now_ns))
        group = Group(None if is_oco else order, exits)
        for exit_order in exits:
            exit_order.group = group
        return group

    def _leg(self, parent: VenueOrder, terms: OrderRequest, role: str, now_ns: int) -> VenueOrder:
        client_id = str(self._id(f"leg/{parent.client_order_id}/{role}"))
        leg = self._create(changed(terms, client_order_id=client_id), now_ns)
        leg.status = Status.HELD
        return leg

    def _schedule_submit(self, order: VenueOrder, now_ns: int) -> None:
        at = now_ns + self.latency_ns
        if not order.extended_hours:
            if at >= self.session.close_ns:
                self._parked.append(order)
                return
            at = max(at, self.session.open_ns)
        self._schedule(at, Kind.SUBMIT, order)

    def _schedule(self, at: int, kind: Kind, order: VenueOrder) -> None:
        heapq.heappush(self._requests, (at, kind, order.number, order))

    # --- events -----------------------------------------------------------------------------------
    def _arrive(self, kind: Kind, order: VenueOrder | Mishap, ts_ns: int) -> None:
        if isinstance(order, Mishap):
            order.act(ts_ns)
        elif kind is Kind.CANCEL:
            self._cancel_arrives(order, ts_ns)
        elif kind is Kind.REPLACE:
            self._replace_arrives(order, ts_ns)
        elif order.is_open:
            self._submit_arrives(order, ts_ns)

    def _submit_arrives(self, order: VenueOrder, ts_ns: int) -> None:
        if order.closes_position:
            there = self.account.quantity(order.symbol)
            order.quantity = min(order.quantity, max(0, -there if order.is_buy else there))
            if order.quantity == 0:
                self._end(order, Event.REJECTED, ts_ns)
                return
        self._activate(order, ts_ns)
        group = order.group
        if group is not None and group.entry is None and order.is_open:
            for leg in group.legs_of(order):
                self._arm(leg)
        if order.is_open and order.time_in_force in ("ioc", "fok"):
            self._end(order, Event.CANCELED, ts_ns)

    # --- what a fault plan has in store -----------------------------------------------------------
    def later(self, ts_ns: int, symbol: str, act: Callable[[int], object]) -> None:
        """Let something happen inside the venue at a time."""
        self._mishaps += 1
        entry = (ts_ns, Kind.MISHAP, self._mishaps, Mishap(symbol, act))
        heapq.heappush(self._requests, entry)

    def _end(self, order: VenueOrder, event: Event, ts_ns: int) -> None:
        could_fill = order.is_buy or self._could_sell(order)
        super()._end(order, event, ts_ns)
        if event is Event.CANCELED and order.leaves and could_fill:
            self._race(order, "both_legs" if self._is_other_exit(order) else "late_fill", ts_ns)

    @staticmethod
    def _could_sell(order: VenueOrder) -> bool:
        """The exits of an entry that bought nothing were never at the exchange."""
        group = order.group
        return group is None or group.entry is None or group.entered > 0

    def _race(self, order: VenueOrder, kind: str, ts_ns: int) -> None:
        """A fill may have been under way when the order ended."""
        rule = self.faults.venue(kind, order.symbol, ts_ns)
        price = order.limit or order.stop or self.books.get(order.symbol).mark
        if rule is not None and price is not None:
            self.later(
                ts_ns + rule.delay_ms * MS,
                order.symbol,
                lambda at: mishaps.fill_ended(self, order, order.leaves, price, at),
            )

    @staticmethod
    def _is_other_exit(order: VenueOrder) -> bool:
        group = order.group
        return (
            group is not None
            and order in group.exits
            and any(one.status is Status.FILLED for one in group.exits)
        )

    def _after_fill(self, fill: Fill, ts_ns: int) -> None:
        rule = self.faults.venue("bust", fill.symbol, ts_ns)
        if rule is not None:
            self.later(
                ts_ns + rule.delay_ms * MS, fill.symbol, lambda at: mishaps.bust(self, fill, at)
            )
            return
        rule = self.faults.venue("correct", fill.symbol, ts_ns)
        if rule is not None:
            price = fill.price + Decimal(rule.ticks) / 100
            self.later(
                ts_ns + rule.delay_ms * MS,
                fill.symbol,
                lambda at: mishaps.bust(self, fill, at, price=price),
            )
        rule = self.faults.venue("overfill", fill.symbol, ts_ns) if not fill.leaves else None
        if rule is not None:
            self.later(
                ts_ns + rule.delay_ms * MS, fill.symbol, lambda at: mishaps.overfill(self, fill, at)
            )
        rule = self.faults.venue("halt", fill.symbol, ts_ns)
        if rule is not None:
            self.halted.add(fill.symbol)
            until_ns = ts_ns + int(rule.seconds * 1000) * MS
            self.later(until_ns, fill.symbol, lambda at: self._resume(fill.symbol, at))

    def _resume(self, symbol: str, ts_ns: int) -> None:
        """Trade again after a halt: what became marketable meanwhile fills now."""
        self.halted.discard(symbol)
        book = self.books.get(symbol)
        for order in self._working(symbol):
            if not order.waits_for_print:
                self._try_fill(order, matching.price_now(order, book), ts_ns)

    def _arm_exits(self, group: Group, ts_ns: int) -> None:
        super()._arm_exits(group, ts_ns)
        rule = self.faults.venue("lose_leg", group.parent.symbol, ts_ns)
        if rule is not None:
            self.later(
                ts_ns + rule.delay_ms * MS,
                group.parent.symbol,
                lambda at: self._lose_exits(group, at),
            )

    def _lose_exits(self, group: Group, ts_ns: int) -> None:
        self._cancel_rest(group, ts_ns)

    def _split(self, order: VenueOrder, ts_ns: int) -> bool:
        by_plan = self.faults.venue("partial", order.symbol, ts_ns) is not None
        return by_plan or super()._split(order, ts_ns)

    def _cancel_arrives(self, order: VenueOrder, ts_ns: int) -> None:
        while order.replaced_by is not None:
            order = self.orders[order.replaced_by]  # replaced on the way: it means the new one
        if not order.is_open:
            return  # a fill or an expiry was faster
        group = order.group
        self._end(order, Event.CANCELED, ts_ns)
        if group is not None and order in group.members:
            self._cancel_rest(group, ts_ns)

    def _replace_arrives(self, new: VenueOrder, ts_ns: int) -> None:
        old = self.orders[new.replaces or ""]
        old.replacement, new.on_its_way = None, False
        if not new.is_open:
            return  # canceled on its way
        if not old.is_open:
            self._end(new, Event.REJECTED, ts_ns)
            return
        if old.group is not None and old is not old.group.entry:
            new.quantity = old.leaves  # exits cover what was entered, no more, no less
        was_armed, was_held, new.elected = old.armed, old.status is Status.HELD, old.elected
        old.replaced_by = new.id
        self._end(old, Event.REPLACED, ts_ns)
        if old.group is not None:
            old.group.substitute(old, new)
        if not was_held:
            self._activate(new, ts_ns)
        elif was_armed:
            self._arm(new)

    def _expires(self, order: VenueOrder) -> bool:
        parent = order.group.parent if order.group is not None else order
        return (
            order.time_in_force == "day" and not order.extended_hours and parent not in self._parked
        )

    def _expire_day_orders(self, ts_ns: int) -> bool:
        expiring = [order for order in self.open_orders if self._expires(order)]
        for order in expiring:
            if order.is_open:
                self._end(order, Event.EXPIRED, ts_ns)
        for symbol in sorted({order.symbol for order in expiring}):
            self.settle(symbol, ts_ns)
        return bool(expiring)
