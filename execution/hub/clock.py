"""The market clock as the hub has it: the stop's time, the tape's, or the host's (DESIGN 6)."""

import time
from collections.abc import Callable
from dataclasses import dataclass

STALE_S = 2.0


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
        if self.source == "host":
            self._at_ns = max(self._at_ns, self.wall_ns())
        elif self.source == "tape":
            ran = min(max(0.0, self.mono() - self._heard), STALE_S)
            return self._at_ns + int(ran * self.speed * 1e9)
        return self._at_ns

    @property
    def known(self) -> bool:
        if self.source == "tape":
            return self.mono() - self._heard < STALE_S
        return self.source != "none"
