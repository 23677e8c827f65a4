"""After a gap: fetch the trades that watched symbols missed, without those that were sent.

Watched are the symbols that consumers with the `backfill` extension name one by one. The pure part
makes frames of the API's rows; `Backfiller` asks, one gap at a time, within its budget.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from relay import frames
from relay.duplicates import SeenTrades
from relay.fanout import RING_BYTES, Fanout
from relay.gate import Bucket
from relay.json_frames import parse_rfc3339
from relay.market_rest import MarketRest, RestError
from relay.outbox import FRAME_MESSAGES

logger = logging.getLogger(__name__)
SETTLE_S = 1.0  # what is still on its way over the stream comes first
LEAD_NS = 2_000_000_000  # reported late, a print may be older than the gap
SYMBOLS_MAX = 100
PAGES_MAX = 20  # of 10,000 trades
GAPS_MAX = 100  # waiting
REQUESTS = (30, 0.5)  # burst, per second: others ask the same account
_GONE = ("canceled", "incorrect")  # what the API says of trades that are none any more


class Gap(NamedTuple):
    """Prints of [from_ns, to_ns) may be missing."""

    from_ns: int
    to_ns: int
    only: str | None = None  # of this symbol


class Rows:
    """Rows of the API as messages of the stream; counts what it leaves out."""

    def __init__(self) -> None:
        self.bad = 0
        self._ids: set[tuple[object, ...]] = set()

    def frames(self, trades: Mapping[str, list[dict[str, Any]]]) -> list[bytes]:
        """Return frames of encoded trades in the venue's order of keys, each with the mark."""
        found = []
        for symbol, rows in trades.items():
            for row in rows:
                message = self._message(symbol, row)
                if message is not None:
                    found.append(message)
        sizes = range(0, len(found), FRAME_MESSAGES)
        return [frames.encode_array(found[at : at + FRAME_MESSAGES]) for at in sizes]

    def _message(self, symbol: str, row: object) -> bytes | None:
        try:
            told = _told(symbol, row)
        except (KeyError, TypeError, ValueError):
            self.bad += 1
            return None
        if told is None:
            return None
        known = tuple(told.get(name) for name in ("S", "x", "z", "i"))
        if known in self._ids:
            return None
        self._ids.add(known)
        return frames.encode_message(told)


def _told(symbol: str, row: object) -> dict[str, object] | None:
    """Return one row as the stream would say it. Raises: KeyError, TypeError, ValueError."""
    if not isinstance(row, dict):
        raise TypeError(row)
    if row.get("u") in _GONE:
        return None
    number, price, size, conditions = row["i"], row["p"], row["s"], row.get("c") or []
    sane = isinstance(number, int) and isinstance(price, int | float) and math.isfinite(price)
    if not sane or not isinstance(size, int | float) or not 0 <= number < 1 << 64:
        raise ValueError(symbol)
    frames.symbol_key(symbol)
    return {
        "T": "t",
        "S": symbol,
        "i": number,
        "x": str(row.get("x", "")),
        "p": float(price),
        "s": size,
        "c": [str(one) for one in conditions],
        "z": str(row.get("z", "")),
        "t": parse_rfc3339(row["t"]),
        "backfill": True,
    }


class Backfiller:
    """Closes gaps as far as the API can tell.

    Args:
        api: the venue's data API now; None when there is none, or no key yet.
    """

    def __init__(self, fanout: Fanout, api: Callable[[], MarketRest | None]) -> None:
        self._fanout = fanout
        self._api = api
        self._waiting: deque[Gap] = deque(maxlen=GAPS_MAX)
        self._came = asyncio.Event()
        burst, per_second = REQUESTS
        self._budget = Bucket(burst=burst, per_second=per_second, now_s=time.monotonic())

    def may_ask(self) -> bool:
        """Say whether one more request is within what we allow ourselves; then it is counted."""
        return self._budget.take(1, now_s=time.monotonic())

    def gap(self, from_ns: int, to_ns: int, only: str | None = None) -> None:
        """Fetch what this gap may hold, when it is its turn."""
        self._waiting.append(Gap(from_ns, to_ns, only))
        self._came.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._came.wait()
            await asyncio.sleep(SETTLE_S)
            while self._waiting:
                await self._close(self._waiting.popleft())
            self._came.clear()

    async def _close(self, gap: Gap) -> None:
        watched = sorted(self._fanout.watched())
        if gap.only is not None:
            watched = [symbol for symbol in watched if symbol == gap.only]
        if not watched:
            return
        symbols = watched[:SYMBOLS_MAX]
        told = {"from": gap.from_ns, "to": gap.to_ns, "symbols": symbols}
        self._mark("begin", told)
        api, rows, trades = self._api(), Rows(), 0
        state, reason = "complete", ""
        try:
            if api is None:
                raise RestError("no data API for this feed, or no key yet")
            found, complete = await self._fetch(api, symbols, gap, rows)
            trades = await self._give(found, symbols)
            if not complete:
                state, reason = "partial", "more trades than one gap may bring"
            elif len(watched) > len(symbols):
                state, reason = "partial", f"only {SYMBOLS_MAX} symbols are filled"
            elif rows.bad:
                state, reason = "partial", f"{rows.bad} trades could not be read"
        except RestError as exc:
            state, reason = "failed", str(exc)
        facts = {"state": state, "reason": reason, "trades": trades, "symbols": len(symbols)}
        logger.info("gap filled" if state == "complete" else "gap not filled", extra=facts)
        self._fanout.counters[f"backfill_{state}"] += 1
        self._mark(state, {**told, "trades": trades, "reason": reason})

    def _mark(self, state: str, told: Mapping[str, object]) -> None:
        marker = {"T": "backfill", "state": state, **told}
        self._fanout.mark(marker, "backfill", now_s=time.monotonic())

    async def _fetch(
        self, api: MarketRest, symbols: list[str], gap: Gap, rows: Rows
    ) -> tuple[list[bytes], bool]:
        """Return frames of all trades of the gap, and whether these are all."""
        found: list[bytes] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            if not self.may_ask():
                raise RestError("our own limit of requests is reached")
            page = await asyncio.to_thread(
                api.trades, symbols, gap.from_ns - LEAD_NS, gap.to_ns, token
            )
            found += rows.frames(page.trades)
            token = page.next_token
            if token is None:
                return found, True
        return found, False

    async def _give(self, found: Iterable[bytes], symbols: list[str]) -> int:
        """Pass on what was not sent before; return how many trades that were."""
        ring, count = self._fanout.ring, 0
        sent = ring.newest(max_bytes=RING_BYTES, extensions=("", "backfill"))
        newer = ring.next_offset
        seen = await asyncio.to_thread(SeenTrades, sent, only=symbols)
        since = [entry.frame for entry in ring.since(newer, max_bytes=RING_BYTES)]
        lately = SeenTrades(since, only=symbols)
        for frame in found:
            fresh, _ = seen.without(frame)
            fresh, _ = lately.without(fresh)
            if size := frames.scan(fresh).size:
                count += size
                self._fanout.backfill(fresh, now_s=time.monotonic())
                await asyncio.sleep(0)  # live data first
        return count
