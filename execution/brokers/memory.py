"""The port over a venue's engine in the same process: no socket, no SDK, the same rules.

Another platform is one file like this one. This one serves the simulation of the order path, where
ten thousand days must fit into minutes, and proves that nothing outside `brokers/` knows Alpaca.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar, cast

from execution.brokers import wire
from execution.brokers.port import (
    AccountSnapshot,
    BrokerAsset,
    BrokerOrder,
    BrokerPosition,
    CashActivity,
    FillActivity,
    MarketClock,
    NameTaken,
    Post,
    Refused,
    Side,
    TradingDay,
)
from execution.venue import days, rejections
from execution.venue.account import Bust, Fill
from execution.venue.engine import VenueEngine
from execution.venue.orders import Changes, OrderRequest, VenueOrder
from execution.venue.rejections import DUPLICATE, Rejection

T = TypeVar("T")


class MemoryBroker:
    """Args: engine: the venue; now_ns: its market clock, which stamps every request."""

    url = ""
    calls_left: int | None = None

    def __init__(self, engine: VenueEngine, now_ns: Callable[[], int]) -> None:
        self.engine = engine
        self.now_ns = now_ns

    def updates(self, post: Post) -> "MemoryUpdates":
        return MemoryUpdates(self.engine, post)

    # --- reading ----------------------------------------------------------------------------------
    def account(self) -> AccountSnapshot:
        account = self.engine.account
        long_value, short_value = account.value(self.engine.books)
        return AccountSnapshot(
            number=account.number,
            status="ACTIVE",
            cash=account.cash,
            equity=account.cash + long_value + short_value,
            last_equity=account.initial_cash,
            buying_power=self.engine.buying_power,
            trading_blocked=False,
            account_blocked=False,
            suspended_by_user=account.suspended,
        )

    def clock(self) -> MarketClock:
        now, session = self.now_ns(), self.engine.session
        coming = days.next_session(max(now, session.close_ns))
        is_open = session.open_ns <= now < session.close_ns
        return MarketClock(
            ts_ns=now,
            is_open=is_open,
            next_open_ns=session.open_ns if now < session.open_ns else coming.open_ns,
            next_close_ns=session.close_ns if now < session.close_ns else coming.close_ns,
        )

    def calendar(self, start: date, end: date) -> list[TradingDay]:
        today = self.engine.session
        known = {session.day: session for session in days.sessions(start, end)}
        if start <= today.day <= end:
            known[today.day] = today
        return [
            TradingDay(day=day, open_ns=one.open_ns, close_ns=one.close_ns)
            for day, one in sorted(known.items())
        ]

    def assets(self) -> list[BrokerAsset]:
        return [
            BrokerAsset(
                symbol=symbol,
                name=f"{symbol} (paper)",
                exchange="NYSE",
                tradable=True,
                status="active",
                shortable=True,
                fractionable=False,
            )
            for symbol in sorted(self.engine.symbols)
        ]

    def positions(self) -> list[BrokerPosition]:
        books = self.engine.books
        found = []
        for symbol, held in sorted(self.engine.account.positions.items()):
            mark = books.get(symbol).mark
            price = held.average_price if mark is None else mark
            found.append(
                BrokerPosition(
                    symbol=symbol,
                    quantity=held.quantity,
                    available=self.engine.available(symbol),
                    average_price=held.average_price,
                    market_value=price * held.quantity,
                    current_price=price,
                )
            )
        return found

    def orders(self, *, status: str = "open", after_ns: int = 0) -> list[BrokerOrder]:
        chosen = self.engine.open_orders if status == "open" else self.engine.orders.values()
        tops: dict[int, VenueOrder] = {}
        for order in chosen:
            if (status != "closed" or not order.is_open) and order.created_ns > after_ns:
                top = _top(order)
                tops[top.number] = top
        return [_seen(tops[number]) for number in sorted(tops, reverse=True)]

    def order(self, order_id: str) -> BrokerOrder | None:
        found = self.engine.orders.get(order_id)
        return None if found is None else _seen(found)

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        try:
            return _seen(self.engine.order_by_client_id(client_order_id, self.now_ns()))
        except Rejection:
            return None

    def fills(self, *, after_ns: int) -> list[FillActivity]:
        account = self.engine.account
        told: list[Fill | Bust] = [*account.fills, *account.busts]
        recent = sorted((one for one in told if one.ts_ns > after_ns), key=lambda one: one.ts_ns)
        return [_broken(one) if isinstance(one, Bust) else _executed(one) for one in recent]

    def cash_activities(self, *, since: date) -> list[CashActivity]:
        told = [wire.cash_activity(row) for row in self.engine.account.activities]
        return sorted((one for one in told if one.day >= since), key=lambda one: one.ts_ns)

    # --- asking -----------------------------------------------------------------------------------
    def submit_bracket(
        self,
        *,
        client_order_id: str,
        symbol: str,
        quantity: int,
        limit: Decimal | None,
        take_profit: Decimal,
        stop_loss: Decimal,
        time_in_force: str,
        stop_limit: Decimal | None = None,
    ) -> BrokerOrder:
        return self._submit(
            client_order_id=client_order_id,
            symbol=symbol,
            side="buy",
            quantity=quantity,
            type="market" if limit is None else "limit",
            limit=limit,
            time_in_force=time_in_force,
            order_class="bracket",
            take_profit=take_profit,
            stop_loss=stop_loss,
            stop_loss_limit=stop_limit,
        )

    def submit_oco(
        self,
        *,
        client_order_id: str,
        symbol: str,
        quantity: int,
        take_profit: Decimal,
        stop_loss: Decimal,
        time_in_force: str,
        stop_limit: Decimal | None = None,
    ) -> BrokerOrder:
        return self._submit(
            client_order_id=client_order_id,
            symbol=symbol,
            side="sell",
            quantity=quantity,
            type="limit",
            time_in_force=time_in_force,
            order_class="oco",
            take_profit=take_profit,
            stop_loss=stop_loss,
            stop_loss_limit=stop_limit,
        )

    def submit_sell(
        self, *, client_order_id: str, symbol: str, quantity: int, limit: Decimal | None
    ) -> BrokerOrder:
        return self._submit(
            client_order_id=client_order_id,
            symbol=symbol,
            side="sell",
            quantity=quantity,
            type="market" if limit is None else "limit",
            limit=limit,
        )

    def submit_cover(self, *, client_order_id: str, symbol: str, quantity: int) -> BrokerOrder:
        return self._submit(
            client_order_id=client_order_id, symbol=symbol, side="buy", quantity=quantity
        )

    def replace(
        self, order_id: str, *, limit: Decimal | None = None, stop: Decimal | None = None
    ) -> BrokerOrder:
        changes = Changes(limit=limit, stop=stop)
        return _seen(_allowed(lambda: self.engine.replace(order_id, changes, self.now_ns())))

    def cancel(self, order_id: str) -> None:
        _allowed(lambda: self.engine.cancel(order_id, self.now_ns()))

    def cancel_all(self) -> None:
        self.engine.cancel_all(self.now_ns())

    def close_all(self) -> None:
        self.engine.cancel_all(self.now_ns())
        for symbol in sorted(self.engine.account.positions):
            try:
                self.engine.close_position(symbol, self.now_ns(), force=True)
            except Rejection:
                continue  # as the venue's own answer: one line per position, the rest goes on

    def forbid_shorting(self) -> None:
        self.engine.account.no_shorting = True

    def suspend(self, *, suspended: bool) -> None:
        self.engine.account.suspended = suspended

    def _submit(self, **fields: Any) -> BrokerOrder:
        request = OrderRequest(**fields)
        try:
            return _seen(_allowed(lambda: self.engine.submit(request, self.now_ns())))
        except Refused as exc:
            if exc.code != DUPLICATE:
                raise
            known = self.engine.order_by_client_id(request.client_order_id)
            if (known.symbol, known.side, known.quantity) == (
                request.symbol,
                request.side,
                request.quantity,
            ):
                return _seen(known)
            text = f"the name belongs to another order: {known.side} {known.quantity}"
            raise NameTaken(f"{text} {known.symbol}", status=exc.status, code=exc.code) from exc


class MemoryUpdates:
    """The engine's news, handed on when somebody calls `deliver`: there is no thread here."""

    def __init__(self, engine: VenueEngine, post: Post) -> None:
        self._engine, self._post = engine, post
        self._listens = False

    def start(self) -> None:
        self._engine.take_updates()  # what happened before is no news
        self._listens = True
        self._post("stream", "up")

    def stop(self) -> None:
        if self._listens:
            self._listens = False
            self._post("stream", "down")

    def restart(self) -> None:
        self.stop()
        self.start()

    def deliver(self) -> None:
        """Hand on what has happened; while nobody listens it is gone."""
        for row in self._engine.take_updates():
            if self._listens:
                self._post("update", wire.trade_update(row))


