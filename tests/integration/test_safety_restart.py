"""A new hub goes on as the old one would have: what a decision needs survives in the rows."""

import pytest

from execution.hub.rounds import Rounds, Vitals
from execution.models import Trade
from signals.messages import Report
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def rounds_of(bench: Bench) -> Rounds:
    return Rounds(
        desk=bench.desk,
        parameters=bench.parameters,
        params_version=1,
        kill_level=lambda: "none",
        vitals=Vitals,
    )


def test_a_near_miss_is_judged_by_the_same_account_after_a_restart() -> None:
    bench = Bench.make()
    bench.close_round()
    bench.restart()
    rounds = rounds_of(bench)

    rounds.restore()

    assert rounds._account_now(False) == bench.broker.account()
    assert rounds._account_ns == bench.venue.now_ns


@pytest.mark.parametrize("fields", [{"quarantined": True}, {"state": "held_overnight"}])
def test_a_trade_that_people_must_look_at_locks_entries(fields: dict[str, object]) -> None:
    bench = Bench.make()
    bench.open()
    Trade.objects.update(**fields)

    reports: tuple[Report, ...] = ()
    inputs = rounds_of(bench)._inputs(1, reports, (), 0, 1.0)

    assert inputs.unresolved_order
