"""The market clock as the hub has it: the stop's time, the tape's, or the host's (DESIGN 6)."""

import time
from collections.abc import Callable
from dataclasses import dataclass

SECOND_NS = 1_000_000_000
STALE_S = 2.0
FRAMES_EVERY_S = 0.25  # of market: how often a paced tape tells its time
RUN_ON_NS = SECOND_NS  # how far the clock runs on between two frames
#: What our own work may take at each turn before it counts as lateness.
OWN_WORK_S = 0.5


@dataclass
class MarketClock:
    """`now_ns` never runs backwards; `known` is False when no source has spoken lately.

    Args: speed: market seconds per process second of a paced tape.
    """

    mono: Callable[[], float] = time.monotonic
    wall_ns: Callable[[], int] = time.time_ns
    speed: float = 1.0
    source: str = "none"  # none, stop, tape, host
    _at_ns: int = 0
    _told_ns: int = 0
    _heard: float = float("-inf")

    def stop_at(self, ts_ns: int) -> None:
        """Lock-step: the market stands still at this time."""
        self.source, self._at_ns = "stop", max(ts_ns, self._at_ns)

    def tape_at(self, ts_ns: int) -> None:
        """A paced tape: it was this late when the frame came; runs on at its speed."""
        if self.source == "stop":
            return
        self.source = "tape"
        self._at_ns, self._heard = max(ts_ns, self._at_ns), self.mono()

    def follow_host(self) -> None:
        """Live: the host's clock is the market's; the relay's is compared with it."""
        if self.source == "none":
            self.source = "host"

    def now_ns(self) -> int:
        """Return the market's time; between two frames of a tape it runs on, but not far."""
        now_ns = self._at_ns
        if self.source == "host":
            now_ns = self.wall_ns()
        elif self.source == "tape":
            ran_ns = int(max(0.0, self.mono() - self._heard) * self.speed * SECOND_NS)
            now_ns += min(ran_ns, RUN_ON_NS)
        self._told_ns = max(self._told_ns, now_ns)
        return self._told_ns

    @property
    def known(self) -> bool:
        if self.source == "tape":
            return self.mono() - self._heard < max(STALE_S, 4 * FRAMES_EVERY_S / self.speed)
        return self.source != "none"

    @property
    def slack_ns(self) -> int:
        """Return the market time that our own work costs because a tape runs fast; else 0.

        At speed N a second of computing is N seconds of market. A deadline that limits our
        slowness is that much later; what a parameter says of the market itself stays.
        """
        fast = self.speed - 1.0 if self.source == "tape" else 0.0
        return int(max(0.0, fast) * OWN_WORK_S * SECOND_NS)
