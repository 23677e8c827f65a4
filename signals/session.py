"""The regular session of a US equity day and the 5-second grid over it."""

from datetime import date, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
BUCKET_NS = 5_000_000_000
OPEN = time(9, 30)
CLOSE = time(16, 0)


class Session(NamedTuple):
    """`[open_ns, close_ns)` of one New York trading day, UTC epoch ns."""

    day: date
    open_ns: int
    close_ns: int

    @property
    def first_k(self) -> int:
        """Bucket index of the open."""
        return self.open_ns // BUCKET_NS

    @property
    def end_k(self) -> int:
        """Bucket index just past the last bucket."""
        return self.close_ns // BUCKET_NS


def new_york_ns(day: date, clock: time) -> int:
    """Return the UTC epoch ns of a New York wall-clock time (whole seconds)."""
    return int(datetime.combine(day, clock, NEW_YORK).timestamp()) * 1_000_000_000


def regular_session(day: date, *, close: time = CLOSE) -> Session:
    """Return the regular session of `day`; pass `close=time(13)` on a half day."""
    return Session(day, new_york_ns(day, OPEN), new_york_ns(day, close))


def bucket_of(ts_ns: int) -> int:
    """Return the bucket index k of an event time: `[5k, 5k + 5)` seconds."""
    return ts_ns // BUCKET_NS


def day_of(ts_ns: int) -> date:
    """Return the New York date of an event time."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, NEW_YORK).date()
