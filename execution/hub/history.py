"""Bars of the past sessions, for usual volumes: from Alpaca's data API, or from nowhere.

A paper venue has no past. A read that fails leaves symbols without history, which the universe
says; it never holds up the day (design: trigger 1.2, rvol_min).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import requests

from execution.domain.universe import DailyBar, IntradayBar, volume_curve
from execution.hub.config import HubConfig
from signals.session import NEW_YORK, OPEN

logger = logging.getLogger(__name__)

CALENDAR_DAYS = 35  # enough for 20 sessions, holidays included
SYMBOLS_AT_ONCE = 400
PAGE = 10_000
PAGES_MAX = 200
TIMEOUT_S = (2.0, 8.0)
MAX_BYTES = 16_000_000
CURVE_DAYS = 24  # enough for 14 sessions, holidays included
Bars = dict[str, list[DailyBar]]
Curves = dict[str, tuple[int, ...]]
Row = TypeVar("Row")


class History(Protocol):
    """Neither call raises; a symbol without history is not in its answer."""

    def bars(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Bars: ...

    def curves(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Curves:
        """Return what is usual by each half hour (`domain.universe.volume_curve`)."""
        ...


class NoHistory:
    def bars(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Bars:
        return {}

    def curves(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Curves:
        return {}


class AlpacaHistory:
    """Daily bars, adjusted for splits, in a few large requests, with `breathe` in between."""

    def __init__(
        self, *, url: str, key: str, secret: str, get: Callable[..., Any] = requests.get
    ) -> None:
        self._url = f"{url.rstrip('/')}/v2/stocks/bars"
        self._headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        self._get = get

    def bars(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Bars:
        found: Bars = {}
        span = str(today - timedelta(days=CALENDAR_DAYS)), str(today - timedelta(days=1))
        for page in self._chunks(symbols, "1Day", span, breathe, _Bar.plain):
            for symbol, rows in page.items():
                found.setdefault(symbol, []).extend(rows)
        return found

    def curves(self, symbols: Sequence[str], today: date, breathe: Callable[[], object]) -> Curves:
        span = f"{today - timedelta(days=CURVE_DAYS)}T00:00:00Z", f"{today}T00:00:00Z"
        found: Curves = {}
        for first in range(0, len(symbols), SYMBOLS_AT_ONCE):  # the bars of all would be too many
            rows: dict[str, list[IntradayBar]] = {}
            chunk = symbols[first : first + SYMBOLS_AT_ONCE]
            for page in self._chunks(chunk, "30Min", span, breathe, _Bar.intraday):
                for symbol, told in page.items():
                    rows.setdefault(symbol, []).extend(told)
            curves = {symbol: volume_curve(told) for symbol, told in rows.items()}
            found |= {symbol: curve for symbol, curve in curves.items() if curve is not None}
            if not rows:
                break
        return found

    def _chunks(
        self,
        symbols: Sequence[str],
        timeframe: str,
        span: tuple[str, str],
        breathe: Callable[[], object],
        read: Callable[["_Bar"], Row],
    ) -> Iterator[dict[str, list[Row]]]:
        """Yield pages of bars, each read by `read`, until one cannot be had or read."""
        for first in range(0, len(symbols), SYMBOLS_AT_ONCE):
            chunk = symbols[first : first + SYMBOLS_AT_ONCE]
            try:
                for page in self._pages(chunk, timeframe, span):
                    yield {name: [read(bar) for bar in rows] for name, rows in page.items()}
                    breathe()
            except (requests.RequestException, ValueError) as exc:
                told = {"error": str(exc), "timeframe": timeframe, "symbols": len(chunk)}
                logger.warning("no bars of the past", extra=told)
                return  # what answers none will answer none of the rest

    def _pages(
        self, symbols: Iterable[str], timeframe: str, span: tuple[str, str]
    ) -> Iterator[dict[str, list["_Bar"]]]:
        asked = {
            "symbols": ",".join(symbols),
            "timeframe": timeframe,
            "start": span[0],
            "end": span[1],
            "adjustment": "split",
            "limit": str(PAGE),
        }
        for _ in range(PAGES_MAX):
            answer = self._get(self._url, params=asked, headers=self._headers, timeout=TIMEOUT_S)
            answer.raise_for_status()
            if len(answer.content) > MAX_BYTES:
                raise ValueError(f"a page of {len(answer.content)} bytes")
            page = read_page(answer.content)
            yield page.bars
            if not page.next_page_token:
                return
            asked["page_token"] = page.next_page_token


class _Bar(msgspec.Struct, frozen=True):
    t: str
    c: float
    v: float

    def plain(self) -> DailyBar:
        return DailyBar(day=date.fromisoformat(self.t[:10]), close=self.c, volume=int(self.v))

    def intraday(self) -> IntradayBar:
        """Return it by New York time. Raises: ValueError: its time is none."""
        begun = datetime.fromisoformat(self.t).astimezone(NEW_YORK)
        minute = 60 * (begun.hour - OPEN.hour) + begun.minute - OPEN.minute
        return IntradayBar(day=begun.date(), minute=minute, volume=int(self.v))


class _Page(msgspec.Struct, frozen=True):
    bars: dict[str, list[_Bar]] = {}
    next_page_token: str | None = None


def read_page(body: bytes) -> _Page:
    """Return one page of bars. Raises: ValueError: not a page."""
    try:
        return msgspec.json.decode(body, type=_Page)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"not a page of bars: {exc}") from exc


def history_of(config: HubConfig) -> History:
    """Return where this hub reads the past: Alpaca's data API, when it has one."""
    if not config.data_url:
        return NoHistory()
    return AlpacaHistory(url=config.data_url, key=config.broker_key, secret=config.broker_secret)
