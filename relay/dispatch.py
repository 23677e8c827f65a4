"""Routes of all consumers compiled into one table, and batches of upstream frames through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relay import dispatch_kernels, frames, kernels
from relay.dispatch_kernels import PIECE, STATE_WIDTH
from relay.outbox import FRAME_BYTES, FRAME_MESSAGES
from relay.routing import Route
from relay.symbols import CHANNELS

_WORD = (1 << 64) - 1
_FIRST_ROOM = 1 << 12  # messages
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Batch:
    """Frames scanned together; `ends[i]` is where frame i ends in `data`, offsets ascend by 1."""

    data: bytes
    spans: np.ndarray
    ends: np.ndarray
    first_offset: int
    watermark_ns: int


class Piece(NamedTuple):
    """What one consumer gets in one frame; `told` is the offset that is complete with it."""

    line: int
    messages: int
    body: bytes
    offset: int


class _Cover(NamedTuple):
    """Of one channel: from point i on, the symbols that `members[i]` want."""

    points: list[int]
    members: list[list[int]]


class Room:
    """Scratch arrays that stay; fresh ones would cost page faults with each batch."""

    def __init__(self) -> None:
        self.spans = np.zeros(_FIRST_ROOM, frames.SPAN)
        self.where = np.zeros(_FIRST_ROOM, np.int32)
        self.out = np.zeros(_FIRST_ROOM * 64, np.uint8)
        self.pieces = np.zeros(64, PIECE)

    def scan(self, data: bytes, ends: np.ndarray) -> np.ndarray:
        """Return the spans of the frames in `data`, good until the next call.

        Raises:
            FrameError: as `frames.scan`.
        """
        needed = len(data) // 32 + 16
        if self.spans.size < needed:
            self.spans = np.zeros(2 * needed, frames.SPAN)
        return frames.scan(data, ends=ends, room=self.spans)

    def fit(self, messages: int) -> None:
        if self.where.size < messages:
            self.where = np.zeros(2 * messages, np.int32)


class Dispatcher:
    """One compiled set of routes; consumers are numbers here."""

    def __init__(self, routes: Sequence[Route], before: "Dispatcher | None" = None) -> None:
        self._covers: dict[str, tuple[tuple[Ranges, ...], _Cover]] = {}
        self._slots = np.full(256, -1, np.int64)
        self._state = np.zeros((len(routes), STATE_WIDTH), np.int64)
        points: list[int] = []
        members: list[list[int]] = []
        jumps: list[np.ndarray] = []
        for name, kind in CHANNELS.items():
            cover = self._cover(name, tuple(route.ranges.get(name, ()) for route in routes), before)
            if not cover.points:
                continue
            self._slots[ord(kind)] = len(jumps)
            jumps.append(len(points) + _jumps(cover.points))
            points += cover.points
            members += cover.members
        self._slots[[frames.CORRECTION, frames.CANCEL]] = self._slots[frames.TRADE]
        self._jumps = np.array(jumps, np.int64).reshape(-1, 257)
        self._points = np.array([point >> 64 for point in points], np.uint64)
        self._points2 = np.array([point & _WORD for point in points], np.uint64)
        sizes = [len(found) for found in members]
        self._member_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._members = np.array([one for found in members for one in found], np.int64)

    def _cover(self, name: str, ranges: tuple[Ranges, ...], before: "Dispatcher | None") -> _Cover:
        """Return the cover of one channel, the one of before when nothing has changed."""
        known = before._covers.get(name) if before is not None else None
        cover = known[1] if known is not None and known[0] == ranges else _cover(ranges)
        self._covers[name] = (ranges, cover)
        return cover

    def deal(self, batch: Batch, room: Room) -> Iterator[Piece]:
        """Yield what each consumer gets, in order for each of them.

        Raises:
            FrameError: the spans do not belong to the data.
        """
        if not len(self._points) or not batch.spans.size:
            return
        room.fit(batch.spans.size)
        octets = frames.octets(batch.data)
        self._state[:] = 0
        table = (self._member_starts, self._members)
        total = dispatch_kernels.assign(
            octets.size, batch.spans, self._slots, self._jumps, self._points, self._points2,
            *table, room.where, self._state,
        )  # fmt: skip
        if total > room.out.size:
            room.out = np.zeros(2 * total, np.uint8)
        found = self._pieces(batch, octets, room) if total >= 0 else total
        if found < 0:
            raise frames.refusal(found)
        for line, count, start, end, told in room.pieces[:found].tolist():
            body = room.out[start:end].tobytes()
            yield Piece(line, count, body, batch.first_offset + told)

    def _pieces(self, batch: Batch, octets: np.ndarray, room: Room) -> int:
        while True:
            found = dispatch_kernels.deal(
                octets, batch.spans, batch.ends, room.where, self._member_starts, self._members,
                self._state, FRAME_MESSAGES, FRAME_BYTES, room.out, room.pieces,
            )  # fmt: skip
            if found != kernels.TOO_MANY:
                return int(found)
            room.pieces = np.zeros(2 * room.pieces.size, PIECE)


def _cover(ranges: tuple[Ranges, ...]) -> _Cover:
    """Cut the symbols at every bound; say who wants each part."""
    marks = sorted(
        (point, line, opens)
        for line, found in enumerate(ranges)
        for low, high in found
        for point, opens in ((low, True), (high, False))
    )
    points: list[int] = []
    members: list[list[int]] = []
    inside: set[int] = set()
    for point, line, opens in marks:
        if not points or points[-1] != point:
            points.append(point)
            members.append([])
        inside = inside | {line} if opens else inside - {line}
        members[-1] = sorted(inside)
    return _Cover(points, members)


def _jumps(points: Sequence[int]) -> np.ndarray:
    """Return, for each first byte of a symbol, how many points lie below it (and at its end)."""
    first_bytes = np.array([min(point >> 120, 256) for point in points], np.int64)
    counts = np.bincount(first_bytes, minlength=256)[:256]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def warm() -> None:
    """Compile every kernel of the relay, or load it from the cache, before the first frame."""
    frames.warm()
    frame = frames.encode_array([frames.encode_message({"T": "t", "S": "A", "i": 1, "t": 1})])
    room, ends = Room(), np.array([len(frame)], np.int64)
    batch = Batch(frame, room.scan(frame, ends), ends, 1, 0)
    list(Dispatcher([Route({"trades": ["*"]})]).deal(batch, room))
