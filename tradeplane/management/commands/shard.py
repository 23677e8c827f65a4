"""`manage.py shard --id N`: one shard in the foreground."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tradeplane.runtime.worker import run_worker

SHARDS_MAX = 26


class Command(BaseCommand):
    help = "Run one shard: a Celery worker on queue shard.N with the resident engine."
    requires_system_checks: list[str] = []  # they would load the pages

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--id", type=int, required=True, choices=range(1, SHARDS_MAX + 1))

    def handle(self, *args: Any, **options: Any) -> None:
        number = options["id"]
        sys.exit(
            run_worker(
                queues=[f"shard.{number}"], name=f"shard-{number}", options={"shard": number}
            )
        )
