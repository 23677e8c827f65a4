"""The hub's tasks: parse, call one service, tell the coordinator. Twice is as good as once."""

import logging

from celery import shared_task
from django.db import close_old_connections

from execution import resident
from execution.errors import LeaseLost
from execution.services import entries, rounds

logger = logging.getLogger(__name__)


@shared_task(name="signals.report", ignore_result=True, acks_late=False)
def report(body: str) -> None:
    """Hand a shard's packed message to the coordinator; it can ask for a lost one again."""
    hub = resident.current()
    if hub is not None:
        hub.post("message", body)


@shared_task(name="execution.decide_round", ignore_result=True)
def decide_round(run: str, k: int) -> None:
    """Decide a closed round from its stored inputs."""
    hub = resident.current()
    if hub is None:
        return
    close_old_connections()
    try:
        orders = rounds.decide_round(run_id=run, k=k, epoch=hub.epoch, second=hub.second.ask)
    except LeaseLost:
        logger.warning("round not decided: the lease is over", extra={"k": k})
        return
    hub.post("decided", (k, orders))


@shared_task(name="execution.submit_order", ignore_result=True)
def submit_order(order_id: int) -> None:
    """Send one entry order; what comes before the start-up is done is swept up at its end."""
    hub = resident.current()
    if hub is None or not hub.takes_orders:
        return
    close_old_connections()
    try:
        order = entries.submit_entry(
            order_id=order_id, broker=hub.task_broker, facts=hub.send_facts()
        )
    except LeaseLost:
        logger.warning("order not sent: the lease is over", extra={"order_id": order_id})
        return
    hub.post("submitted", (order_id, order.status))
