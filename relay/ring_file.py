"""The ring once more, outside the process: a relay that was killed takes it up again.

Segments of a fixed size in memory-backed files, mapped, written in turn and over each other: a
write is one copy into pages that are there already. A record is a batch of upstream frames with
the offset of the first; it counts only with its segment's turn, and its head is written last. After
a restart of the machine there is nothing to take up, and that is right.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from relay.ring import Entry

ALIVE = "alive"  # locked as long as a process keeps its ring there
SEGMENT_BYTES = 16 << 20
RESERVE_BYTES = 256 << 10  # memory is taken in such steps, before it is touched
_SEGMENT = struct.Struct("<8sQQ")  # magic, epoch, turn
_RECORD = struct.Struct("<IIQQqqI12s")  # magic, bytes, turn, first offset, watermark, wall, frames
_ALIVE = struct.Struct("<Qq")  # epoch, wall
_MAGIC, _RECORD_MAGIC = b"TPRING1\n", 0x52494E47


class Kept(NamedTuple):
    """What an earlier process left: its epoch, its entries, and when it last had an upstream.

    `alive_ns` is UTC ns of the host, 0 when it never had one.
    """

    epoch: int
    entries: list[Entry]
    alive_ns: int


def is_held(directory: Path) -> bool:
    """Say whether a process keeps its ring there now."""
    try:
        file = os.open(directory / ALIVE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


class RingFile:
    """Keeps what is appended; `read` returns what the process before kept.

    Args:
        directory: ours alone.
        max_bytes: kept at least; one segment more is used.
    Raises:
        OSError: the files cannot be made or written (no room), or another process has them.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._size = segment_bytes
        count = max(2, -(-max_bytes // segment_bytes) + 1)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._alive = os.open(directory / ALIVE, flags, 0o600)
        try:
            fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._alive)
            raise
        self._files = [os.open(directory / f"segment-{n}", flags, 0o600) for n in range(count)]
        for file in self._files:
            os.ftruncate(file, segment_bytes)
        self._maps = [mmap.mmap(file, segment_bytes) for file in self._files]
        self._reserved = [0] * count
        self._epoch = self._turn = 0
        self._at = segment_bytes  # full: the next record opens a segment

    # --- writing -----------------------------------------------------------------------------

    def begin(self, epoch: int) -> None:
        """Write under this epoch from now on; another one than before forgets all."""
        heads = [self._head(segment) for segment in self._maps]
        for number, (found, _) in enumerate(heads):
            if found not in (0, epoch):
                self._maps[number][: _SEGMENT.size] = bytes(_SEGMENT.size)
        self._epoch = epoch
        self._turn = max((turn for found, turn in heads if found == epoch), default=0)
        self._at = self._size

    def append(
        self,
        data: bytes,
        ends: np.ndarray,
        *,
        first_offset: int,
        watermark_ns: int,
        wall_ns: int,
        extension: str = "",
    ) -> None:
        """Keep frames that lie back to back in `data`, frame i ending at `ends[i]`.

        Raises:
            OSError: it could not be written.
        """
        places = ends.astype("<u4").tobytes()
        size = _RECORD.size + len(places) + len(data)
        if size > self._size - _SEGMENT.size:
            return  # larger than any segment: it is in the process's own ring only
        if self._at + size > self._size:
            self._next_segment()
        number = self._turn % len(self._files)
        segment, at = self._maps[number], self._at
        self._reserve(number, at + size)
        body = at + _RECORD.size
        segment[body : body + len(places)] = places
        segment[body + len(places) : at + size] = data
        _RECORD.pack_into(
            segment, at, _RECORD_MAGIC, size, self._turn, first_offset, watermark_ns, wall_ns,
            len(ends), extension.encode(),
        )  # fmt: skip
        self._at = at + size  # the head came last: with it the record counts

    def _next_segment(self) -> None:
        self._turn += 1
        number = self._turn % len(self._files)
        self._reserve(number, _SEGMENT.size)
        _SEGMENT.pack_into(self._maps[number], 0, _MAGIC, self._epoch, self._turn)
        self._at = _SEGMENT.size

    def _reserve(self, number: int, size: int) -> None:
        """Have the memory of a segment up to `size`; touched without it, it would kill us."""
        if size > self._reserved[number]:
            more = min(self._size, size + RESERVE_BYTES)
            os.posix_fallocate(self._files[number], 0, more)
            self._reserved[number] = more

    def alive(self, wall_ns: int) -> None:
        """Note that the upstream is there."""
        os.pwrite(self._alive, _ALIVE.pack(self._epoch, wall_ns), 0)

    def close(self) -> None:
        for segment in self._maps:
            segment.close()
        for file in (*self._files, self._alive):
            os.close(file)

    # --- reading -----------------------------------------------------------------------------

    def read(self) -> Kept | None:
        """Return what the process before left, oldest first; None when there is nothing.

        `added_s` of an entry is on our process clock, as if we had been there.
        """
        heads = [(*self._head(segment), number) for number, segment in enumerate(self._maps)]
        epoch = max(((turn, found) for found, turn, _ in heads if found), default=(0, 0))[1]
        if not epoch:
            return None
        shift_s = time.monotonic() - time.time()
        entries: list[Entry] = []
        for _, turn, number in sorted(head for head in heads if head[0] == epoch):
            for entry in self._entries(self._maps[number], turn, shift_s):
                if entries and entry.offset != entries[-1].offset + 1:
                    entries = []  # a hole: only what follows it is whole
                entries.append(entry)
        raw = os.pread(self._alive, _ALIVE.size, 0)
        of, wall_ns = _ALIVE.unpack(raw) if len(raw) == _ALIVE.size else (0, 0)
        return Kept(epoch, entries, wall_ns if of == epoch else 0) if entries else None

    def _head(self, segment: mmap.mmap) -> tuple[int, int]:
        """Return a segment's epoch and turn, (0, 0) when it is none."""
        magic, epoch, turn = _SEGMENT.unpack_from(segment)
        return (epoch, turn) if magic == _MAGIC else (0, 0)

    def _entries(self, segment: mmap.mmap, turn: int, shift_s: float) -> Iterator[Entry]:
        at = _SEGMENT.size
        while at + _RECORD.size <= self._size:
            magic, size, of, offset, watermark_ns, wall_ns, count, name = _RECORD.unpack_from(
                segment, at
            )
            whole = _RECORD.size <= size <= self._size - at
            if magic != _RECORD_MAGIC or of != turn or not whole:
                return
            body = segment[at + _RECORD.size : at + size]
            added_s = wall_ns / 1e9 + shift_s
            extension = name.rstrip(b"\0").decode("ascii", "replace")
            for number, frame in enumerate(_cut(body, count)):
                yield Entry(offset + number, added_s, frame, watermark_ns, extension)
            at += size


def _cut(body: bytes, count: int) -> Sequence[bytes]:
    """Return the frames of a record; none when its places make no sense."""
    data = body[4 * count :]
    if 4 * count > len(body):
        return ()
    ends = np.frombuffer(body, "<u4", count).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]]) if count else ends
    if count and (np.any(starts > ends) or ends[-1] != len(data)):
        return ()
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