def _allowed(call: Callable[[], T]) -> T:
    """Make a call of the engine; its refusals are the port's.

    Raises:
        Refused: as the venue's answer says.
    """
    try:
        return call()
    except rejections.Rejection as exc:
        code = cast("int | None", exc.body.get("code"))
        raise Refused(str(exc), status=exc.status, code=code) from exc


def _top(order: VenueOrder) -> VenueOrder:
    group = order.group
    return group.parent if group is not None and order in group.members else order


def _seen(order: VenueOrder) -> BrokerOrder:
    """Return an order as the port shows it, its legs nested."""
    legs = order.group.legs_of(order) if order.group is not None else ()
    return BrokerOrder(
        id=order.id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=Side(order.side),
        type=order.type,
        order_class=order.order_class,
        status=order.shown_status,
        quantity=order.quantity,
        filled_quantity=order.filled,
        average_price=order.average_price,
        limit_price=order.limit,
        stop_price=order.stop,
        time_in_force=order.time_in_force,
        replaces=order.replaces,
        replaced_by=order.replaced_by,
        created_ns=order.created_ns,
        updated_ns=order.updated_ns,
        legs=tuple(_leg(leg) for leg in legs),
    )


def _leg(leg: VenueOrder) -> BrokerOrder:
    alone, leg.group = leg.group, None
    try:
        return _seen(leg)
    finally:
        leg.group = alone


def _executed(fill: Fill) -> FillActivity:
    return FillActivity(
        execution_id=fill.execution_id,
        order_id=fill.order_id,
        symbol=fill.symbol,
        side=Side(fill.side),
        quantity=fill.quantity,
        price=fill.price,
        ts_ns=fill.ts_ns,
        kind="correct" if fill.corrects else "fill",
        previous_id=fill.corrects or None,
    )


def _broken(bust: Bust) -> FillActivity:
    fill = bust.previous
    return FillActivity(
        execution_id=bust.execution_id,
        order_id=fill.order_id,
        symbol=fill.symbol,
        side=Side(fill.side),
        quantity=fill.quantity,
        price=fill.price,
        ts_ns=bust.ts_ns,
        kind="bust",
        previous_id=fill.execution_id,
    )
