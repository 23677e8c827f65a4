"""The venue's market data over REST: what the stream cannot say again. Blocking, for a thread.

Bounded: one answer has so many seconds and bytes, no redirects are followed. Only what a gap needs
is here; programs have the venue's own SDK.
"""

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from relay.json_frames import parse_rfc3339, rfc3339
from relay.tls import client_context

TIMEOUT_S = 5.0
MAX_BYTES = 32 << 20
PAGE = 10_000  # trades, the venue's limit
FEEDS = ("sip", "iex", "delayed_sip", "boats", "overnight")


class RestError(Exception):
    """No answer, or none that can be used; one line. `status` is the HTTP status, 0 without one."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Page:
    """Trades by symbol, as the API says them, and where the next page begins."""

    trades: Mapping[str, list[dict[str, Any]]]
    next_token: str | None = None


class MarketRest(Protocol):
    """What we ask of the venue. Both raise RestError."""

    def trades(
        self, symbols: Iterable[str], from_ns: int, to_ns: int, token: str | None = None
    ) -> Page: ...

    def latest_ns(self, symbols: Iterable[str]) -> dict[str, int]: ...


def rest_url(stream_url: str) -> str | None:
    """Return the data API that belongs to a stream's address; None where there is none.

    `stream.data…` has its API at `data…`; a venue on this machine has both on one port.
    """
    parts = urlsplit(stream_url)
    if parts.path.rstrip("/").rpartition("/")[2] not in FEEDS:
        return None
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{parts.netloc.removeprefix('stream.')}"


class HttpMarketRest:
    """The data API at `url` (scheme and host) with a key and secret of the venue's.

    Args:
        ca_file: certificates to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        feed: str,
        ca_file: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._secure, self._ca_file = parts.scheme == "https", ca_file
        self._headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        self._feed = feed
        self._timeout_s = timeout_s

    def trades(
        self, symbols: Iterable[str], from_ns: int, to_ns: int, token: str | None = None
    ) -> Page:
        """Return one page of trades of [from_ns, to_ns], by symbol and time."""
        query = {
            "symbols": ",".join(symbols),
            "start": _text(from_ns),
            "end": _text(to_ns),
            "feed": self._feed,
            "limit": str(PAGE),
            **({"page_token": token} if token else {}),
        }
        found = self._get("/v2/stocks/trades", query)
        trades, following = found.get("trades") or {}, found.get("next_page_token")
        if not isinstance(trades, dict) or not isinstance(following, str | None):
            raise RestError("an answer of another shape")
        rows = {s: r for s, r in trades.items() if isinstance(r, list)}
        return Page(rows, following or None)

    def latest_ns(self, symbols: Iterable[str]) -> dict[str, int]:
        """Return when each symbol traded last, UTC ns; without those that never did."""
        query = {"symbols": ",".join(symbols), "feed": self._feed}
        trades = self._get("/v2/stocks/trades/latest", query).get("trades") or {}
        if not isinstance(trades, dict):
            raise RestError("an answer of another shape")
        found = {}
        for symbol, trade in trades.items():
            try:
                found[str(symbol)] = parse_rfc3339(trade["t"])
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            status, body = self._fetch(f"{path}?{urlencode(query)}")
        except (OSError, http.client.HTTPException) as exc:
            raise RestError(f"{self._host}: {str(exc) or type(exc).__name__}"[:200]) from exc
        if status != http.HTTPStatus.OK:
            raise RestError(f"{self._host} answers {status}", status)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise RestError(f"{self._host} answers no JSON") from exc
        if not isinstance(found, dict):
            raise RestError("an answer of another shape")
        return found

    def _fetch(self, target: str) -> tuple[int, bytes]:
        if self._secure:
            context = client_context(self._ca_file)
            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=context
            )
        else:
            link = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            link.request("GET", target, headers=self._headers)
            answer = link.getresponse()
            body = answer.read(MAX_BYTES + 1)
        finally:
            link.close()
        if len(body) > MAX_BYTES:
            raise RestError("an answer that is too long")
        return answer.status, body


def _text(ts_ns: int) -> str:
    seconds, nanoseconds = divmod(ts_ns, 1_000_000_000)
    return rfc3339(seconds, nanoseconds) or ""
