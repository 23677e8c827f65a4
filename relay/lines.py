"""One consumer in the fan-out, and how what is not live data reaches it: markers, replays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from relay import frames
from relay.dispatch import Batch, Dispatcher, Room
from relay.news import NewsRoute
from relay.outbox import Outbox
from relay.protocol import Consumer, ServerProtocol
from relay.ring import Entry
from relay.routing import Route
from relay.wire import is_control


@dataclass(eq=False)
class Line:
    """One authenticated or arriving consumer: conversation, route, queue."""

    protocol: ServerProtocol
    wake: Callable[[], None]
    outbox: Outbox
    route: Route = field(default_factory=lambda: Route({}))
    news: NewsRoute = field(default_factory=lambda: NewsRoute(()))
    cursor: int | None = None  # replaying from here; None: live
    sending_since_s: float | None = None
    lagging: bool = False

    @property
    def consumer(self) -> Consumer | None:
        return self.protocol.consumer

    def waiting_since_s(self) -> float | None:
        """Process time since which something waits for this consumer to read."""
        since = [s for s in (self.sending_since_s, self.outbox.oldest_s) if s is not None]
        return min(since, default=None)

    def state(self, now_s: float) -> dict[str, object]:
        """Return how it is, for hubs."""
        consumer, since_s = self.consumer, self.waiting_since_s()
        return {
            "id": consumer.id if consumer else "",
            "role": consumer.role if consumer else "",
            "label": consumer.name if consumer else "",
            "state": "lagging" if self.lagging else "ok",
            "queued_bytes": self.outbox.size_bytes,
            "wait_ms": round(1000 * (now_s - since_s)) if since_s is not None else 0,
        }


def deliver_extra(line: Line, entry: Entry, now_s: float) -> None:
    """Queue what only those get who asked for its extension: a marker, or backfilled trades."""
    if entry.extension not in line.protocol.extensions:
        return
    if is_control(entry.frame):
        count, body = 1, entry.frame[1:]
    else:
        spans = frames.scan(entry.frame)
        count, body = frames.select(entry.frame, spans, line.route.mask(spans))
    if count:
        line.outbox.put_alone(
            count, body, offset=entry.offset, watermark_ns=entry.watermark_ns, now_s=now_s
        )
        line.wake()


def replay_entries(line: Line, entries: Sequence[Entry], now_s: float) -> None:
    """Queue entries of the ring as they were, in their order."""
    run: list[Entry] = []
    for entry in entries:
        if not entry.extension:
            run.append(entry)
            continue
        _replay_run(line, run, now_s)
        run = []
        deliver_extra(line, entry, now_s)
    _replay_run(line, run, now_s)


def _replay_run(line: Line, run: Sequence[Entry], now_s: float) -> None:
    """Queue upstream frames one by one: who resumes knows by their numbers what it has already."""
    if not run or not line.route:
        return
    dispatcher, room = Dispatcher([line.route]), Room()
    for entry in run:
        data = entry.frame
        batch = Batch(data, frames.scan(data), ends_of([data]), entry.offset, entry.watermark_ns)
        for piece in dispatcher.deal(batch, room):
            line.outbox.put_data(
                piece.messages, piece.body, offset=piece.offset, watermark_ns=batch.watermark_ns,
                now_s=now_s, alone=True,
            )  # fmt: skip
            line.wake()


def ends_of(good: Sequence[bytes]) -> np.ndarray:
    """Return where each frame ends when they lie back to back."""
    return np.cumsum([len(frame) for frame in good], dtype=np.int64)
