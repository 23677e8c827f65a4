"""`manage.py hub`: the hub in the foreground."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from tradeplane.runtime.worker import run_worker

QUEUES = ("hub.reports", "hub.decide", "hub.orders")


class Command(BaseCommand):
    help = "Run the hub: a Celery worker on the hub's queues with the resident coordinator."
    requires_system_checks: list[str] = []  # they would load the pages

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(run_worker(queues=QUEUES, name="hub", options={"hub": True}))
