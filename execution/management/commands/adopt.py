"""`manage.py adopt`: what differs from the broker, and taking it into the books."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import selectors
from execution.models import Difference
from execution.services import adoption


class Command(BaseCommand):
    help = "Show what differs from the broker, or acknowledge it: the hub then takes it over."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("difference", nargs="?", type=int, help="its number, as shown")
        parser.add_argument("--reason", default="", help="why; required to take it over")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["difference"] is None:
                self._show()
            else:
                self._take_over(options["difference"], options["reason"])
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc

    def _show(self) -> None:
        run = selectors.current_run()
        row = None if run is None else adoption.standing(run)
        if row is None:
            self.stdout.write("nothing differs from the broker, as far as the hub has looked")
            return
        self.stdout.write(f"{row.pk}: found {row.found_at:%F %T} UTC, entries are locked")
        for line in [*row.body["lines"], *row.body["told"]]:
            self.stdout.write(f"  {line}")
        self.stdout.write(self._next(row))

    def _next(self, row: Difference) -> str:
        if row.acknowledged_at is not None:
            return f"acknowledged by {row.actor} ({row.reason}): the hub books it"
        if row.body["blocked"]:
            return f"it cannot be taken over yet: {row.body['blocked']}"
        return f"to take it over: manage.py adopt {row.pk} --reason TEXT"

    def _take_over(self, number: int, reason: str) -> None:
        try:
            adoption.acknowledge(difference_id=number, reason=reason, actor=getpass.getuser())
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        text = "acknowledged: the hub books it when it compares next, and entries may be resumed"
        self.stdout.write(self.style.SUCCESS(text))
