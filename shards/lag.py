"""How far the market data that a shard has worked off trails the market. Pure.

Live, the watermark is compared with the host's clock. A tape's clock is elsewhere, so there the
least distance of the last minute counts as no lag: what is more has piled up since. A tape that
runs at another speed than the market's tells nothing.
"""

MAX_SANE_LAG_NS = 3_600_000_000_000  # beyond it the watermark is a tape's, not this host's
WINDOW_NS = 60_000_000_000


class Lag:
    """Args: silent: the market stands still for us (lock-step); speed: market per host seconds."""

    def __init__(self, *, silent: bool, speed: float) -> None:
        self._silent, self._real_time = silent, speed == 1.0
        self._watermark_ns = 0
        self._window_ns = 0  # when the newer of the two windows began
        self._least: list[int | None] = [None, None]  # of the window before, and of this one

    def note(self, now_ns: int, watermark_ns: int) -> None:
        """Everything up to the watermark was worked off at this time of the host."""
        self._watermark_ns = watermark_ns
        distance = now_ns - watermark_ns
        if now_ns - self._window_ns >= WINDOW_NS:
            self._window_ns, self._least = now_ns, [self._least[1], None]
        least = self._least[1]
        self._least[1] = distance if least is None else min(least, distance)

    def ms(self, now_ns: int) -> float:
        """Return the lag, milliseconds; 0 where it cannot be known."""
        distance = now_ns - self._watermark_ns
        if self._silent or not self._watermark_ns:
            return 0.0
        if abs(distance) <= MAX_SANE_LAG_NS:
            return distance / 1e6
        known = [one for one in self._least if one is not None]
        return max(0, distance - min(known)) / 1e6 if known and self._real_time else 0.0
