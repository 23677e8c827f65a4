"""The heart-beat, sent by a thread of its own: a shard that is busy for seconds is not dead.

Being busy shows as lag, which blocks entries; being declared dead moves letters, which makes the
others busier still. Only a loop that has said nothing for long counts as dead, as a process does.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

logger = logging.getLogger(__name__)

BEAT_S = 0.5  # the hub waits 2 s for the next one
BEAT_TTL_S = 5
STUCK_S = 10.0  # taking letters over may keep a loop busy for seconds


class Pulse:
    """Args: client: for nothing else, so that no large write stands before a beat."""

    def __init__(
        self,
        client: redis.Redis,
        shard: int,
        *,
        now_ns: Callable[[], int],
        mono: Callable[[], float] = time.monotonic,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._client, self._key = client, f"hb:shard:{shard}"
        self._now_ns, self._mono, self._stuck_s = now_ns, mono, stuck_s
        self._told: tuple[Mapping[str, str], float] | None = None
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._stuck = False
        self.failing = False  # Redis does not take them
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat as soon as the loop has told something."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End; the last beat expires by itself."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def tell(self, fields: Mapping[str, str]) -> None:
        """Take what the loop says of itself; it goes out at once, and again until the next."""
        self._told = fields, self._mono()
        self._news.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(BEAT_S)
            self._news.clear()
            told = self._told
            if told is not None and not self._is_stuck(told[1]):
                self._beat(told[0])

    def _is_stuck(self, told_at: float) -> bool:
        stuck = self._mono() - told_at > self._stuck_s
        if stuck and not self._stuck:
            logger.error("the loop is stuck: no more heart-beats", extra={"key": self._key})
        self._stuck = stuck
        return stuck

    def _beat(self, fields: Mapping[str, str]) -> None:
        beat: dict[Any, Any] = {**fields, "alive": str(self._now_ns() // 1_000_000)}
        try:
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(self._key, mapping=beat)
            pipe.expire(self._key, BEAT_TTL_S)
            pipe.execute()
            self.failing = False
        except redis.RedisError as exc:
            if not self.failing:
                logger.warning("no heart-beat", extra={"error": str(exc)[:200]})
            self.failing = True
