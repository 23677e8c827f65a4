"""Run a Celery worker in this process: what `manage.py shard` and `manage.py hub` share."""

import faulthandler
import logging
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from celery.exceptions import SecurityWarning
from celery.signals import setup_logging, worker_shutting_down
from celery.utils.nodenames import host_format

from tradeplane.celery import app
from tradeplane.resident import install

#: After SIGTERM a worker has this long; a broker that is gone must not keep it (nor its orphan).
STOP_WITHIN_S = 8.0
#: One line per message would be thousands a minute.
QUIET_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.pool")


def run_worker(*, queues: Sequence[str], name: str, options: dict[str, Any]) -> int:
    """Run a solo worker on `queues` until it is told to stop; return its exit code.

    Args: options go to the bootsteps: `{"shard": 3}` or `{"hub": True}`.
    """
    faulthandler.register(signal.SIGUSR2)  # `kill -USR2` prints every thread's stack
    # Root and pickle are the danger it means; we accept JSON only (celery_settings.py).
    warnings.simplefilter("ignore", SecurityWarning)
    setup_logging.connect(_keep_our_logging, weak=False)
    worker_shutting_down.connect(_leave_in_time, weak=False)
    for quiet in QUIET_LOGGERS:
        logging.getLogger(quiet).setLevel(logging.WARNING)
    app.conf.imports = ("execution.tasks" if options.get("hub") else "shards.tasks",)
    install(app)
    worker = app.Worker(
        hostname=host_format(f"{name}@%h"),
        pool_cls="solo",
        queues=list(queues),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        **options,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _keep_our_logging(**_: Any) -> None:
    """Celery leaves logging alone when someone answers this signal."""


def _leave_in_time(**_: Any) -> None:
    timer = threading.Timer(STOP_WITHIN_S, os._exit, args=(0,))
    timer.daemon = True
    timer.start()
