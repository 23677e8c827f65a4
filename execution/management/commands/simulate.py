"""`manage.py simulate`: the order path under seeded faults, on a database in memory."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test.utils import override_settings

from execution.simulation.blows import KINDS
from execution.simulation.database import in_memory
from execution.simulation.runner import Struck, run_pairs, run_seeds

SEEDS_MAX = 10_000_000
DAYS = 30  # for a pair of blows, until both have struck
DAYS_MAX = 1000


class Command(BaseCommand):
    help = "Run the whole order path on virtual time, with faults; check it from outside."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
        parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")
        parser.add_argument(
            "--pairs",
            nargs=2,
            choices=KINDS,
            metavar=("FIRST", "SECOND"),
            help=f"instead: strike at every pair of fail points ({', '.join(KINDS)})",
        )
        parser.add_argument(
            "--days",
            type=int,
            default=DAYS,
            help=f"for a pair: how many days it may take to meet (default {DAYS})",
        )

    def handle(self, *args: Any, seeds: int, first: int, **options: Any) -> None:
        if not 1 <= seeds <= SEEDS_MAX or first < 0:
            raise CommandError(f"--seeds is 1 to {SEEDS_MAX}, --first not negative", returncode=2)
        if not 1 <= options["days"] <= DAYS_MAX:
            raise CommandError(f"--days is 1 to {DAYS_MAX}", returncode=2)
        with (
            in_memory(),
            TemporaryDirectory() as home,
            override_settings(TRADEPLANE_HOME=Path(home)),
        ):
            if options["pairs"]:
                self._pairs(*options["pairs"], days=options["days"])
                return
            report = run_seeds(range(first, first + seeds), say=self._say)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict()))
        else:
            for name, value in report.as_dict().items():
                if name not in ("failures", "injected", "reached"):
                    self.stdout.write(f"{name:<12} {value}")
        if report.failures:
            raise CommandError(f"{len(report.failures)} of {seeds} seeds broke an invariant")

    def _pairs(self, first: str, second: str, *, days: int) -> None:
        found = run_pairs((first, second), tries=days, say=self._say_pair)
        missed = [pair for pair in found if not pair.days]
        broken = [pair for pair in found if pair.broken]
        self.stdout.write(
            f"{len(found)} pairs of {first} and {second}: {len(found) - len(missed)} struck,"
            f" {len(missed)} never met, {len(broken)} broke an invariant"
        )
        if broken:
            raise CommandError(f"{len(broken)} pairs broke an invariant")

    def _say_pair(self, pair: Struck) -> None:
        names = " then ".join(map(str, pair.blows))
        for line in pair.broken:
            self.stdout.write(f"{names}: {line}")
        if not pair.days:
            self.stdout.write(f"{names}: never met ({pair.first_struck} days had the first)")
        self.stdout.flush()

    def _say(self, seed: int, broken: list[str]) -> None:
        for line in broken:
            self.stdout.write(f"seed {seed}: {line}")
        self.stdout.flush()
