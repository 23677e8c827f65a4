"""How fresh the board is: the state that every page shows, and its market clock."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from django.conf import settings

from execution.models import Run, RunState
from tradeplane.pages import figures

#: With a living hub and an open session the market clock moves; longer than this is stale.
STILL_S = 8.0
NS = 1_000_000_000


@dataclass(frozen=True)
class Health:
    """state: live, empty, loading, stale, ended or error; clock: ms of the market, speed."""

    state: str
    why: str = ""
    market_ms: int = 0
    speed: float = 0.0
    close_ms: int = 0
    warming: bool = False  # the market runs ahead; nothing may be bought yet
    since: str = ""  # when what is shown was last known to be true

    def but(self, **changes: str) -> "Health":
        return replace(self, **changes)  # type: ignore[arg-type]


class Watch:
    """Remembers when the market clock moved last."""

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._seen: tuple[str, int] = ("", -1)
        self._moved_at = mono()

    def look(
        self,
        run: Run,
        hub: Mapping[str, str] | None,
        beats: Mapping[str, Mapping[str, str]] | None,
    ) -> Health:
        """Return the state of a run. Args: hub, beats: heart-beats; None when there are none."""
        market_ns, speed = _clock(run, hub)
        if (run.pk, run.market_ns) != self._seen:
            self._seen, self._moved_at = (run.pk, run.market_ns), self._mono()
        base = Health(
            state="live",
            market_ms=market_ns // 1_000_000,
            speed=speed,
            close_ms=run.close_ns // 1_000_000,
            warming=bool((hub or {}).get("warming")),
            since=figures.clock(run.market_ns),
        )
        if run.state in (RunState.ENDED, RunState.FAILED):
            return replace(base, state="ended", speed=0.0)
        if why := self._trouble(run, hub, beats):
            return replace(base, state="stale", why=why, speed=0.0)
        if run.state == RunState.STARTING:
            return replace(base, state="loading", speed=0.0)
        return base

    def _trouble(
        self,
        run: Run,
        hub: Mapping[str, str] | None,
        beats: Mapping[str, Mapping[str, str]] | None,
    ) -> str:
        if beats is None:
            return "Redis does not answer, so nothing new arrives."
        if hub is None:
            return f"the hub is silent since {figures.clock(run.market_ns)}."
        if run.state != RunState.RUNNING:
            return ""
        if run.assignments and not set(run.assignments) & set(beats):
            return "no shard reports."
        still = self._mono() - self._moved_at
        in_session = run.open_ns <= run.market_ns < run.close_ns
        if in_session and still > STILL_S:
            waits = hub.get("waits", "")
            said = f" It waits for {waits}." if waits else ""
            return f"the market clock stands at {figures.clock(run.market_ns)}.{said}"
        return ""


def _speed(hub: Mapping[str, str]) -> float:
    """A paced tape warms up faster than it goes on; the hub tells."""
    try:
        return float(hub["speed"])
    except (KeyError, ValueError):
        return float(settings.TRADEPLANE_SPEED)


def _clock(run: Run, hub: Mapping[str, str] | None) -> tuple[int, float]:
    """Return the market's time now and how fast it runs; a lock-step tape jumps, so 0."""
    try:
        at_ns, market_ns = int((hub or {})["at"]), int((hub or {})["market_ns"])
    except (KeyError, ValueError):
        return run.market_ns, 0.0
    if run.lockstep or market_ns <= 0:
        return market_ns or run.market_ns, 0.0
    speed = _speed(hub or {})
    passed = min(max(0, time.time_ns() - at_ns), 5 * NS)
    return market_ns + int(passed * speed), speed
