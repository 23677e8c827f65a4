"""`manage.py release`: orders that were set aside, and saying that one was looked at."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import selectors
from execution.services import release


class Command(BaseCommand):
    help = "Show the orders that were set aside and lock entries, or release one of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order", nargs="?", help="its name (client order id), as shown")
        parser.add_argument("--reason", default="", help="why it is well; required to release it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._act(options["order"], options["reason"])
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc

    def _act(self, name: str | None, reason: str) -> None:
        run = selectors.current_run()
        if run is None:
            raise CommandError("there is no run yet")
        if name is None:
            found = list(release.lines(release.set_aside(run)))
            self.stdout.write("\n".join(found) or "no order is set aside")
            return
        try:
            release.release(run, name=name, reason=reason, actor=getpass.getuser())
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(self.style.SUCCESS("released: it locks entries no more"))
