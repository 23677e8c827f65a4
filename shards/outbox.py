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
from signals.messages import Candidate, Message, Report

logger = logging.getLogger(__name__)

TASK = "signals.report"
REPORTS_KEPT = 720
SIGNALS_KEPT = 200
WAITING_MAX = 5_000
WHOLE_MAX = 100  # of the candidates in a report that is too large: they keep their arrays
BACKOFF_S = (0.1, 2.0)
Publish = Callable[[str, dict[str, Any]], None]


class _Kept(NamedTuple):
    assignment: int
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
        self._last_stops: dict[int, _Kept] = {}  # by assignment
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
            self._last_stops = {}

    def drop(self, assignment: int) -> None:
        """Forget what is kept of an assignment: it is somebody else's to tell."""
        with self._changed:
            self._last_stops.pop(assignment, None)
            kept = [one for one in self._reports if one.assignment != assignment]
            self._reports = deque(kept, maxlen=REPORTS_KEPT)

    def send(self, message: Message) -> None:
        """Queue one message, in order; reports, stops and exit signals are kept for `resend`."""
        body = pack_bounded(message)
        with self._changed:
            if isinstance(message, messages.Report):
                self._reports.append(_Kept(message.assignment, message.k, message.stop, body))
            if (
                isinstance(message, messages.Report | messages.StopDone)
                and message.stop is not None
            ):
                number = message.assignment
                self._last_stops[number] = _Kept(number, -1, message.stop, body)
            if isinstance(message, messages.ExitSignal):
                self._signals.append(body)
            self._queue(body)

    def resend(self, from_k: int, stop: int | None) -> None:
        """Queue again the exit signals, the reports from `from_k` on, and the stop's answers."""
        with self._changed:
            bodies = [*self._signals, *(kept.body for kept in self._reports if kept.k >= from_k)]
            for last in self._last_stops.values():
                if stop is not None and last.stop is not None and last.stop >= stop:
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
    """Return the packed message; a report that is too large is made smaller, step by step.

    First the weaker candidates lose their arrays, and with them the right to fire; then the near
    misses go, then the weaker candidates. Each loss is flagged in the report.
    """
    try:
        return messages.pack(message)
    except messages.MessageError:
        if not isinstance(message, messages.Report):
            raise
    return pack_bounded(_smaller(message))


def _smaller(report: Report) -> Report:
    """Return the report after the next loss.

    Raises:
        MessageError: nothing is left that could be dropped.
    """
    change, ranked = msgspec.structs.replace, sorted(report.candidates, key=_strength)
    if "arrays_dropped" not in report.flags:
        lean = [messages.without_arrays(one) for one in ranked[WHOLE_MAX:]]
        found, flag = [*ranked[:WHOLE_MAX], *lean], "arrays_dropped"
    elif any(one.shadow for one in ranked):
        found, flag = [one for one in ranked if not one.shadow], "near_misses_dropped"
    elif ranked:
        found, flag = ranked[: len(ranked) // 2], "candidates_dropped"
    else:
        raise messages.MessageError("a report without candidates is over the limit")
    found.sort(key=lambda one: one.symbol)
    return change(report, candidates=found, flags=sorted({*report.flags, flag}))


def _strength(one: Candidate) -> tuple[bool, float, str]:
    return one.shadow, -one.z, one.symbol
