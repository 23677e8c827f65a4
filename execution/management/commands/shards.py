"""`manage.py shards`: who watches what; take shards out, let them in, give letters out anew."""

import getpass
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import selectors
from execution.services import shards


class Command(BaseCommand):
    help = (
        "Show the shards and their letters; `drain N`, `enroll N`, or `plan letters`, `plan load`, "
        "`plan 'A-C | [D,DK) | [DK,E) E-Z'` (parts go to the shards 1, 2, 3, …). "
        "The hub acts within a second or two."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", nargs="?", choices=("drain", "enroll", "plan"))
        parser.add_argument("what", nargs="?", default="", help="a shard's number, or the plan")
        parser.add_argument("--yes", action="store_true", help="required to change anything")
        parser.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] is None:
                self._show(as_json=options["as_json"])
            else:
                self._change(options["action"], options["what"], sure=options["yes"])
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc

    def _change(self, action: str, what: str, *, sure: bool) -> None:
        if action != "plan" and not what.isdigit():
            raise CommandError(f"{action} needs the number of a shard, not {what!r}")
        if not sure:
            raise CommandError(f"would {action} {what}: letters move; add --yes to do it")
        actor = getpass.getuser()
        try:
            if action == "plan":
                shards.set_plan(plan=what, actor=actor)
                changed = True
            else:
                turn = shards.drain_shard if action == "drain" else shards.enroll_shard
                changed = turn(shard=int(what), actor=actor)
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        said = f"{action} {what}" if changed else f"shard {what}: nothing to change"
        self.stdout.write(self.style.SUCCESS(said))

    def _show(self, *, as_json: bool) -> None:
        found = selectors.shard_table()
        if as_json:
            self.stdout.write(json.dumps(found))
            return
        self.stdout.write(f"plan: {found['plan']}")
        if not found["shards"]:
            self.stdout.write("no letters are given out yet")
        for row in found["shards"]:
            state = "drained" if row["drained"] else ""
            self.stdout.write(
                f"shard {row['shard']:>2}  {row['letters'] or '–':<30} {state}".rstrip()
            )
        for row in found["dark"]:
            self.stdout.write(f"dark: {row['letters']} of shard {row['shard']} ({row['why']})")
