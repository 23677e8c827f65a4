"""The trading API's resources over one engine: parse, call the engine, render. No sockets here."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from execution.venue import days, rejections, wire
from execution.venue.account import Bust, Fill
from execution.venue.engine import VenueEngine
from execution.venue.options import Listing
from execution.venue.orders import VenueOrder
from execution.venue.rejections import Rejection
from signals.session import NEW_YORK

MAX_ORDERS = 500
MAX_ACTIVITIES = 100


@dataclass(frozen=True)
class Request:
    """One HTTP request; `path` starts after the host, `query` has the last of repeated names."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes

    def flag(self, name: str) -> bool:
        return wire.is_true(self.query.get(name, ""))


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[["TradingApi", Request, str], tuple[int, Any]]


class TradingApi:
    """`now_ns` is the market clock: every request is stamped with it."""

    def __init__(
        self,
        engine: VenueEngine,
        now_ns: Callable[[], int],
        listings: Mapping[str, Listing] | None = None,
    ) -> None:
        self.engine = engine
        self._listings = listings or {}
        self.now_ns = now_ns
        self._created_ns = now_ns()

    def answer(self, request: Request) -> Answer:
        """Return the response; a refusal is a response too."""
        try:
            status, value = self._route(request)
        except Rejection as refusal:
            status, value = refusal.status, refusal.body
        body = b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
        return Answer(status, body)

    def _route(self, request: Request) -> tuple[int, Any]:
        known = False
        for pattern, handlers in _ROUTES:
            found = pattern.fullmatch(request.path)
            if found:
                known = True
                handler = handlers.get(request.method)
                if handler is not None:
                    return handler(self, request, found[1] if pattern.groups else "")
        if known:
            raise Rejection(405, 40510000, "method not allowed")
        raise rejections.not_found("endpoint not found.")

    # --- account ----------------------------------------------------------------------------------
    def account(self, request: Request, _: str) -> tuple[int, Any]:
        engine = self.engine
        body = wire.account_json(
            engine.account,
            engine.books,
            buying_power=engine.buying_power,
            created_ns=self._created_ns,
        )
        return 200, body

    def configurations(self, request: Request, _: str) -> tuple[int, Any]:
        if request.method == "PATCH":
            body = wire.load(request.body)
            account = self.engine.account
            account.no_shorting = bool(body.get("no_shorting", account.no_shorting))
            account.suspended = bool(body.get("suspend_trade", account.suspended))
        return 200, wire.configurations_json(self.engine.account)

    def activities(self, request: Request, kind: str) -> tuple[int, Any]:
        query = request.query
        wanted = {kind} if kind else set((query.get("activity_types") or "FILL").split(","))
        after_ns = wire.parse_time_ns(query["after"]) if query.get("after") else None
        until_ns = wire.parse_time_ns(query["until"]) if query.get("until") else None
        account = self.engine.account
        told: list[Fill | Bust] = [*account.fills, *account.busts]
        found = sorted(told, key=lambda one: one.ts_ns)
        rows = [
            wire.bust_json(one) if isinstance(one, Bust) else wire.activity_json(one)
            for one in (found if "FILL" in wanted else ())
            if (after_ns is None or one.ts_ns > after_ns)
            and (until_ns is None or one.ts_ns < until_ns)
        ]
        if query.get("category") == "non_trade_activity":
            rows = [
                dict(row)
                for row in account.activities
                if after_ns is None or wire.entered_ns(row) > after_ns
            ]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        size = _bounded(query.get("page_size", ""), MAX_ACTIVITIES, MAX_ACTIVITIES)
        ids = [row["id"] for row in rows]
        token = query.get("page_token", "")
        first = ids.index(token) + 1 if token in ids else 0
        return 200, rows[first : first + size]

    def history(self, request: Request, _: str) -> tuple[int, Any]:
        long_value, short_value = self.engine.account.value(self.engine.books)
        equity = float(self.engine.account.cash + long_value + short_value)
        base = float(self.engine.account.initial_cash)
        return 200, {
            "timestamp": [self.now_ns() // wire.SECOND_NS],
            "equity": [equity],
            "profit_loss": [equity - base],
            "profit_loss_pct": [(equity - base) / base if base else 0.0],
            "base_value": base,
            "timeframe": "1D",
        }

    # --- market -----------------------------------------------------------------------------------
    def clock(self, request: Request, _: str) -> tuple[int, Any]:
        return 200, days.clock_json(self.now_ns(), self.engine.session)

    def calendar(self, request: Request, _: str) -> tuple[int, Any]:
        today = datetime.fromtimestamp(self.now_ns() // wire.SECOND_NS, NEW_YORK).date()
        query = request.query
        return 200, days.calendar_json(query.get("start", ""), query.get("end", ""), today)

    def assets(self, request: Request, _: str) -> tuple[int, Any]:
        query = request.query
        known = query.get("status", "active") == "active"
        known &= query.get("asset_class", "us_equity") == "us_equity"
        symbols = sorted(self.engine.symbols) if known else []
        return 200, [self._asset(symbol) for symbol in symbols]

    def asset(self, request: Request, name: str) -> tuple[int, Any]:
        return 200, self._asset(self._symbol(name, f"asset not found for {name[:64]}"))

    def _asset(self, symbol: str) -> wire.JSON:
        found = self._listings.get(symbol, Listing())
        return wire.asset_json(
            symbol, name=found.name, exchange=found.exchange, tradable=found.tradable
        )

    # --- orders -----------------------------------------------------------------------------------
    def submit(self, request: Request, _: str) -> tuple[int, Any]:
        order = wire.parse_order(wire.load(request.body))
        return 200, wire.order_json(self.engine.submit(order, self.now_ns()))

    def orders(self, request: Request, _: str) -> tuple[int, Any]:
        nested = request.flag("nested")
        found = _selected(list(self.engine.orders.values()), request)
        return 200, [wire.order_json(order, nested=nested) for order in found]

    def cancel_all(self, request: Request, _: str) -> tuple[int, Any]:
        asked = self.engine.cancel_all(self.now_ns())
        return 207, [{"id": order.id, "status": 200} for order in asked]

    def order(self, request: Request, order_id: str) -> tuple[int, Any]:
        return 200, wire.order_json(self.engine.order(order_id))

    def order_by_client_id(self, request: Request, _: str) -> tuple[int, Any]:
        client_id = request.query.get("client_order_id", "")
        return 200, wire.order_json(self.engine.order_by_client_id(client_id, self.now_ns()))

    def replace(self, request: Request, order_id: str) -> tuple[int, Any]:
        changes = wire.parse_changes(wire.load(request.body))
        return 200, wire.order_json(self.engine.replace(order_id, changes, self.now_ns()))

    def cancel(self, request: Request, order_id: str) -> tuple[int, Any]:
        self.engine.cancel(order_id, self.now_ns())
        return 204, None

    # --- positions --------------------------------------------------------------------------------
    def positions(self, request: Request, _: str) -> tuple[int, Any]:
        return 200, [self._position(symbol) for symbol in sorted(self.engine.account.positions)]

    def position(self, request: Request, name: str) -> tuple[int, Any]:
        return 200, self._position(self._symbol(name, "position does not exist"))

    def close_position(self, request: Request, name: str) -> tuple[int, Any]:
        symbol = self._symbol(name, "position does not exist")
        quantity = self._closing_quantity(request, symbol)
        order = self.engine.close_position(symbol, self.now_ns(), quantity=quantity)
        return 200, wire.order_json(order)

    def close_all(self, request: Request, _: str) -> tuple[int, Any]:
        force = request.flag("cancel_orders")
        if force:
            self.engine.cancel_all(self.now_ns())
        return 207, [
            self._close_one(symbol, force) for symbol in sorted(self.engine.account.positions)
        ]

    def _close_one(self, symbol: str, force: bool) -> wire.JSON:
        try:
            order = self.engine.close_position(symbol, self.now_ns(), force=force)
        except Rejection as refusal:
            return {"symbol": symbol, "status": refusal.status, "body": refusal.body}
        return {"symbol": symbol, "status": 200, "body": wire.order_json(order)}

    def _closing_quantity(self, request: Request, symbol: str) -> int | None:
        query = wire.numbers(request.query)
        if (percentage := query.get("percentage")) is not None:
            if not 0 < percentage <= 100:
                raise rejections.unprocessable("percentage must be in (0, 100]")
            return int(abs(self.engine.account.quantity(symbol)) * percentage / 100)
        quantity = query.get("qty")
        if quantity is not None and (quantity <= 0 or quantity != int(quantity)):
            raise rejections.unprocessable("qty must be a whole number > 0")
        return None if quantity is None else int(quantity)

    def _position(self, symbol: str) -> wire.JSON:
        position = self.engine.account.positions.get(symbol)
        if position is None:
            raise rejections.not_found("position does not exist")
        available = self.engine.available(symbol)
        return wire.position_json(position, self.engine.books, available=available)

    def _symbol(self, name: str, otherwise: str) -> str:
        """Return the symbol of a path that names one, or an asset id."""
        if name in self.engine.symbols:
            return name
        for symbol in self.engine.symbols:
            if wire.asset_id(symbol) == name:
                return symbol
        raise rejections.not_found(otherwise)


_PAGE = b"<html>the venue is not well</html>"


def faulty(fault: str, api: TradingApi, request: Request) -> Answer | None:
    """Return what comes back of a request that a fault has met; None: no answer at all.

    Args: fault: a key of `faults.REQUEST_FAULTS`.
    """
    if fault == "http_429":
        until_s = api.now_ns() // wire.SECOND_NS + 60
        headers = ((b"x-ratelimit-reset", b"%d" % until_s), (b"retry-after", b"1"))
        return Answer(429, b'{"code":42910000,"message":"too many requests."}', headers)
    if fault == "not_found":
        return Answer(404, b'{"code":40410000,"message":"order not found"}')
    if fault in ("http_500", "http_503", "http_504"):
        return Answer(int(fault[-3:]), _PAGE)
    if fault == "lose_request":
        return None
    answer = api.answer(request)
    if fault == "execute_then_504":
        return Answer(504, _PAGE)
    if fault == "bad_json":
        return Answer(answer.status, answer.body[: len(answer.body) // 2])
    return None  # done, and nobody hears of it


def parse_request(method: str, path: str, query: bytes, body: bytes) -> Request:
    """Return the request; doubled slashes (`//v2`) count as one."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=50)
    return Request(method, re.sub(r"/{2,}", "/", path), dict(pairs), body)


def _bounded(text: str, default: int, most: int) -> int:
    if not text:
        return default
    if not text.isdigit():
        raise rejections.unprocessable(f"invalid number: {text[:40]}")
    return max(1, min(int(text), most))


def _selected(orders: list[VenueOrder], request: Request) -> list[VenueOrder]:
    """Return the orders a GET /v2/orders asks for (alpaca.md 3.5)."""
    query = request.query
    status = query.get("status") or "open"
    if status not in ("open", "closed", "all"):
        raise rejections.unprocessable(f"invalid status: {status[:20]}")
    symbols = set(filter(None, query.get("symbols", "").split(",")))
    after_ns = wire.parse_time_ns(query["after"]) if query.get("after") else None
    until_ns = wire.parse_time_ns(query["until"]) if query.get("until") else None
    found = [
        order
        for order in sorted(orders, key=lambda order: order.number)
        if (status == "all" or order.is_open == (status == "open"))
        and (not symbols or order.symbol in symbols)
        and (not query.get("side") or order.side == query["side"])
        and (after_ns is None or order.created_ns > after_ns)
        and (until_ns is None or order.created_ns < until_ns)
    ]
    if request.flag("nested"):
        found = _with_parents(found)
    if query.get("direction", "desc") != "asc":
        found.reverse()
    return found[: _bounded(query.get("limit", ""), 50, MAX_ORDERS)]


def _with_parents(found: list[VenueOrder]) -> list[VenueOrder]:
    """Fold legs under their parents; an open leg brings its filled parent along."""
    shown: dict[int, VenueOrder] = {}
    for order in found:
        group = order.group
        top = group.parent if group is not None and order in group.members else order
        shown[top.number] = top
    return [shown[number] for number in sorted(shown)]


_RESOURCES: dict[str, dict[str, Handler]] = {
    "/v2/account": {"GET": TradingApi.account},
    "/v2/account/configurations": {
        "GET": TradingApi.configurations,
        "PATCH": TradingApi.configurations,
    },
    "/v2/account/activities(?:/([A-Z_]+))?": {"GET": TradingApi.activities},
    "/v2/account/portfolio/history": {"GET": TradingApi.history},
    "/v2/clock": {"GET": TradingApi.clock},
    "/v2/calendar": {"GET": TradingApi.calendar},
    "/v2/assets": {"GET": TradingApi.assets},
    "/v2/assets/([^/]+)": {"GET": TradingApi.asset},
    "/v2/orders": {
        "GET": TradingApi.orders,
        "POST": TradingApi.submit,
        "DELETE": TradingApi.cancel_all,
    },
    "/v2/orders:by_client_order_id": {"GET": TradingApi.order_by_client_id},
    "/v2/orders/([^/]+)": {
        "GET": TradingApi.order,
        "PATCH": TradingApi.replace,
        "DELETE": TradingApi.cancel,
    },
    "/v2/positions": {"GET": TradingApi.positions, "DELETE": TradingApi.close_all},
    "/v2/positions/([^/]+)": {"GET": TradingApi.position, "DELETE": TradingApi.close_position},
}
_ROUTES = [(re.compile(pattern), handlers) for pattern, handlers in _RESOURCES.items()]
