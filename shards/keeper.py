"""What goes to Redis, written by a thread of its own: buckets, state, heart-beats.

A dead Redis must not hold up the engine. Closed buckets wait, bounded in bytes; beyond it the
oldest are dropped (a restart then warms up anew behind the hole).
"""

import logging
import threading
from collections import deque
from typing import NamedTuple

import redis

from shards import blobs
from shards.state import EngineState
from shards.store import BucketStore

logger = logging.getLogger(__name__)

WAITING_BYTES_MAX = 64 << 20
PAUSE_S = 0.5
BEAT_TTL_S = 5


class _Close(NamedTuple):
    store: BucketStore
    state: EngineState
    epoch: int
    size: int


class Keeper:
    """Args: client: for the heart-beats; closes bring their own store."""

    def __init__(self, client: redis.Redis, shard: int) -> None:
        self._client = client
        self._beat_key = f"hb:shard:{shard}"
        self._closes: deque[_Close] = deque()
        self._bytes = 0
        self._beat: dict[str, str] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self.failing = False
        self.dropped = 0
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

    def beat(self, fields: dict[str, str]) -> None:
        """Queue a heart-beat; only the newest counts."""
        with self._changed:
            self._beat = fields
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closes or self._beat or self._stopping):
                    self._changed.wait()
                beat, self._beat = self._beat, None
                close = self._closes[0] if self._closes else None
                if self._stopping and (close is None or self.failing):
                    return
            try:
                self._write(beat, close)
            except redis.RedisError as exc:
                self._failed(exc)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, PAUSE_S)

    def _write(self, beat: dict[str, str] | None, close: _Close | None) -> None:
        if beat is not None:
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(self._beat_key, mapping=beat)  # type: ignore[arg-type]
            pipe.expire(self._beat_key, BEAT_TTL_S)
            pipe.execute()
        if close is not None:
            close.store.save(close.state.k, blobs.encode(close.state, close.epoch))
            with self._changed:
                if self._closes and self._closes[0] is close:
                    self._closes.popleft()
                    self._bytes -= close.size
        if self.failing:
            logger.info("redis is back", extra={"waiting": len(self._closes)})
        self.failing = False

    def _failed(self, exc: redis.RedisError) -> None:
        if not self.failing:
            logger.warning("redis does not answer", extra={"error": str(exc)[:200]})
        self.failing = True
