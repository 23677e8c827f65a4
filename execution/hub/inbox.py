"""The one door into the coordinator: everything else only posts events here."""

import queue
from typing import Any, NamedTuple

INBOX_MAX = 20_000
POST_TIMEOUT_S = 10.0


class Event(NamedTuple):
    """`kind` names the handler; `payload` is a message or a small value."""

    kind: str
    payload: Any = None


class Inbox:
    """Bounded: a poster waits, then gets `queue.Full`; what it posted can be asked for again."""

    def __init__(self, size: int = INBOX_MAX) -> None:
        self._queue: queue.Queue[Event] = queue.Queue(size)

    def post(self, kind: str, payload: Any = None) -> None:
        self._queue.put(Event(kind, payload), timeout=POST_TIMEOUT_S)

    def wake(self) -> None:
        """Make a waiting coordinator look around; never blocks."""
        try:
            self._queue.put_nowait(Event("wake"))
        except queue.Full:
            pass  # it is awake enough

    def take(self, timeout_s: float) -> Event | None:
        """Return the next event, or None when none came in time."""
        try:
            if timeout_s <= 0:
                return self._queue.get_nowait()
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def __len__(self) -> int:
        return self._queue.qsize()
