"""What was sent, what the broker said, and who turned the switch: written once."""

import pytest
from django.db.models import ProtectedError

from accounts.errors import AppendOnlyViolation
from execution.models import BrokerEvent, KillSwitch, Order, OrderAttempt, Run
from execution.services import runs
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]
MODELS = (BrokerEvent, OrderAttempt, KillSwitch)


@pytest.fixture(autouse=True)
def bench(settings, tmp_path) -> Bench:
    settings.TRADEPLANE_HOME = tmp_path
    made = Bench.make()
    made.open()
    runs.set_kill_switch(level="pause", reason="a look", actor="ann")
    return made


@pytest.mark.parametrize("model", MODELS)
def test_a_row_is_never_deleted_or_changed(model: type) -> None:
    row = model.objects.first()

    for change in (
        lambda: model.objects.all().delete(),
        lambda: model.objects.all().update(pk=7),
        lambda: model.objects.bulk_update([row], ["pk"]),
        lambda: row.delete(),
        lambda: row.save(),
    ):
        with pytest.raises(AppendOnlyViolation):
            change()
    assert model.objects.filter(pk=row.pk).exists()


def test_an_attempt_is_answered_until_its_end_is_certain() -> None:
    attempt = OrderAttempt.objects.get()
    mine = OrderAttempt.objects.filter(pk=attempt.pk)

    assert attempt.outcome == "confirmed"
    assert mine.answer(outcome="abandoned") == 0

    later = OrderAttempt.objects.create(
        order=attempt.order, kind="cancel", n=1, fence_epoch=1, sent_ns=1
    )
    mine = OrderAttempt.objects.filter(pk=later.pk)
    assert [mine.answer(outcome=one) for one in ("unknown", "abandoned", "refused")] == [1, 1, 1]
    assert mine.answer(outcome="confirmed") == 0
    assert mine.get().outcome == "refused"


def test_an_event_is_given_to_its_order_once(bench: Bench) -> None:
    order = bench.entry()
    BrokerEvent.objects.create(
        run=bench.run, key="fill:early", source="stream", event="fill", ts_ns=1, raw={}
    )
    mine = BrokerEvent.objects.filter(key="fill:early")

    assert [mine.give_to(order), mine.give_to(order)] == [1, 0]
    assert mine.get().order == order


def test_neither_goes_with_the_order_or_the_run_it_belongs_to(bench: Bench) -> None:
    with pytest.raises(ProtectedError):
        Order.objects.filter(pk=bench.entry().pk).delete()
    with pytest.raises(ProtectedError):
        Run.objects.all().delete()
