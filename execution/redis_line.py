"""Redis may stop answering at any moment: that costs the hub one short wait, then none for a while.

Exits, protection and cancels need the database and the broker only. A thread that asked a frozen
Redis again and again would hold them up all the same.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

logger = logging.getLogger(__name__)

#: How long one question may take; a healthy server answers in a few milliseconds.
TIMEOUT_S = 1.0
PAUSE_S = 2.0


class Breaker:
    """Open after a failure: for a while nobody asks, then one question finds out. Thread-safe."""

    def __init__(
        self, *, pause_s: float = PAUSE_S, mono: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s, self._mono = pause_s, mono
        self._lock = threading.Lock()
        self._open = False
        self._ask_at = float("-inf")

    def may_ask(self) -> bool:
        """Is this the moment for a question? While it is open, one caller in a pause hears yes."""
        with self._lock:
            if not self._open:
                return True
            now = self._mono()
            if now < self._ask_at:
                return False
            self._ask_at = now + self._pause_s
            return True

    def failed(self) -> None:
        """Note a question without an answer."""
        with self._lock:
            first, self._open = not self._open, True
            self._ask_at = self._mono() + self._pause_s
        if first:
            logger.warning("Redis does not answer", extra={"asked_again_every_s": self._pause_s})

    def worked(self) -> None:
        """Note an answer."""
        with self._lock:
            back, self._open = self._open, False
        if back:
            logger.info("Redis answers again")


#: One for all that this process asks of Redis on behalf of orders and rounds.
breaker = Breaker()


class _Guarded:
    """What asks only when its breaker lets it, and tells it what came of it."""

    breaker: Breaker

    def _ask(self, call: Callable[[], Any]) -> Any:
        if not self.breaker.may_ask():
            raise redis.ConnectionError("it did not answer a moment ago")
        try:
            answer = call()
        except (redis.ConnectionError, redis.TimeoutError):
            self.breaker.failed()
            raise
        self.breaker.worked()
        return answer


class GuardedPipeline(_Guarded, Pipeline):
    def execute(self, raise_on_error: bool = True) -> Any:
        return self._ask(lambda: Pipeline.execute(self, raise_on_error))


class GuardedRedis(_Guarded, redis.Redis):
    """A client with one short time-out, no retries, and a breaker.

    Raises: redis.ConnectionError also when it was not asked at all.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return self._ask(lambda: redis.Redis.execute_command(self, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> GuardedPipeline:
        made = GuardedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        made.breaker = self.breaker
        return made


def guarded(url: str, *, by: Breaker = breaker, timeout_s: float = TIMEOUT_S) -> GuardedRedis:
    """Return a client that the hub's own thread may use."""
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    client = GuardedRedis(connection_pool=pool)
    client.breaker = by
    return client
