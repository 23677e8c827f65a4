"""What goes to Redis, written by a thread of its own: buckets, state, measured load.

A dead Redis must not hold up the engine. Closed buckets wait, bounded in bytes; beyond it the
oldest are dropped (a restart then warms up anew behind the hole).
"""

import logging
import threading
from collections import deque
from typing import NamedTuple

import redis

from shards import blobs
from shards.keys import load_key
from shards.state import EngineState
from shards.store import BucketStore, Fenced

logger = logging.getLogger(__name__)

WAITING_BYTES_MAX = 64 << 20
PAUSE_S = 0.5
LOAD_TTL_S = 7 * 24 * 3600  # the next day begins with what this one measured


class _Close(NamedTuple):
    store: BucketStore
    state: EngineState
    epoch: int
    size: int


class Keeper:
    """Args: client: for the measured load; closes bring their own store."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._closes: deque[_Close] = deque()
        self._bytes = 0
        self._begun: list[tuple[BucketStore, int, int]] = []
        self._load: dict[str, dict[str, int]] = {}  # by run
        self._changed = threading.Condition()
        self._stopping = False
        self.failing = False
        self.dropped = self.fenced = 0
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what waits, if Redis takes it in time, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def waiting(self) -> int:
        """Closed buckets not yet kept."""
        return len(self._closes)

    def keep(self, store: BucketStore, state: EngineState, epoch: int) -> None:
        """Queue the state after a close; epoch is the relay's."""
        size = state.table.nbytes + state.rows.nbytes + state.quotes.nbytes
        with self._changed:
            self._closes.append(_Close(store, state, epoch, size))
            self._bytes += size
            while self._bytes > WAITING_BYTES_MAX and len(self._closes) > 1:
                self._bytes -= self._closes.popleft().size
                self.dropped += 1
            self._changed.notify()

    def begin(self, store: BucketStore, epoch: int, offset: int) -> None:
        """Queue where an assignment began without a past: the relay's epoch, the first frame."""
        with self._changed:
            self._begun.append((store, epoch, offset))
            self._changed.notify()

    def measured(self, run: str, load: dict[str, int]) -> None:
        """Queue the prints per cell; only the newest count."""
        with self._changed:
            self._load.setdefault(run, {}).update(load)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closes or self._begun or self._load):
                    if self._stopping:
                        return
                    self._changed.wait()
                close = self._closes[0] if self._closes else None
                if self._stopping and (close is None or self.failing):
                    return
                load, self._load = self._load, {}
                begun = self._begun[:]
            try:
                self._write(load, begun)
                if close is not None:
                    self._write_close(close)
                self._well()
            except redis.RedisError as exc:
                self._failed(exc)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, PAUSE_S)

    def _write(
        self,
        load: dict[str, dict[str, int]],
        begun: list[tuple[BucketStore, int, int]],
    ) -> None:
        pipe = self._client.pipeline(transaction=True)
        for run, cells in load.items():
            if cells:
                pipe.hset(load_key(run), mapping=cells)  # type: ignore[arg-type]
                pipe.expire(load_key(run), LOAD_TTL_S)
        pipe.execute()
        for store, epoch, offset in begun:
            store.begin(epoch, offset)
        with self._changed:
            del self._begun[: len(begun)]

    def _write_close(self, close: _Close) -> None:
        try:
            close.store.save(close.state.k, blobs.encode(close.state, close.epoch))
        except Fenced:
            self.fenced += 1
            logger.warning("not kept: these letters are another's", extra={"k": close.state.k})
        with self._changed:
            if self._closes and self._closes[0] is close:
                self._closes.popleft()
                self._bytes -= close.size

    def _well(self) -> None:
        if self.failing:
            logger.info("redis is back", extra={"waiting": len(self._closes)})
        self.failing = False

    def _failed(self, exc: redis.RedisError) -> None:
        if not self.failing:
            logger.warning("redis does not answer", extra={"error": str(exc)[:200]})
        self.failing = True
