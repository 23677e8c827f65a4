"""Connections that a plan allows; a session that died without a word keeps its seat for a while."""

import time
from collections.abc import Callable

CONNECTIONS_MAX = 64


class Seats:
    """Args:
    count: connections at one time.
    linger_s: how long a dead one still counts.
    """

    def __init__(
        self,
        count: int = CONNECTIONS_MAX,
        linger_s: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._linger_s, self._now_s = count, linger_s, now_s
        self._taken: set[object] = set()
        self._ghosts: list[float] = []

    def take(self, who: object) -> bool:
        """Say whether there is a seat; then it is taken."""
        now_s = self._now_s()
        self._ghosts = [until_s for until_s in self._ghosts if until_s > now_s]
        if len(self._taken) + len(self._ghosts) >= self._count:
            return False
        self._taken.add(who)
        return True

    def leave(self, who: object, *, clean: bool) -> None:
        """Give the seat back, later when the other side did not say goodbye."""
        if who not in self._taken:
            return
        self._taken.discard(who)
        if not clean and self._linger_s > 0:
            self._ghosts.append(self._now_s() + self._linger_s)
