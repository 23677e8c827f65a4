"""Messages that may be lost: the row is the truth, a nudge makes it prompt, a sweep finds the rest.

By task name, so that nobody here imports a task.
"""

import logging
from typing import Any

from celery import current_app
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

DECIDE_ROUND = "execution.decide_round"
SUBMIT_ORDER = "execution.submit_order"
EXPIRES_S = 20.0
SHARD_EXPIRES_S = 30.0


def send(task: str, kwargs: dict[str, Any], queue: str) -> bool:
    """Publish one task, once; False when the broker is away (it is sent again by row state)."""
    expires = SHARD_EXPIRES_S if queue.startswith("shard.") else EXPIRES_S
    try:
        current_app.send_task(
            task, kwargs=kwargs, queue=queue, expires=expires, retry=False, ignore_result=True
        )
    except (KombuError, RedisError, OSError) as exc:
        logger.warning("task not sent", extra={"task": task, "error": repr(exc)})
        return False
    return True


def decide_round(run_id: str, k: int) -> bool:
    return send(DECIDE_ROUND, {"run": run_id, "k": k}, queue="hub.decide")


def submit_order(order_id: int) -> bool:
    return send(SUBMIT_ORDER, {"order_id": order_id}, queue="hub.orders")
