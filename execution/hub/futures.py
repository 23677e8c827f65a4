"""Where the futures trend comes from: index ETFs, a file or URL with real futures, or nowhere.

A provider answers at once with what it last knew; reading a file or URL is done by a thread of its
own, so that a slow vendor never holds up a round (design: trigger 4.2).
"""

import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from execution.domain.rounds import FuturesPart
from signals.confidence.index import IndexBook
from signals.confidence.proxy import proxy_legs

logger = logging.getLogger(__name__)

READ_EVERY_S = 5.0
TIMEOUT_S = 3.0
MAX_BYTES = 64_000
MAX_PARTS = 16


@dataclass(frozen=True, kw_only=True)
class Trend:
    """What a provider knows; no parts: unknown."""

    parts: tuple[FuturesPart, ...] = ()
    as_of_ns: int | None = None


UNKNOWN = Trend()


class FuturesProvider(Protocol):
    """`trend` never waits and never raises."""

    def trend(self) -> Trend: ...


@dataclass(frozen=True, kw_only=True)
class NoProvider:
    def trend(self) -> Trend:
        return UNKNOWN


@dataclass(frozen=True, kw_only=True)
class EtfProxy:
    """The trend of SPY, QQQ, IWM and VIXY, out of the buckets that ride on the reports."""

    index: IndexBook
    scales: Mapping[str, float] = field(default_factory=dict)  # of five sessions, where known

    def trend(self) -> Trend:
        legs, as_of_ns = proxy_legs(self.index.series, self.scales)
        return Trend(parts=tuple(FuturesPart(**leg._asdict()) for leg in legs), as_of_ns=as_of_ns)


@dataclass(kw_only=True)
class ExternalFutures:
    """Real futures from a file or an HTTP address, read every few seconds by a thread.

    The document is JSON: `{"as_of_ns": ..., "parts": [{"symbol", "weight", "sign", "ema_gap_bps",
    "scale_bps", "ret15_z"}, ...]}`. What cannot be read leaves the last answer, which grows old.
    """

    source: str
    read: Callable[[str], bytes] = field(default_factory=lambda: read_source)
    _newest: Trend = UNKNOWN
    _thread: threading.Thread | None = None
    _said: str = ""

    def trend(self) -> Trend:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="futures", daemon=True)
            self._thread.start()
        return self._newest

    def look(self) -> None:
        """Read once; log a trouble when it is a new one."""
        try:
            self._newest = parse_trend(self.read(self.source))
            said = ""
        except (OSError, ValueError) as exc:
            said = str(exc)
        if said and said != self._said:
            logger.warning("no futures trend", extra={"source": self.source, "error": said})
        self._said = said

    def _follow(self) -> None:
        while True:
            self.look()
            time.sleep(READ_EVERY_S)


def parse_trend(body: bytes) -> Trend:
    """Return the trend that a document tells.

    Raises:
        ValueError: not such a document; the message says where.
    """
    try:
        told = msgspec.json.decode(body, type=_Document)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ValueError(f"not a trend: {exc}") from exc
    if len(told.parts) > MAX_PARTS:
        raise ValueError(f"a trend of {len(told.parts)} parts; {MAX_PARTS} at most")
    for part in told.parts:
        if part.weight < 0 or part.scale_bps <= 0 or part.sign not in (1, -1):
            raise ValueError(
                f"{part.symbol}: weight >= 0, scale_bps > 0 and sign 1 or -1 are asked"
            )
    return Trend(parts=told.parts, as_of_ns=told.as_of_ns)


class _Document(msgspec.Struct, frozen=True):
    as_of_ns: int
    parts: tuple[FuturesPart, ...]


def read_source(source: str) -> bytes:
    """Return the document behind a file name or an http(s) address, at most 64 kB.

    Raises:
        OSError: it cannot be reached. ValueError: it is too long.
    """
    if urlsplit(source).scheme in ("http", "https"):
        with urllib.request.urlopen(source, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http(s) only
            body: bytes = answer.read(MAX_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"{source} is longer than {MAX_BYTES} bytes")
    return body


@dataclass(kw_only=True)
class Futures:
    """The provider that the parameters name, made when it is first asked."""

    index: IndexBook
    source: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    _external: ExternalFutures | None = None

    def trend(self, parameters: Mapping[str, Any]) -> Trend:
        return self._provider(str(parameters["futures_provider"])).trend()

    def _provider(self, name: str) -> FuturesProvider:
        if name == "etf_proxy":
            return EtfProxy(index=self.index, scales=self.scales)
        if name == "external_futures" and self.source:
            self._external = self._external or ExternalFutures(source=self.source)
            return self._external
        return NoProvider()
