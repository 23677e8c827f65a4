"""`manage.py killswitch`: show or turn the kill switch; the hub acts within its next look."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import selectors
from execution.services import runs

EFFECTS = {
    "none": "entries are allowed again",
    "pause": "no new entries; open positions keep their brackets",
    "cancel_entries": "as pause, and entries that are not filled yet are canceled",
    "flatten": "as cancel_entries, and every position is closed at the market",
    "freeze": "the hub touches nothing; brackets at the broker stay",
}


class Command(BaseCommand):
    help = "Show the kill switch, or turn it: none, pause, cancel_entries, flatten, freeze."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("level", nargs="?", choices=sorted(EFFECTS))
        parser.add_argument("--reason", default="", help="why; required to turn it")
        parser.add_argument("--yes", action="store_true", help="required for flatten and none")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._turn_or_show(options)
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc

    def _turn_or_show(self, options: dict[str, Any]) -> None:
        level = options["level"]
        if level is None:
            now = selectors.kill_level()
            self.stdout.write(f"{now}: {EFFECTS[now]}")
            return
        if level in ("none", "flatten") and not options["yes"]:
            raise CommandError(f"{level}: {EFFECTS[level]}; add --yes to do it")
        try:
            runs.set_kill_switch(level=level, reason=options["reason"], actor=getpass.getuser())
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(self.style.SUCCESS(f"{level}: {EFFECTS[level]}"))
