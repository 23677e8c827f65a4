"""Market data over REST: `/v2/stocks/…/trades` and the latest ones, of what has been shown so far.

As the venue's own data API answers: symbols in order, times ascending, pages by token. What was
played before the start, and what lies further back than `MESSAGES_MAX`, is not told.
"""

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from execution.venue import rejections
from execution.venue.cursor import Piece
from relay import frames
from relay.json_frames import parse_rfc3339, to_json

MESSAGES_MAX = 500_000  # some 60 MB
LIMIT, LIMIT_MAX = 1_000, 10_000
SYMBOLS_MAX = 1_000
_PATH = re.compile(r"/v2/stocks(?:/(?P<symbol>[A-Za-z0-9./\-_]{1,16}))?/trades(?P<latest>/latest)?")


class TradeHistory:
    """The trades of the last messages that were shown."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._messages = 0

    def add(self, pieces: Iterable[Piece]) -> None:
        """Take what clients are shown now; the oldest makes room."""
        for piece in pieces:
            self._pieces.append(piece)
            self._messages += piece.stop - piece.first
        while self._messages > MESSAGES_MAX and len(self._pieces) > 1:
            gone = self._pieces.popleft()
            self._messages -= gone.stop - gone.first

    def answer(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the response's body, None when the path is not ours.

        Raises:
            Rejection: a parameter is not acceptable.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        alone = found["symbol"]
        symbols = [alone] if alone else _symbols(query.get("symbols", ""))
        if found["latest"]:
            newest = self._newest(symbols)
            return {"symbol": alone, "trade": newest.get(alone)} if alone else {"trades": newest}
        rows, token = self._page(symbols, query)
        if alone:
            return {"symbol": alone, "trades": rows.get(alone, []), "next_page_token": token}
        return {"trades": rows, "next_page_token": token}

    def _page(
        self, symbols: list[str], query: Mapping[str, str]
    ) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
        start_ns, end_ns = _time_ns(query, "start", 0), _time_ns(query, "end", (1 << 63) - 1)
        limit, first = _limit(query.get("limit", "")), _place(query.get("page_token", ""))
        every = [row for symbol in sorted(symbols) for row in self._of(symbol, start_ns, end_ns)]
        rows: dict[str, list[dict[str, Any]]] = {}
        for symbol, body in _told(every[first : first + limit]):
            rows.setdefault(symbol, []).append(body)
        following = first + limit
        return rows, _token(following) if following < len(every) else None

    def _of(self, symbol: str, start_ns: int, end_ns: int) -> list[bytes]:
        """Return a symbol's encoded trades with times in [start_ns, end_ns], by time."""
        found: list[tuple[int, bytes]] = []
        key, key2 = frames.symbol_key(symbol)
        for piece in self._pieces:
            spans = piece.spans
            wanted = (spans["kind"] == frames.TRADE) & (spans["key"] == key)
            wanted &= (spans["key2"] == key2) & (spans["ts_ns"] >= start_ns)
            for span in spans[wanted & (spans["ts_ns"] <= end_ns)]:
                body = piece.columns.data[int(span["start"]) : int(span["end"])]
                found.append((int(span["ts_ns"]), body))
        return [body for _, body in sorted(found, key=lambda one: one[0])]

    def _newest(self, symbols: list[str]) -> dict[str, dict[str, Any]]:
        bodies = {symbol: self._of_last_piece(symbol) for symbol in symbols}
        return dict(_told([body for body in bodies.values() if body is not None]))

    def _of_last_piece(self, symbol: str) -> bytes | None:
        key, key2 = frames.symbol_key(symbol)
        for piece in reversed(self._pieces):
            spans = piece.spans
            wanted = (spans["kind"] == frames.TRADE) & (spans["key"] == key)
            at = np.flatnonzero(wanted & (spans["key2"] == key2))
            if at.size:
                span = spans[at[-1]]
                return piece.columns.data[int(span["start"]) : int(span["end"])]
        return None


def _told(bodies: list[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield symbol and what the API says of each trade: neither `T` nor `S`."""
    for body in msgspec.json.decode(to_json(frames.encode_array(bodies))):
        del body["T"]
        yield body.pop("S"), body


def _symbols(text: str) -> list[str]:
    found = [symbol for symbol in text.split(",") if symbol]
    if not found or len(found) > SYMBOLS_MAX or any(len(symbol) > 16 for symbol in found):
        raise rejections.malformed("invalid symbols")
    if not all(symbol.isascii() for symbol in found):
        raise rejections.malformed("invalid symbols")
    return list(dict.fromkeys(found))


def _time_ns(query: Mapping[str, str], name: str, absent: int) -> int:
    text = query.get(name, "")
    if not text:
        return absent
    try:
        return parse_rfc3339(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise rejections.malformed(f"invalid {name}: {text[:40]}") from None


def _limit(text: str) -> int:
    if not text:
        return LIMIT
    if not text.isdigit() or not 1 <= int(text) <= LIMIT_MAX:
        raise rejections.malformed(f"invalid limit: {text[:40]}")
    return int(text)


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode()


def _place(token: str) -> int:
    try:
        place = int(base64.urlsafe_b64decode(token or _token(0)))
    except (binascii.Error, ValueError):
        raise rejections.malformed("invalid page_token") from None
    return max(0, place)
