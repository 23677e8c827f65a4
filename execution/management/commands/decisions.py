"""`manage.py decisions`: are the records whole, and do their inputs still give them?"""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import selectors
from execution.models import Decision, Run
from execution.services import chain, replay

SHOWN = 20


class Command(BaseCommand):
    help = "Verify the chain of decision records, or replay records from their stored inputs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=("verify", "replay"))
        parser.add_argument("--run", help="a run's id; the newest one without it")
        parser.add_argument("--symbol", default="", help="replay: only this symbol")
        parser.add_argument("--k", type=int, help="replay: only this bucket")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run = self._run(options["run"])
            told = self._verify(run) if options["what"] == "verify" else self._replay(run, options)
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc
        for line in told["problems"][:SHOWN]:
            self.stderr.write(line)
        if options["json"]:
            self.stdout.write(json.dumps(told))
        if told["problems"]:
            raise CommandError(f"{len(told['problems'])} of {told['records']} records are wrong")
        if not options["json"]:
            self.stdout.write(self.style.SUCCESS(f"{told['records']} records: {told['said']}"))

    def _run(self, asked: str | None) -> Run:
        run = Run.objects.filter(pk=asked).first() if asked else selectors.current_run()
        if run is None:
            raise CommandError(f"there is no run {asked}" if asked else "there is no run yet")
        return run

    def _verify(self, run: Run) -> dict[str, Any]:
        return {
            "run": run.pk,
            "records": Decision.objects.filter(run=run).count(),
            "problems": list(chain.problems(run)),
            "said": "the chain is whole",
        }

    def _replay(self, run: Run, options: dict[str, Any]) -> dict[str, Any]:
        found = list(replay.replay_run(run, symbol=options["symbol"].upper(), k=options["k"]))
        return {
            "run": run.pk,
            "records": len(found),
            "problems": [
                f"{r.symbol} in bucket {r.k} ({r.outcome}) differs: {', '.join(r.differs)}"
                + (" (it was decided by another version of the rules)" if r.other_rules else "")
                for r in found
                if not r.same
            ],
            "said": "each is what its inputs give",
        }
