"""What waits for one consumer, in order, and how it becomes frames.

An idle consumer gets each upstream frame at once; one that is behind gets several in one frame,
whose extension element carries the offset of the last. Control and clock frames keep their place.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from relay.extension import pack_extension
from relay.frames import array_header

FRAME_MESSAGES = 500
FRAME_BYTES = 256 * 1024
TAKE_BYTES = 1 << 20


class _Item(NamedTuple):
    """Encoded messages back to back, or a whole control frame; then all up to `offset` is told."""

    messages: int
    body: bytes
    offset: int
    watermark_ns: int
    added_s: float
    alone: bool
    control: str | bytes = b""


class Outbox:
    """The queue of one consumer.

    Args:
        epoch: the relay's; None when the consumer did not ask for the `frame` extension.
        convert: turns a msgpack frame into what the consumer reads.
        last_offset: the position of the subscription before anything was sent.
    """

    def __init__(
        self, *, epoch: int | None, convert: Callable[[bytes], str | bytes], last_offset: int
    ) -> None:
        self.epoch = epoch
        self._convert = convert
        self._items: deque[_Item] = deque()
        self._sent_offset = last_offset
        self.queued_offset = last_offset
        self.size_bytes = 0
        self.sent_messages = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def oldest_s(self) -> float | None:
        """Process time at which the oldest waiting item came."""
        return self._items[0].added_s if self._items else None

    def put_data(
        self,
        count: int,
        body: bytes,
        *,
        offset: int,
        watermark_ns: int,
        now_s: float,
        alone: bool = False,
    ) -> None:
        """Queue `count` encoded messages; everything up to `offset` is then told.

        Args: alone: they are not joined with others into one frame.
        """
        self._put(_Item(count, body, offset, watermark_ns, now_s, alone=alone))

    def put_alone(
        self, count: int, body: bytes, *, offset: int, watermark_ns: int, now_s: float
    ) -> None:
        """Queue messages that travel in a frame of their own: a clock, a marker."""
        self._put(_Item(count, body, offset, watermark_ns, now_s, alone=True))

    def put_news(self, body: bytes, *, now_s: float) -> None:
        """Queue one news message; it has no place among the offsets."""
        self._put(_Item(1, body, self.queued_offset, 0, now_s, alone=True))

    def put_heartbeat(self, *, offset: int, watermark_ns: int, now_s: float) -> None:
        """Queue a bare extension element, for consumers that have it."""
        if self.epoch is not None:
            self._put(_Item(0, b"", offset, watermark_ns, now_s, alone=True))

    def put_control(self, frame: str | bytes, *, now_s: float) -> None:
        """Queue a control frame, already in the consumer's encoding."""
        self._put(_Item(0, b"", self.queued_offset, 0, now_s, alone=True, control=frame))

    def _put(self, item: _Item) -> None:
        self._items.append(item)
        self.queued_offset = item.offset
        self.size_bytes += len(item.body) + len(item.control)

    def rewind(self, offset: int) -> None:
        """Drop what waits and go on after `offset`: the consumer asked for a replay."""
        kept = [item for item in self._items if item.control]
        self._items.clear()
        self.size_bytes = 0
        self._sent_offset = self.queued_offset = offset
        for item in kept:
            self._put(item._replace(offset=offset))

    def clear(self) -> None:
        self._items.clear()
        self.size_bytes = 0

    def take(self) -> list[str | bytes]:
        """Return frames ready to send, about `TAKE_BYTES`, and forget them."""
        frames: list[str | bytes] = []
        taken = 0
        while self._items and taken < TAKE_BYTES:
            frame = self._next_frame()
            taken += len(frame)
            frames.append(frame)
        return frames

    def _next_frame(self) -> str | bytes:
        first = self._items.popleft()
        self.size_bytes -= len(first.body) + len(first.control)
        if first.control:
            return first.control
        bodies, count, size, last = [first.body], first.messages, len(first.body), first
        while self._items and not last.alone:
            item = self._items[0]
            too_much = count + item.messages > FRAME_MESSAGES or size + len(item.body) > FRAME_BYTES
            if item.alone or too_much:
                break
            last = self._items.popleft()
            self.size_bytes -= len(last.body)
            bodies.append(last.body)
            count += last.messages
            size += len(last.body)
        self.sent_messages += count
        return self._convert(self._frame(count, bodies, last))

    def _frame(self, count: int, bodies: list[bytes], last: _Item) -> bytes:
        if self.epoch is None:
            return b"".join((array_header(count), *bodies))
        head = pack_extension(self.epoch, last.offset, self._sent_offset, last.watermark_ns)
        self._sent_offset = last.offset
        return b"".join((array_header(count + 1), head, *bodies))
