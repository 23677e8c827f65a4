"""Asks the venue about watched symbols that are quiet, and tells who cares when one is mute."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from relay.backfill import Backfiller
from relay.fanout import Fanout
from relay.market_rest import MarketRest, RestError
from relay.symbol_watch import Change, SymbolWatch

logger = logging.getLogger(__name__)
LOOK_S = 1.0
SYMBOLS_MAX = 50  # in one question
WATCHED_MAX = 500


class Prober:
    """Watches symbols one by one, as the whole feed's silence says nothing about them.

    Args:
        active: whether silence means anything now (a live feed, connected, in the session).
        tell: told {"T":"symbol","S":…,"state":"mute"|"ok","seen":ns,"venue":ns}.
    """

    def __init__(
        self,
        fanout: Fanout,
        api: Callable[[], MarketRest | None],
        backfiller: Backfiller,
        *,
        active: Callable[[], bool],
        tell: Callable[[dict[str, object]], None],
    ) -> None:
        self.watch = SymbolWatch()
        self._fanout, self._api, self._backfiller = fanout, api, backfiller
        self._active, self._tell = active, tell
        self._silenced = False

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._active():
                self.watch = SymbolWatch()
                continue
            self._fanout.note_symbols(sorted(self._fanout.named())[:WATCHED_MAX])
            self.watch.note(self._fanout.newest_times(), **_now())
            await self._ask()

    async def _ask(self) -> None:
        api = self._api()
        asked = self.watch.due(now_s=time.monotonic(), most=SYMBOLS_MAX) if api else []
        if api is None or not asked or not self._backfiller.may_ask():
            return
        try:
            venue = await asyncio.to_thread(api.latest_ns, asked)
        except RestError as exc:
            if not self._silenced:
                logger.warning("symbols not compared", extra={"reason": str(exc)})
            self._silenced = True
            return
        self._silenced = False
        self.watch.note(self._fanout.newest_times(), **_now())
        for change in self.watch.answered(venue, asked):
            self._changed(change)

    def _changed(self, change: Change) -> None:
        state = "mute" if change.mute else "ok"
        told = {
            "S": change.symbol,
            "state": state,
            "seen": change.seen_ns,
            "venue": change.venue_ns,
        }
        logger.warning("symbol is mute" if change.mute else "symbol speaks again", extra=told)
        self._fanout.counters["symbols_mute"] += change.mute
        self._tell({"T": "symbol", **told})
        if change.mute:
            self._backfiller.gap(change.seen_ns, change.venue_ns + 1, only=change.symbol)


def _now() -> dict[str, Any]:
    return {"now_s": time.monotonic(), "now_ns": time.time_ns()}
