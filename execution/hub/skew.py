"""How far the host's clock is from the broker's: beyond `max_clock_skew_ms` entries are blocked.

Asked once a minute, and at once when the host's clock was set (it moved otherwise than the process
clock). What a request takes bounds how well it is known: a slow answer says nothing.
(Design: trigger 5.1, 9 case 31; DESIGN 6 "two clocks".)
"""

from collections.abc import Callable
from dataclasses import dataclass

from execution.brokers.port import Broker, BrokerError

EVERY_S = 60.0
RETRY_S = 5.0
KNOWN_FOR_S = 300.0
SLOWEST_S = 1.0  # an answer that took longer is not a time
JUMP_MS = 100.0
MS = 1_000_000


@dataclass(kw_only=True)
class ClockSkew:
    """Args: wall_ns: the host's clock; mono: the process clock."""

    broker: Broker
    wall_ns: Callable[[], int]
    mono: Callable[[], float]
    _skew_ms: float | None = None
    _measured: float = float("-inf")
    _next: float = float("-inf")
    _wall_less_mono_ns: int | None = None

    def look(self) -> None:
        """Measure when it is time; never raises, never waits longer than one request."""
        if self._was_set():
            self._skew_ms, self._next = None, float("-inf")
        if self.mono() < self._next:
            return
        self._next = self.mono() + (EVERY_S if self._measure() else RETRY_S)

    def value_ms(self) -> float | None:
        """Return host minus broker; None while it is not known, or no longer."""
        return self._skew_ms if self.mono() - self._measured < KNOWN_FOR_S else None

    def _measure(self) -> bool:
        before, asked_ns = self.mono(), self.wall_ns()
        try:
            told_ns = self.broker.clock().ts_ns
        except BrokerError:
            return False
        took_s = self.mono() - before
        if took_s > SLOWEST_S:
            return False
        between_ns = asked_ns + round(took_s * 1e9 / 2)
        self._skew_ms, self._measured = (between_ns - told_ns) / MS, self.mono()
        return True

    def _was_set(self) -> bool:
        """Did the host's clock jump since the last look?"""
        now_ns = self.wall_ns() - round(self.mono() * 1e9)
        before_ns, self._wall_less_mono_ns = self._wall_less_mono_ns, now_ns
        return before_ns is not None and abs(now_ns - before_ns) > JUMP_MS * MS
