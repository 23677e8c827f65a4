"""Alpaca's trading API behind the port, through the official SDK in its raw form.

The SDK's models round through floats in places and its client waits for ever, so answers are read
as plain dicts, every request gets a deadline and is made once (design: alpaca 5.4, reliability
3.4, 3.17). Source of outcomes: reliability 3.4; of error codes: alpaca 3.6.
"""

import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import requests
from alpaca.common.exceptions import APIError, RetryException
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderType, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    OrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)
from requests.adapters import BaseAdapter

from execution.brokers import wire
from execution.brokers.alpaca_updates import AlpacaUpdates, stream_url_of
from execution.brokers.port import (
    AccountSnapshot,
    BrokerAsset,
    BrokerOrder,
    BrokerPosition,
    CashActivity,
    FillActivity,
    MarketClock,
    NameTaken,
    OutcomeUnknown,
    Post,
    Refused,
    Shares,
    TradingDay,
    Updates,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
TOTAL_TIMEOUT_S = 4.0
LISTING_TIMEOUT_S = 15.0  # every asset there is: megabytes, once a day, and nobody waits for it
ORDERS_PER_PAGE = 500
ACTIVITIES_PER_PAGE = 100
PAGES_MAX = 20
DUPLICATE_CLIENT_ID = 40010001
#: A body with one of these says the venue itself refused; every other answer leaves doubt.
REFUSING_STATUSES = frozenset({400, 401, 403, 404, 409, 422, 429})


class AlpacaBroker:
    """The port over one account; safe for one thread at a time (one session)."""

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        url: str,
        stream_url: str = "",
        paper: bool = True,
        transport: BaseAdapter | None = None,
    ) -> None:
        """Args:
        stream_url: of trade_updates, "" the one that belongs to `url`.
        transport: answers the requests instead of a socket (the laboratory's venue).
        """
        self._client = TradingClient(
            key, secret, paper=paper, raw_data=True, url_override=url.rstrip("/") or None
        )
        self._client._retry = 0  # the SDK repeats a POST after 429 and 504; we look it up instead
        self._client._session.request = _bounded(self._client._session.request, self._note)  # type: ignore[method-assign]
        if transport is not None:
            self._client._session.mount(url, transport)
        self.url = url
        self._open_updates = partial(
            AlpacaUpdates, url=stream_url or stream_url_of(url), key=key, secret=secret
        )
        self.calls_left: int | None = None
        self.calls_reset_at: int | None = None

    def updates(self, post: Post) -> Updates:
        return self._open_updates(post=post)

    def account(self) -> AccountSnapshot:
        return self._read(wire.account, self._call(self._client.get_account))

    def clock(self) -> MarketClock:
        return self._read(wire.clock, self._call(self._client.get_clock))

    def calendar(self, start: date, end: date) -> list[TradingDay]:
        asked = GetCalendarRequest(start=start, end=end)
        return self._rows(wire.trading_day, self._client.get_calendar, asked)

    def assets(self) -> list[BrokerAsset]:
        return self._rows(wire.asset, self._client.get_all_assets, GetAssetsRequest())

    def positions(self) -> list[BrokerPosition]:
        return self._rows(wire.position, self._client.get_all_positions)

    def orders(self, *, status: str = "open", after_ns: int = 0) -> list[BrokerOrder]:
        found: dict[str, BrokerOrder] = {}
        until: datetime | None = None
        after = datetime.fromtimestamp(after_ns / 1e9, UTC) if after_ns else None
        for _ in range(PAGES_MAX):
            asked = GetOrdersRequest(
                status=QueryOrderStatus(status),
                limit=ORDERS_PER_PAGE,
                nested=True,
                until=until,
                after=after,
            )
            rows = self._rows(wire.order, self._client.get_orders, asked)
            found.update((row.id, row) for row in rows if row.id not in found)
            if len(rows) < ORDERS_PER_PAGE:
                break
            until = datetime.fromtimestamp(min(row.created_ns for row in rows) / 1e9, UTC)
        return list(found.values())

    def order(self, order_id: str) -> BrokerOrder | None:
        return self._found(
            self._client.get_order_by_id, order_id, filter=GetOrderByIdRequest(nested=True)
        )

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        found = self._found(self._client.get_order_by_client_id, client_order_id)
        if found is None or found.legs or not found.order_class:
            return found
        return self.order(found.id) or found  # the short form comes without its legs

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
        common: dict[str, Any] = {
            "client_order_id": client_order_id,
            "symbol": symbol,
            "qty": quantity,
            "side": OrderSide.BUY,
            "time_in_force": TimeInForce(time_in_force),
            "order_class": OrderClass.BRACKET,
            "take_profit": TakeProfitRequest(limit_price=_number(take_profit)),
            "stop_loss": _stop_leg(stop_loss, stop_limit),
        }
        if limit is None:
            return self._submit(MarketOrderRequest(**common))
        return self._submit(LimitOrderRequest(limit_price=_number(limit), **common))

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
            OrderRequest(
                client_order_id=client_order_id,
                symbol=symbol,
                qty=quantity,
                side=OrderSide.SELL,
                type=OrderType.LIMIT,
                time_in_force=TimeInForce(time_in_force),
                order_class=OrderClass.OCO,
                take_profit=TakeProfitRequest(limit_price=_number(take_profit)),
                stop_loss=_stop_leg(stop_loss, stop_limit),
            )
        )

    def submit_sell(
        self, *, client_order_id: str, symbol: str, quantity: int, limit: Decimal | None
    ) -> BrokerOrder:
        common: dict[str, Any] = {
            "client_order_id": client_order_id,
            "symbol": symbol,
            "qty": quantity,
            "side": OrderSide.SELL,
            "time_in_force": TimeInForce.DAY,
        }
        if limit is None:
            return self._submit(MarketOrderRequest(**common))
        return self._submit(LimitOrderRequest(limit_price=_number(limit), **common))

    def submit_cover(self, *, client_order_id: str, symbol: str, quantity: int) -> BrokerOrder:
        return self._submit(
            MarketOrderRequest(
                client_order_id=client_order_id,
                symbol=symbol,
                qty=quantity,
                side=OrderSide.BUY,
                time_in_force=TimeInForce.DAY,
            )
        )

    def replace(
        self, order_id: str, *, limit: Decimal | None = None, stop: Decimal | None = None
    ) -> BrokerOrder:
        asked = ReplaceOrderRequest(
            limit_price=None if limit is None else _number(limit),
            stop_price=None if stop is None else _number(stop),
        )
        return self._read(wire.order, self._call(self._client.replace_order_by_id, order_id, asked))

    def cancel(self, order_id: str) -> None:
        self._call(self._client.cancel_order_by_id, order_id)

    def cancel_all(self) -> None:
        self._call(self._client.cancel_orders)

    def close_all(self) -> None:
        self._call(self._client.close_all_positions, cancel_orders=True)

    def forbid_shorting(self) -> None:
        self._call(self._client.patch, "/account/configurations", {"no_shorting": True})

    def suspend(self, *, suspended: bool) -> None:
        self._call(self._client.patch, "/account/configurations", {"suspend_trade": suspended})

    def fills(self, *, after_ns: int) -> list[FillActivity]:
        """Return the account's executions after a time, oldest first."""
        after = wire.rfc3339(after_ns) if after_ns > 0 else ""
        return self._activities(wire.fill, "/FILL", after, pages=5 * PAGES_MAX)

    def cash_activities(self, *, since: date) -> list[CashActivity]:
        """Return the account's other activities of a New York day and later, oldest first.

        Asked from a day before: of some the broker knows a date only, and which moment that is for
        `after` is said nowhere.
        """
        after = wire.rfc3339(wire.begin_ns(since - timedelta(days=1)))
        told = self._activities(_no_fill, "", after, category="non_trade_activity")
        found = {one.activity_id: one for one in told if one is not None and one.day >= since}
        return list(found.values())

    def _activities(
        self,
        reader: Callable[[Any], T],
        kind: str,
        after: str,
        *,
        pages: int = PAGES_MAX,
        **more: str,
    ) -> list[T]:
        """Read activities page by page; the token of the next page is the last row's id."""
        found: list[T] = []
        asked: dict[str, Any] = {"direction": "asc", "page_size": ACTIVITIES_PER_PAGE, **more}
        if after:
            asked["after"] = after
        for _ in range(pages):
            path = f"/account/activities{kind}"
            rows = self._rows(lambda row: (row["id"], reader(row)), self._client.get, path, asked)
            found += [one for _, one in rows]
            if len(rows) < ACTIVITIES_PER_PAGE:
                break
            asked["page_token"] = rows[-1][0]
        return found

    def _submit(self, request: OrderRequest) -> BrokerOrder:
        """POST once; an id that the venue already knows means it is ours: fetch and adopt it."""
        try:
            return self._read(wire.order, self._call(self._client.submit_order, request))
        except Refused as exc:
            if exc.code != DUPLICATE_CLIENT_ID:
                raise
            try:
                known = self.order_by_client_id(str(request.client_order_id))
            except Refused as lookup:
                raise OutcomeUnknown(f"duplicate id, and the look-up failed: {lookup}") from lookup
            if known is None:
                raise OutcomeUnknown(
                    "the venue calls the id a duplicate but does not know it"
                ) from exc
            if _facts(known) != (request.symbol, request.side, request.qty):
                raise NameTaken(
                    f"the name belongs to another order: {known.side} {known.quantity}"
                    f" {known.symbol}",
                    status=exc.status,
                    code=exc.code,
                ) from exc
            return known

    def _found(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> BrokerOrder | None:
        try:
            return self._read(wire.order, self._call(call, *args, **kwargs))
        except Refused as exc:
            if exc.status == 404:
                return None
            raise

    def _rows(self, reader: Callable[[Any], T], call: Callable[..., Any], *args: Any) -> list[T]:
        """Make a call whose answer is a list, and read every row of it."""
        rows = self._call(call, *args)
        if not isinstance(rows, list):
            raise OutcomeUnknown(f"expected a list, got {type(rows).__name__}")
        return [self._read(reader, row) for row in rows]

    def _read(self, reader: Callable[[Any], T], body: Any) -> T:
        """Every answer comes through here: one of another shape says nothing, it is no crash."""
        try:
            return reader(body)
        except wire.UNREADABLE as exc:
            raise OutcomeUnknown(f"an answer we cannot read: {exc!r}"[:200]) from exc

    def _call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make one call and sort what may come out into the port's three outcomes."""
        try:
            return call(*args, **kwargs)
        except APIError as exc:
            raise _classified(exc) from exc
        except RetryException as exc:
            raise Refused("too many requests", status=429) from exc
        except requests.exceptions.ConnectTimeout as exc:
            raise Refused(f"no connection to the broker within {CONNECT_TIMEOUT_S:g} s") from exc
        except requests.exceptions.ConnectionError as exc:
            if _never_connected(exc):
                raise Refused("no connection to the broker") from exc
            raise OutcomeUnknown(f"connection lost: {exc}") from exc
        except (requests.exceptions.RequestException, ValueError) as exc:
            raise OutcomeUnknown(f"no readable answer: {type(exc).__name__}") from exc

    def _note(self, response: requests.Response) -> None:
        left = response.headers.get("X-RateLimit-Remaining", "")
        reset = response.headers.get("X-RateLimit-Reset", "")
        self.calls_left = int(left) if left.isdigit() else self.calls_left
        self.calls_reset_at = int(reset) if reset.isdigit() else self.calls_reset_at


def _bounded(
    request: Callable[..., requests.Response], note: Callable[[requests.Response], None]
) -> Callable[..., requests.Response]:
    """Give every request a connect and a total deadline; the answer is read within it."""

    def bounded(method: str, url: str, **kwargs: Any) -> requests.Response:
        total_s = LISTING_TIMEOUT_S if url.endswith("/assets") else TOTAL_TIMEOUT_S
        kwargs.setdefault("timeout", (CONNECT_TIMEOUT_S, total_s))
        started = time.monotonic()
        response = request(method, url, stream=True, **kwargs)
        body = bytearray()
        for chunk in response.iter_content(65536):
            body += chunk
            if time.monotonic() - started > total_s:
                response.close()
                raise requests.exceptions.ReadTimeout("the answer trickled past its deadline")
        response._content = bytes(body)
        note(response)
        return response

    return bounded


def _no_fill(row: Any) -> CashActivity | None:
    return None if row["activity_type"] == "FILL" else wire.cash_activity(row)


def _classified(exc: APIError) -> Refused | OutcomeUnknown:
    status = exc.status_code or 0
    code, message = wire.error_body(str(exc))
    if status in REFUSING_STATUSES and message:
        return Refused(message, status=status, code=code)
    return OutcomeUnknown(f"HTTP {status}: {str(exc)[:200]}")


def _facts(order: BrokerOrder) -> tuple[str, OrderSide, Shares]:
    return order.symbol, OrderSide(order.side.value), order.quantity


def _never_connected(exc: BaseException) -> bool:
    """Tell whether the request certainly never left: refused, unreachable, or no such name."""
    seen: set[int] = set()
    todo: list[BaseException] = [exc]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, ConnectionRefusedError | socket.gaierror):
            return True
        if type(one).__name__ in ("NewConnectionError", "NameResolutionError"):
            return True
        nested = [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
        todo.extend(item for item in nested if isinstance(item, BaseException))
    return False


def _stop_leg(stop: Decimal, limit: Decimal | None) -> StopLossRequest:
    price = None if limit is None else _number(limit)
    return StopLossRequest(stop_price=_number(stop), limit_price=price)


def _number(price: Decimal) -> float:
    """Return a price as the JSON number the SDK sends; exact for tick prices on the wire."""
    return float(price)
