"""When a lock-step tape stops by the clock alone: bucket ends plus grace, and where it ends."""

from dataclasses import dataclass

from signals.session import BUCKET_NS, Session

SECOND_NS = 1_000_000_000
#: A tape whose last message comes this close to the close has reached it.
REACHES_CLOSE_NS = 60 * SECOND_NS
#: The end-of-day ladder's last step (verify) is two minutes after the close.
AFTER_CLOSE_NS = 125 * SECOND_NS
#: A wake-up in the past must not hold the tape in place.
SHORTEST_STEP_NS = 1_000_000


@dataclass(frozen=True)
class Grid:
    """`last_ns` is the receive time of the tape's last message."""

    session: Session
    start_ns: int
    last_ns: int

    def end_ns(self, grace_ns: int) -> int:
        """Return the time of the last stop."""
        end = self._bucket_end(self.last_ns) + grace_ns
        close_ns = self.session.close_ns
        if self.start_ns >= close_ns:
            return end
        if self.last_ns >= close_ns - REACHES_CLOSE_NS:
            return close_ns + AFTER_CLOSE_NS
        return end

    def next_ns(self, now_ns: int, grace_ns: int, wake_at_ns: int | None) -> int:
        """Return the next stop if nothing happens before: bucket end + grace, or the wake-up."""
        bucket_end = self._bucket_end(max(now_ns - grace_ns, self.start_ns))
        coming = bucket_end + grace_ns
        if wake_at_ns is not None:
            coming = min(coming, max(wake_at_ns, now_ns + SHORTEST_STEP_NS))
        return min(coming, max(self.end_ns(grace_ns), now_ns))

    @staticmethod
    def _bucket_end(ts_ns: int) -> int:
        """Return the end of the bucket that holds `ts_ns`."""
        return (ts_ns // BUCKET_NS + 1) * BUCKET_NS
