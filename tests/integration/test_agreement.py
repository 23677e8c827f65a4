"""When the hub compares with the broker, and what makes it distrust an agreement."""

from types import SimpleNamespace
from typing import Any

import pytest

from execution import reconcile
from execution.hub.agreement import IDLE_S, WATCHFUL_S, Agreement
from execution.models import Order
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]


class Clocked(Agreement):
    """Notes when it would compare; every comparison agrees."""

    def compare(self) -> bool:
        self._at, self.reconciled_ns = self.mono(), round(self.mono() * 1e9)
        self.at.append(self.mono())
        return True

    at: list[float]


def clocked(**trader: Any) -> tuple[Clocked, list[float]]:
    now = [1000.0]
    made = Clocked(
        trader=SimpleNamespace(  # type: ignore[arg-type]
            resolver=SimpleNamespace(open=False),
            busy=False,
            **{"desk": SimpleNamespace(broker=SimpleNamespace(calls_left=None)), **trader},
        ),
        mono=lambda: now[0], at_once=lambda: False,
    )  # fmt: skip
    made.at = []
    return made, now


def looks(made: Clocked, now: list[float], seconds: int) -> int:
    """Let time pass; return how often it compared."""
    before = len(made.at)
    for _ in range(seconds):
        now[0] += 1
        made.on_process_time()
    return len(made.at) - before


def test_it_goes_on_comparing_often_for_minutes_after_a_trade() -> None:
    made, now = clocked()
    assert looks(made, now, 120) == 120 // IDLE_S
    made.trader.busy = True
    looks(made, now, 30)
    made.trader.busy = False

    assert looks(made, now, 60) == 4, "a late fill may have left shares naked"
    looks(made, now, int(WATCHFUL_S))
    assert looks(made, now, 120) == 120 // IDLE_S


def test_a_comparison_without_an_answer_is_made_again_soon_and_then_less_often() -> None:
    made, now = clocked()
    made.compare()
    made._failures = 1
    assert looks(made, now, 4) == 2

    made._failures = 9
    assert looks(made, now, 32) == 2


def test_a_question_that_failed_counts_until_one_comparison_is_through() -> None:
    bench = Bench.make()
    made = Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)
    bench.venue.alter("/v2/positions", lambda _: {"no": "list"})

    assert (made.compare(), made._failures) == (False, 1)
    bench.venue.heal()
    assert (made.compare(), made._failures) == (True, 0)


def test_after_a_gap_a_venue_that_differs_is_asked_each_second_not_all_the_time() -> None:
    made, now = clocked()

    asked = [made.after_a_gap() for now[0] in (1000.0, 1000.25, 1000.5, 1000.75, 1001.0, 1001.25)]

    assert asked == [True, False, False, False, True, False]


def test_a_venue_that_differs_for_long_is_asked_less_often_whatever_differs(monkeypatch) -> None:
    now, asked = [1000.0], list[float]()
    made = Agreement(
        trader=SimpleNamespace(  # type: ignore[arg-type]
            desk=SimpleNamespace(
                note=lambda *_, **__: None, broker=SimpleNamespace(calls_left=None)
            )
        ),
        mono=lambda: now[0], at_once=lambda: True,
    )  # fmt: skip

    def differs(trader: object) -> reconcile.Findings:
        asked.append(now[0])
        return reconcile.Findings(differences=[f"cash: {len(asked)}"])

    monkeypatch.setattr(reconcile, "reconcile", differs)
    monkeypatch.setattr(made, "_take_over", lambda: False)

    for _ in range(60):
        made.after_a_gap()
        now[0] += 1

    assert asked[:6] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0, 1008.0]
    assert len(asked) <= 15


@pytest.mark.parametrize(("left", "looked"), [(None, 2), (61, 2), (60, 0), (0, 0)])
def test_comparing_again_leaves_the_requests_to_exits_that_are_theirs(left, looked: int) -> None:
    made, now = clocked(desk=SimpleNamespace(broker=SimpleNamespace(calls_left=left)))
    made.reserved = lambda: 60
    made.compare()
    made._failures = 1

    assert looks(made, now, 4) == looked, "soon again"
    now[0] += 1.0
    assert made.after_a_gap() == bool(looked), "after a gap"
    assert looks(made, now, int(IDLE_S)) >= 1, "once a minute it is asked all the same"


def test_an_execution_from_before_the_last_agreement_is_looked_into_at_once() -> None:
    made, now = clocked()
    made.compare()

    made.hear_of(round(now[0] * 1e9))
    assert looks(made, now, 1) == 0, "of this moment"

    made.hear_of(round(900 * 1e9))
    assert made.reconciled_ns is None, "entries wait"
    assert looks(made, now, 1) == 1


def test_an_order_without_an_answer_is_looked_for_when_its_trade_has_ended() -> None:
    bench = Bench.make()
    bench.open()
    trade = bench.trade()
    lost = Order.objects.get(purpose="tp")
    Order.objects.create(
        run=trade.run, trade=trade, purpose="c", client_order_id=f"{lost.client_order_id}-c",
        symbol=trade.symbol, side="buy", type="market", quantity=1, time_in_force="day",
        status=Status.UNKNOWN, fence_epoch=bench.epoch, created_ns=0,
    )  # fmt: skip
    trade.state = T.CLOSED
    trade.save()
    mono = [bench.trader.mono()]
    bench.trader.mono = lambda: mono[0]

    for _ in range(6):
        reconcile.reconcile(bench.trader)
        mono[0] += 15

    assert Order.objects.get(purpose="c").status == Status.ABANDONED
