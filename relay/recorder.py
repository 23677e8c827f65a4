"""Records what the upstream sends as tapes: a thread of its own, new files by time and size.

A file can be read while it grows and after any crash (up to its last block). Whenever frames had to
be left out, a new file begins, so that no tape has a hole inside.
"""

import datetime as dt
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from relay.symbols import CHANNELS
from relay.tape_format import TapeError, TapeHeader, TapeWriter

logger = logging.getLogger(__name__)
NEW_YORK = ZoneInfo("America/New_York")
FILE_SECONDS, FILE_BYTES = 3600, 2 << 30
KEEP_BYTES = 64 << 30
QUEUE_BYTES = 64 << 20
FLUSH_S = 1.0
RETRY_S = 10.0  # after a full disk


class Recorder:
    """Writes frames to `directory` in the background; `close` writes what is left.

    Args:
        file_seconds, file_bytes: a tape ends at the first of these (bytes as written).
        keep_bytes: of all tapes of this feed in the directory; the oldest make room.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        feed: str,
        file_seconds: float = FILE_SECONDS,
        file_bytes: int = FILE_BYTES,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.counters: Counter[str] = Counter()
        self._feed = feed
        self._limits = (int(file_seconds * 1_000_000_000), file_bytes, keep_bytes)
        self._queue: deque[tuple[int, list[bytes]]] = deque()
        self._queued_bytes = 0
        self._lost = False  # frames were left out since the last one queued
        self._wake = threading.Condition()
        self._closing = False
        self._writer: TapeWriter | None = None
        self._path: Path | None = None
        self._began_ns = 0
        self._retry_s = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, received: Sequence[bytes], *, recv_ns: int) -> None:
        """Take frames; never waits. What does not fit into the queue is left out and counted."""
        size = sum(len(frame) for frame in received)
        with self._wake:
            if self._queued_bytes + size > QUEUE_BYTES:
                self.counters["record_lost"] += len(received)
                self._lost = True
                return
            if self._lost:
                self._queue.append((0, []))  # a new file begins here
                self._lost = False
            self._queue.append((recv_ns, list(received)))
            self._queued_bytes += size
            if self._queued_bytes > QUEUE_BYTES // 16:
                self._wake.notify()

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(30)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._wake:
                if not self._closing:
                    self._wake.wait(FLUSH_S)
                closing = self._closing
                taken, self._queue = self._queue, deque()
                self._queued_bytes = 0
            try:
                for recv_ns, received in taken:
                    self._write(recv_ns, received)
                if self._writer is not None:
                    self._writer.flush()
            except (OSError, TapeError) as exc:
                self._fail(exc, taken)
        self._end_file()

    def _write(self, recv_ns: int, received: list[bytes]) -> None:
        if not received:
            return self._end_file()
        if self._writer is None:
            if time.monotonic() < self._retry_s:
                self.counters["record_lost"] += len(received)
                return None
            self._begin_file(recv_ns)
        elif recv_ns - self._began_ns > self._limits[0] or self._size() > self._limits[1]:
            self._end_file()
            self._begin_file(recv_ns)
        if self._writer is not None:
            times = np.full(len(received), recv_ns, np.int64)
            lengths = np.array([len(frame) for frame in received], np.int64)
            self._writer.extend(times, lengths, b"".join(received))
            self.counters["recorded"] += len(received)
        return None

    def _begin_file(self, recv_ns: int) -> None:
        moment = dt.datetime.fromtimestamp(recv_ns / 1e9, dt.UTC)
        day = moment.astimezone(NEW_YORK).date()
        name = f"{self._feed}-{moment:%Y%m%dT%H%M%S.%f}Z.tape"
        header = TapeHeader(
            feed=self._feed,
            day=day,
            channels=tuple(CHANNELS),
            source="record",
            created=moment.isoformat(timespec="seconds"),
        )
        self._make_room()
        self._path = self.directory / name
        while self._path.exists():  # clocks may step back
            self._path = self._path.with_name(self._path.name.removesuffix(".tape") + "+.tape")
        self._writer = TapeWriter(self._path, header)
        self._began_ns = recv_ns
        logger.info("recording", extra={"tape": name})

    def _size(self) -> int:
        return self._path.stat().st_size if self._path is not None else 0

    def _make_room(self) -> None:
        """Delete the oldest tapes of this feed until one more file fits."""
        kept = sorted(self.directory.glob(f"{self._feed}-*.tape"))
        sizes = [path.stat().st_size for path in kept]
        room = self._limits[2] - self._limits[1]
        for path, size in zip(kept, list(sizes), strict=True):
            if sum(sizes) <= max(0, room):
                break
            sizes.remove(size)
            path.unlink(missing_ok=True)
            logger.info("old tape deleted", extra={"tape": path.name})

    def _end_file(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except (OSError, TapeError) as exc:
                logger.error("tape not completed", extra={"reason": str(exc)})

    def _fail(self, exc: Exception, taken: deque[tuple[int, list[bytes]]]) -> None:
        """Stop for a while (a full disk); what was written stays readable."""
        logger.error("recording interrupted", extra={"reason": str(exc)})
        self.counters["record_lost"] += sum(len(received) for _, received in taken)
        self._end_file()
        self._retry_s = time.monotonic() + RETRY_S
