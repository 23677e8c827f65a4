"""Orders that were set aside lock entries until a person has looked, and said so."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import check as books_check
from accounts.errors import AppendOnlyViolation
from accounts.models import Account
from execution import invariants, selectors
from execution.brokers.port import FillActivity, Side
from execution.hub import exits
from execution.hub.agreement import Agreement
from execution.models import Activity, Difference, Order, Release
from execution.services import adoption, release, venue_state
from execution.services.moves import OrderEvent, move
from execution.services.moves import TradeState as T
from execution.venue.faults import Rule
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def overfilled() -> tuple[Bench, Order]:
    """Return a day whose trade is over, and its sell that sold more than was asked for."""
    bench = Bench.make(Rule(do="overfill", nth=2))
    bench.open()
    exits.begin(bench.desk, bench.trade(), "kill", hard=True)
    for _ in range(8):
        bench.step(500)
    assert bench.trade().state == T.CLOSED
    return bench, Order.objects.get(purpose="f")


def say(bench: Bench, order: Order, reason: str = "looked at it") -> Release:
    return release.release(bench.run, name=order.client_order_id, reason=reason, actor="ann")


def findings() -> list[str]:
    found = books_check.check_all(Account.objects.get())
    return [line for lines in found.values() for line in lines]


def test_a_released_order_locks_entries_no_more_and_the_checks_hold() -> None:
    bench, order = overfilled()
    assert selectors.has_unresolved_order(bench.run)
    assert any("overfilled" in line for line in findings())

    made = say(bench, order, " the exchange executed twice ")

    assert not selectors.has_unresolved_order(bench.run)
    assert findings() == []
    assert invariants.books_equal_broker(bench.run, bench.broker) == []
    order.refresh_from_db()
    assert (made.why, made.reason, made.actor) == (
        order.reason,
        "the exchange executed twice",
        "ann",
    )
    assert "overfilled" in made.why
    assert Activity.objects.filter(level="warning", text__contains="released by ann").count() == 1


def test_what_was_said_stays() -> None:
    bench, order = overfilled()
    made = say(bench, order)

    with pytest.raises(AppendOnlyViolation):
        made.delete()
    with pytest.raises(AppendOnlyViolation):
        Release.objects.update(actor="nobody")


def test_an_order_whose_trade_is_open_waits_for_its_end() -> None:
    bench = Bench.make(Rule(do="overfill", nth=1))
    bench.open()
    for _ in range(12):
        bench.step(500)
    order = bench.entry()

    with pytest.raises(ValueError, match="its trade holds 397 ABCD"):
        say(bench, order)

    assert selectors.has_unresolved_order(bench.run)
    exits.leave(bench.desk, bench.trade(), "kill")
    for _ in range(8):
        bench.step(500)
    say(bench, order)
    assert not selectors.has_unresolved_order(bench.run)


def test_an_order_that_still_works_waits_for_its_end() -> None:
    bench = Bench.make()
    bench.fire()
    Order.objects.filter(purpose="e").update(quarantined=True)

    with pytest.raises(ValueError, match=r"not over at the broker \(working\)"):
        say(bench, bench.entry())

    assert selectors.has_unresolved_order(bench.run)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "x" * 500}, "is set aside"),
        ({"name": ""}, "is set aside"),
        ({"reason": " "}, "needs"),
    ],
)
def test_nothing_is_released_without_a_name_and_a_reason(changes, text: str) -> None:
    bench, order = overfilled()

    with pytest.raises(ValueError, match=text):
        release.release(
            bench.run, **{"name": order.client_order_id, "reason": "seen", "actor": "ann"} | changes
        )

    assert Release.objects.count() == 0


def test_an_order_is_released_once_and_locks_again_when_something_else_happens() -> None:
    bench, order = overfilled()
    say(bench, order)
    with pytest.raises(ValueError, match="is set aside: look again"):
        say(bench, order)

    order.refresh_from_db()
    move(order, OrderEvent.DENY, bench.venue.now_ns)
    order.save()

    assert selectors.has_unresolved_order(bench.run)
    assert any("overfilled" in line for line in findings())
    say(bench, order)
    assert findings() == []
    assert Release.objects.count() == 2


def test_a_fraction_of_our_own_that_cannot_be_booked_is_taken_over_once_it_was_released() -> None:
    bench = Bench.make()
    bench.close_at_target()
    odd = FillActivity(
        execution_id="odd-1", order_id=str(bench.entry().broker_id), symbol="ABCD", side=Side.BUY,
        quantity=Decimal("0.5"), price=Decimal("20.00"), ts_ns=bench.venue.now_ns,
    )  # fmt: skip
    bench.venue.engine.account.cash -= 10
    told = bench.broker.fills
    bench.broker.fills = lambda *, after_ns: [*told(after_ns=after_ns), odd]  # type: ignore[method-assign]
    venue_state.apply_fill(bench.run, odd)
    agreement = Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)
    assert not agreement.compare()
    assert "our own orders" in Difference.objects.get(open_key__isnull=False).body["blocked"]

    say(bench, bench.entry(), "the broker executed half a share")
    bench.mono_s += 60
    agreement.compare()
    row = Difference.objects.get(open_key__isnull=False)
    assert row.body["blocked"] == ""
    assert any("buy 0.5 ABCD" in line for line in row.body["told"])
    adoption.acknowledge(difference_id=row.pk, reason="odd", actor="ann")
    bench.mono_s += 3
    agreement.on_process_time()

    assert agreement.doubt == ""
    assert not selectors.has_unresolved_order(bench.run)


# --- command and page -----------------------------------------------------------------------------


def test_the_command_shows_what_is_set_aside_and_releases_it() -> None:
    bench, order = overfilled()
    out = StringIO()

    call_command("release", stdout=out)
    name = order.client_order_id
    assert f"manage.py release {name} --reason TEXT" in out.getvalue()
    assert order.reason in out.getvalue()
    with pytest.raises(CommandError, match="needs a reason"):
        call_command("release", name)
    call_command("release", name, reason="seen", stdout=out)

    assert not selectors.has_unresolved_order(bench.run)
    call_command("release", stdout=out)
    assert "no order is set aside" in out.getvalue()


def test_the_command_without_a_run_says_so() -> None:
    with pytest.raises(CommandError, match="there is no run yet"):
        call_command("release")


def test_the_system_page_shows_it_and_takes_the_reason(admin_client: Client) -> None:
    bench, order = overfilled()
    Order.objects.filter(pk=order.pk).update(reason="<b>overfilled</b>")

    page = admin_client.get("/system/").content.decode()
    assert "Orders set aside" in page
    assert "<b>overfilled</b>" not in page
    sent = {"order": order.client_order_id, "reason": " "}
    said = admin_client.post("/system/release/", sent, follow=True).content.decode()
    assert "needs a reason" in said
    assert selectors.has_unresolved_order(bench.run)
    admin_client.post("/system/release/", sent | {"reason": "seen"})

    assert Release.objects.get().actor == "admin"
    assert "Orders set aside" not in admin_client.get("/system/").content.decode()
