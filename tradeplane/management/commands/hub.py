"""`manage.py hub`: the hub in the foreground."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tradeplane.resident import STANDBY_QUEUE
from tradeplane.runtime.worker import run_worker


class Command(BaseCommand):
    help = "Run the hub: a Celery worker on the hub's queues with the resident coordinator."
    requires_system_checks: list[str] = []  # they would load the pages

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--take-over",
            action="store_true",
            help="take the lease from a living hub: it can neither write nor send from then on",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        given = {"hub": True, "take_over": options["take_over"]}
        sys.exit(run_worker(queues=(STANDBY_QUEUE,), name="hub", options=given))
