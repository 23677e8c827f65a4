"""Many seeds, one after the other, and what they amount to; and days about given blows."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product

from django.apps import apps
from django.db import connection

from execution import failpoints
from execution.simulation.blows import Blow
from execution.simulation.world import World

KEPT = 40  # seeds whose rows stay in the tables at once; more make every query slower
TABLES = ("accounts", "execution")


@dataclass
class Report:
    """`failures`: what is broken, by seed; a seed alone shows it again."""

    seeds: int = 0
    failures: dict[int, list[str]] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    trades: int = 0
    fills: int = 0
    faults_min: int = 10**9
    naked_max_s: float = 0.0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return {
            "seeds": self.seeds,
            "failures": {str(seed): lines for seed, lines in self.failures.items()},
            "faults": sum(self.injected.values()),
            "faults_min": self.faults_min,
            "injected": dict(sorted(self.injected.items())),
            "reached": dict(sorted(self.reached.items())),
            "checks": self.checks,
            "trades": self.trades,
            "fills": self.fills,
            "naked_max_s": round(self.naked_max_s, 3),
            "seconds": round(self.seconds, 1),
        }


def run_seeds(
    seeds: Iterable[int],
    *,
    say: Callable[[int, list[str]], None] = lambda seed, broken: None,
    make: Callable[[int], World] = World,
) -> Report:
    """Run seeds on the present database, which must be empty and is left empty.

    Args: say: told of every seed that broke something.
    """
    report, started = Report(), time.perf_counter()
    logging.disable(logging.CRITICAL)  # what a hub logs of ten thousand deaths helps nobody
    try:
        for seed in seeds:
            world = make(seed)
            verdict = world.run()
            faults = sum(world.injected.values())
            report.seeds += 1
            report.injected += world.injected
            report.reached += world.reached
            report.checks += verdict.checks
            report.trades += verdict.trades
            report.fills += verdict.fills
            report.faults_min = min(report.faults_min, faults)
            report.naked_max_s = max(report.naked_max_s, verdict.naked_max_s)
            if verdict.broken:
                report.failures[seed] = verdict.broken
                say(seed, verdict.broken)
            if report.seeds % KEPT == 0:
                forget()
    finally:
        logging.disable(logging.NOTSET)
        forget()
    report.seconds = time.perf_counter() - started
    return report


@dataclass
class Struck:
    """`days`: how many it took until all blows had struck, 0: they never did; `first_struck`: on
    how many days the first had, so that one sees which of them no day comes by."""

    blows: tuple[Blow, ...]
    days: int = 0
    first_struck: int = 0
    broken: list[str] = field(default_factory=list)


def strike(blows: tuple[Blow, ...], *, tries: int) -> Struck:
    """Live through days that lead to where the blows strike, until one day had them all."""
    found = Struck(blows)
    for seed in range(tries):
        world = World(seed, blows=blows, toward=tuple(blow.point for blow in blows))
        verdict = world.run()
        forget()
        found.first_struck += bool(world.fate.struck)
        found.broken += [f"seed {seed}: {line}" for line in verdict.broken]
        if found.broken or not world.fate.left_by_day:
            found.days = seed + 1
            break
    return found


def run_pairs(kinds: tuple[str, str], *, tries: int, say: Callable[[Struck], None]) -> list[Struck]:
    """Let every fail point be struck, and every one after it; the second while it recovers."""
    logging.disable(logging.CRITICAL)
    try:
        found = []
        for first, second in product(failpoints.POINTS, repeat=2):
            pair = strike((Blow(first, kinds[0]), Blow(second, kinds[1])), tries=tries)
            found.append(pair)
            say(pair)
    finally:
        logging.disable(logging.NOTSET)
    return found


def forget() -> None:
    """Empty the tables of orders and books; the append-only ones refuse that to everybody else."""
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for label in TABLES:
            for model in apps.get_app_config(label).get_models():
                cursor.execute(f"DELETE FROM {model._meta.db_table}")  # noqa: S608 - our own names
