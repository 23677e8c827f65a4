"""The real venue's engine and the real Alpaca adapter without a socket between them.

The official SDK's HTTP session is given a transport that calls the venue's API in memory; faults
are asked for by name, happen once, and are remembered.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import NewConnectionError

from execution.brokers import wire
from execution.brokers.alpaca import AlpacaBroker
from execution.brokers.port import TradeUpdate
from execution.venue.engine import VenueEngine
from execution.venue.faults import FaultPlan, FaultyStream
from execution.venue.rest import TradingApi, faulty, parse_request
from signals.session import Session

MS = 1_000_000
URL = "http://venue.test"


class InMemoryVenue:
    """A venue whose market and clock the test moves."""

    def __init__(
        self,
        session: Session,
        symbols: tuple[str, ...],
        now_ns: int,
        faults: FaultPlan | None = None,
    ) -> None:
        self.now_ns = now_ns
        self.engine = VenueEngine(
            session=session,
            symbols=symbols,
            cash=Decimal(30_000),
            latency_ns=150 * MS,
            faults=faults,
        )
        self.stream = FaultyStream(self.engine.faults)
        self.api = TradingApi(self.engine, lambda: self.now_ns)
        self.requests: list[tuple[str, str]] = []
        self._faults: list[tuple[str, str, str]] = []
        self._changes: dict[str, Callable[[Any], Any]] = {}
        self.silent = ""  # the path whose every GET gets an error page

    def broker(self) -> AlpacaBroker:
        broker = AlpacaBroker(key="k", secret="s", url=URL)
        broker._client._session.mount(URL, _Transport(self))
        return broker

    def quote(self, bid: str, ask: str, symbol: str = "ABCD") -> None:
        self.engine.on_quote(symbol, Decimal(bid), Decimal(ask), self.now_ns)

    def trade(self, price: str, symbol: str = "ABCD", size: int = 100) -> None:
        self.engine.on_trade(symbol, Decimal(price), size, True, self.now_ns)

    def advance(self, ms: int) -> None:
        self.now_ns += ms * MS
        self.engine.advance(self.now_ns)

    def updates(self) -> list[TradeUpdate]:
        sent, _ = self.stream.pass_on(self.engine.take_updates(), self.now_ns)
        return [wire.trade_update(row) for row in sent]

    def fail_next(self, method: str, path: str, how: str) -> None:
        """Let the next such request go wrong.

        `how`: refused_connection, lost_before, lost_after, http_504_after, unavailable,
        not_found.
        """
        self._faults.append((method, path, how))

    def alter(self, path: str, change: Callable[[Any], Any]) -> None:
        """Let each good answer to a GET of this path be what `change` makes of its body."""
        self._changes[path] = change

    def heal(self) -> None:
        """Let nothing more go wrong that was asked for."""
        self._faults.clear()
        self._changes.clear()

    def posts(self) -> int:
        return sum(one == ("POST", "/v2/orders") for one in self.requests)

    def _fault_of(self, method: str, path: str) -> str:
        for fault in self._faults:
            if fault[0] == method and path.startswith(fault[1]):
                self._faults.remove(fault)
                return fault[2]
        return ""

    def serve(self, method: str, path: str, query: bytes, body: bytes) -> tuple[int, bytes]:
        if self.silent and method == "GET" and path == self.silent:
            return 503, b"<html>unavailable</html>"
        fault = self._fault_of(method, path)
        if fault == "refused_connection":
            raise requests.exceptions.ConnectionError(
                NewConnectionError(None, "connection refused")  # type: ignore[arg-type]
            )
        if fault == "lost_before":
            raise requests.exceptions.ReadTimeout("no answer")
        if fault == "unavailable":
            return 503, b"<html>unavailable</html>"
        if fault == "not_found":
            return 404, b'{"code": 40410000, "message": "order not found"}'
        self.requests.append((method, path))
        rule = self.engine.faults.request(method, path, self.now_ns)
        if rule is not None:
            request = parse_request(method, path, query, body)
            faulted = faulty(rule.do, self.api, request)
            if faulted is None:
                raise requests.exceptions.ReadTimeout("no answer")
            return faulted.status, faulted.body
        answer = self.api.answer(parse_request(method, path, query, body))
        if fault == "lost_after":
            raise requests.exceptions.ReadTimeout("no answer")
        if fault == "http_504_after":
            return 504, b"<html>gateway timeout</html>"
        if method == "GET" and answer.status == 200 and path in self._changes:
            return 200, json.dumps(self._changes[path](json.loads(answer.body))).encode()
        return answer.status, answer.body


class _Transport(BaseAdapter):
    def __init__(self, venue: InMemoryVenue) -> None:
        super().__init__()
        self._venue = venue

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        path, _, query = (request.path_url or "").partition("?")
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        status, answer = self._venue.serve(str(request.method), path, query.encode(), content)
        response = requests.Response()
        response.status_code = status
        response.raw = BytesIO(answer)
        response.url = str(request.url)
        response.request = request
        response.headers["X-RateLimit-Remaining"] = "180"
        return response

    def close(self) -> None:
        pass


Clock = Callable[[], int]
