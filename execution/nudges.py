"""Messages that may be lost: the row is the truth, a nudge makes it prompt, a sweep finds the rest.

By task name, so that nobody here imports a task.
"""

import logging
import threading
from typing import Any

from celery import current_app
from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from execution.redis_line import TIMEOUT_S, Breaker, breaker

logger = logging.getLogger(__name__)

DECIDE_ROUND = "execution.decide_round"
SUBMIT_ORDER = "execution.submit_order"
EXPIRES_S = 20.0
SHARD_EXPIRES_S = 30.0
#: A worker may wait long for its tasks; who sends one also looks after open positions.
SHORT = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "health_check_interval": 0,
    "max_retries": 0,
}


class Sender:
    """Publishes tasks over connections of its own, one per thread, which wait a second at most."""

    def __init__(self, by: Breaker) -> None:
        self._breaker = by
        self._of_thread = threading.local()

    def send(self, task: str, kwargs: dict[str, Any], queue: str) -> bool:
        """Publish one task, once; False when Redis is away (it is sent again by row state)."""
        if not self._breaker.may_ask():
            return False
        try:
            current_app.send_task(
                task,
                kwargs=kwargs,
                queue=queue,
                expires=SHARD_EXPIRES_S if queue.startswith("shard.") else EXPIRES_S,
                retry=False,
                ignore_result=True,
                connection=self._connection(),
            )
        except (KombuError, RedisError, OSError) as exc:
            self._forget()
            self._breaker.failed()
            logger.warning("task not sent", extra={"task": task, "error": repr(exc)})
            return False
        self._breaker.worked()
        return True

    def _connection(self) -> Connection:
        made: Connection | None = getattr(self._of_thread, "connection", None)
        if made is None:
            usual = current_app.conf.broker_transport_options
            url = current_app.conf.broker_write_url or current_app.conf.broker_url
            made = Connection(url, transport_options=usual | SHORT)
            self._of_thread.connection = made
        return made

    def _forget(self) -> None:
        """Drop a connection in doubt: half an answer may still be on its way."""
        made, self._of_thread.connection = self._connection(), None
        made.collect(TIMEOUT_S)


_sender = Sender(breaker)


def send(task: str, kwargs: dict[str, Any], queue: str) -> bool:
    """Publish one task, once; False when Redis is away (it is sent again by row state)."""
    return _sender.send(task, kwargs, queue)
