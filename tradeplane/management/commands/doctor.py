"""`manage.py doctor`: what is wrong here, and what to do. Exit 1 when anything is."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tradeplane.runtime.doctor import findings


class Command(BaseCommand):
    help = "Check Python, packages, disk, database, Redis, relay, venue and clock."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object as the last line")

    def handle(self, *args: Any, **options: Any) -> None:
        found = []
        for finding in findings():
            found.append(finding)
            word = "ok  " if finding.ok else "FAIL"
            advice = "" if finding.ok or not finding.advice else f" → {finding.advice}"
            if not options["json"]:
                self.stdout.write(f"{word} {finding.what}: {finding.text}{advice}")
        if options["json"]:
            self.stdout.write(json.dumps({"checks": [asdict(finding) for finding in found]}))
        wrong = [finding.what for finding in found if not finding.ok]
        if wrong:
            raise CommandError(f"wrong: {', '.join(wrong)}")
