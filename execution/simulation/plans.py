"""What goes wrong at the venue in one seed: which kinds, how often."""

import random

from execution.simulation.street import LEADS
from execution.venue.faults import Rule

FAULTS_MIN = 20
REQUEST_KINDS = {
    "lose_request": 0.05, "execute_then_time_out": 0.06, "execute_late": 0.04, "http_429": 0.03,
    "http_500": 0.02, "http_503": 0.03, "http_504": 0.03, "execute_then_504": 0.04,
    "bad_json": 0.04,
}  # fmt: skip
STREAM_KINDS = {"drop": 0.12, "duplicate": 0.15, "reorder": 0.15, "silence": 0.03, "close": 0.04}
VENUE_KINDS = {
    "late_fill": 0.3, "both_legs": 0.15, "bust": 0.08, "correct": 0.08, "partial": 0.4,
    "halt": 0.08, "hidden": 0.4, "lose_leg": 0.15,
}  # fmt: skip


def led_by(point: str) -> set[str]:
    """Return the venue's faults that lead toward a fail point; once it has struck they may end.

    What brought a hub there may keep it from ever getting to the next one.
    """
    return set(LEADS.get(point, ({}, {}))[1])


def rules(rng: random.Random, toward: tuple[str, ...]) -> tuple[Rule, ...]:
    """Return the plan of a seed; what leads toward a fail point is in it, at its own rate."""
    hard = 0.25 if toward else rng.choice((0.6, 1.1, 2.0))  # whoever must get there may trade
    wanted = {do: rate for point in toward for do, rate in LEADS.get(point, ({}, {}))[1].items()}
    kinds = {**REQUEST_KINDS, **STREAM_KINDS, **VENUE_KINDS}
    chosen = {do: min(0.9, rate * hard) for do, rate in kinds.items() if rng.random() < 0.85}
    return tuple(
        Rule(
            do=do,
            rate=rate,
            delay_ms=rng.choice((0, 0, 120, 900, 4000)),
            seconds=rng.choice((1.0, 3.0, 8.0)),
            ticks=rng.randrange(1, 5),
        )
        for do, rate in (chosen | wanted).items()
    )
