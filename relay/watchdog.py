"""When silence of the upstream means that it is broken. Pure: times are arguments."""

import datetime as dt
from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPEN, CLOSE = dt.time(9, 30), dt.time(16, 0)
WHOLE_FEED_S = 2.0  # with every symbol of the tape subscribed
THIN_FEED_S = 10.0  # one exchange's share of it
FEW_SYMBOLS_S = 60.0
PATIENCE_MAX_S = 60.0
BUSY_CHANNELS = ("trades", "quotes")


def in_session(now_ns: int) -> bool:
    """Say whether regular trading is to be expected; holidays are not known here."""
    moment = dt.datetime.fromtimestamp(now_ns // 1_000_000_000, NEW_YORK)
    return moment.weekday() < 5 and OPEN <= moment.time() < CLOSE


def limit_s(feed: str, wanted: Mapping[str, Iterable[str]]) -> float:
    """Return how long a feed with this subscription may be silent during the session."""
    if not any("*" in wanted.get(name, ()) for name in BUSY_CHANNELS):
        return FEW_SYMBOLS_S
    return WHOLE_FEED_S if feed == "sip" else THIN_FEED_S


class Silence:
    """Counts the silence of one upstream.

    On a holiday nothing comes at all: each reconnect without data doubles the patience.
    """

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._trips = 0

    def subscribed(self, now_s: float) -> None:
        """Data is due from now on."""
        if self._since_s is None:
            self._since_s = now_s

    def heard(self, now_s: float) -> None:
        """Data came."""
        self._since_s = now_s
        self._trips = 0

    def lost(self) -> None:
        """There is no connection to be silent."""
        self._since_s = None

    def expired(self, limit_s: float, *, now_s: float) -> bool:
        """Say whether it has lasted too long; when so, the next one may last longer."""
        if self._since_s is None:
            return False
        patience_s = min(limit_s * 2**self._trips, max(PATIENCE_MAX_S, limit_s))
        if now_s - self._since_s <= patience_s:
            return False
        self._trips = min(self._trips + 1, 16)
        self._since_s = None
        return True
