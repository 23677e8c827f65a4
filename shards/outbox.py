"""Messages to the hub: sent by a thread of their own, kept, and sent again when asked.

The broker may hang or be away; the engine's loop must not wait for it. Bounded: beyond the limit
the oldest waiting message is dropped and counted (the hub asks again for what it misses).
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from signals import messages
from signals.messages import Message

logger = logging.getLogger(__name__)

TASK = "signals.report"
REPORTS_KEPT = 720
SIGNALS_KEPT = 200
WAITING_MAX = 5_000
BACKOFF_S = (0.1, 2.0)
Publish = Callable[[str, dict[str, Any]], None]


class _Kept(NamedTuple):
    k: int
    stop: int | None
    body: str


class Outbox:
    """Args: publish sends one task, raising when it could not."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._waiting: deque[str] = deque()
        self._reports: deque[_Kept] = deque(maxlen=REPORTS_KEPT)
        self._signals: deque[str] = deque(maxlen=SIGNALS_KEPT)
        self._last_stop: _Kept | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self.dropped = 0
        self.failing = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what waits, if the broker takes it in time, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def waiting(self) -> int:
        """Messages not yet sent."""
        return len(self._waiting)

    def forget(self) -> None:
        """Forget what is kept: another run begins."""
        with self._changed:
            self._reports.clear()
            self._signals.clear()
            self._last_stop = None

    def send(self, message: Message) -> None:
        """Queue one message, in order; reports, stops and exit signals are kept for `resend`."""
        body = pack_bounded(message)
        with self._changed:
            if isinstance(message, messages.Report):
                self._reports.append(_Kept(message.k, message.stop, body))
            if (
                isinstance(message, messages.Report | messages.StopDone)
                and message.stop is not None
            ):
                self._last_stop = _Kept(-1, message.stop, body)
            if isinstance(message, messages.ExitSignal):
                self._signals.append(body)
            self._queue(body)

    def resend(self, from_k: int, stop: int | None) -> None:
        """Queue again the exit signals, the reports from `from_k` on, and the stop's answer."""
        with self._changed:
            bodies = [*self._signals, *(kept.body for kept in self._reports if kept.k >= from_k)]
            last = self._last_stop
            if (
                stop is not None
                and last is not None
                and last.stop is not None
                and last.stop >= stop
            ):
                bodies = [body for body in bodies if body != last.body] + [last.body]
            for body in bodies:
                self._queue(body)

    def _queue(self, body: str) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(body)
        self._changed.notify()

    def _run(self) -> None:
        pause_s = BACKOFF_S[0]
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting or (self._stopping and self.failing):
                    return
                body = self._waiting[0]
            try:
                self._publish(TASK, {"body": body})
            except Exception as exc:  # noqa: BLE001 - whatever the broker client raises: try again
                self._failed(exc)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                pause_s = min(2 * pause_s, BACKOFF_S[1])
                continue
            pause_s = BACKOFF_S[0]
            self._sent(body)

    def _sent(self, body: str) -> None:
        if self.failing:
            logger.info("broker is back", extra={"waiting": len(self._waiting)})
        self.failing = False
        with self._changed:
            if self._waiting and self._waiting[0] is body:  # the limit may have dropped it
                self._waiting.popleft()

    def _failed(self, exc: Exception) -> None:
        if not self.failing:
            logger.warning("broker does not take reports", extra={"error": str(exc)[:200]})
        self.failing = True


def pack_bounded(message: Message) -> str:
    """Return the packed message; a report that is too large loses near misses, then candidates.

    Both losses are flagged in the report, so that the hub sees it is incomplete.
    """
    try:
        return messages.pack(message)
    except messages.MessageError:
        if not isinstance(message, messages.Report):
            raise
    real = [one for one in message.candidates if not one.shadow]
    flags = [*message.flags, "near_misses_dropped"]
    smaller = msgspec.structs.replace(message, candidates=real, flags=flags)
    try:
        return messages.pack(smaller)
    except messages.MessageError:
        strongest = sorted(real, key=lambda one: (-one.z, one.symbol))[: len(real) // 2]
        flags = [*flags, "candidates_dropped"]
        return pack_bounded(msgspec.structs.replace(message, candidates=strongest, flags=flags))
