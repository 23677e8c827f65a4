"""What a person's own hand did at the broker: shown, locked, and taken over with a reason."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import check as books_check
from accounts import selectors as booksel
from accounts.domain.ledger import Ledger
from accounts.models import Account, JournalEntry
from execution import selectors
from execution.errors import LeaseLost
from execution.hub import orphans
from execution.hub.agreement import Agreement
from execution.models import Difference, ExternalOrder
from execution.services import adoption, lease, runs
from execution.venue.orders import OrderRequest
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@pytest.fixture
def bench() -> Bench:
    made = Bench.make()
    made.venue.quote("50.00", "50.02", "SPY")
    return made


def by_hand(bench: Bench, side: str, quantity: int, name: str, symbol: str = "SPY") -> None:
    order = OrderRequest(
        client_order_id=name, symbol=symbol, side=side, type="market", time_in_force="day",
        quantity=quantity,
    )  # fmt: skip
    bench.venue.engine.submit(order, bench.venue.now_ns)
    bench.step(300)
    bench.step(300)


def an_agreement(bench: Bench) -> Agreement:
    made = Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)
    made.shelter = lambda: orphans.shelter(bench.desk, bench.parameters)
    return made


def acknowledge(reason: str = "bought in the app") -> None:
    row = Difference.objects.get(open_key__isnull=False)
    adoption.acknowledge(difference_id=row.pk, reason=reason, actor="ann")


def account() -> Account:
    return Account.objects.get()


def test_shares_bought_by_hand_lock_until_acknowledged_and_are_booked_with_the_reason(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "byhand")

    assert not agreement.compare()
    row = Difference.objects.get()
    assert "buy 5 SPY at 50.02, order byhand" in row.body["told"]
    assert row.body["told"][-1].endswith("explain it exactly")
    acknowledge()

    assert agreement.compare()
    assert agreement.doubt == ""
    assert books_check.check(account()) == []
    assert booksel.positions(account())["SPY"].quantity == 5
    assert booksel.balances(account()).get((Ledger.EXTERNAL, ""), (0, 0))[0] == 0
    kinds = JournalEntry.objects.filter(reason="ann: bought in the app")
    assert sorted(kinds.values_list("kind", flat=True)) == ["adjustment", "adoption"]
    runs.reset_kill_switch(from_level="pause", reason="seen", actor="ann")
    assert agreement.compare(), "and the reset holds"
    assert selectors.kill_level() == "none"
    assert not selectors.has_unresolved_order(bench.run)
    assert "SPY" in bench.trader.foreign, "no entry beside shares that are not ours"


def test_trading_by_hand_again_locks_again_and_cash_alone_is_explained(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "byhand")
    agreement.compare()
    acknowledge()
    assert agreement.compare()
    bench.broker.cancel_all()
    bench.step(300)
    bench.venue.quote("51.00", "51.02", "SPY")
    by_hand(bench, "sell", 5, "byhand2")

    assert not agreement.compare()
    assert "sell 5 SPY at 51.00, order byhand2" in Difference.objects.all()[0].body["told"]
    acknowledge("sold it again")

    assert agreement.compare()
    assert booksel.cash(account()) == bench.broker.account().cash
    assert booksel.positions(account()) == {}
    assert books_check.check(account()) == []


def test_flat_again_before_anybody_looked_differs_in_cash_and_says_why(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "one")
    bench.venue.quote("51.00", "51.02", "SPY")
    by_hand(bench, "sell", 5, "two")

    assert not agreement.compare()
    told = Difference.objects.get().body["told"]
    assert [line.split(",")[0] for line in told[:2]] == [
        "buy 5 SPY at 50.02",
        "sell 5 SPY at 51.00",
    ]
    acknowledge()
    assert agreement.compare()


def test_what_no_execution_explains_is_an_adjustment_and_no_fill(bench):
    agreement = an_agreement(bench)
    bench.venue.engine.account.cash += Decimal("3.20")

    assert not agreement.compare()
    assert Difference.objects.get().body["told"] == ["no execution explains: +3.20 USD"]
    acknowledge("a gift of the broker")

    assert agreement.compare()
    assert account().fills.count() == 0
    assert JournalEntry.objects.get(kind="adjustment").reason == "ann: a gift of the broker"


def test_an_acknowledgement_counts_for_what_was_looked_at_only(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "one")
    agreement.compare()
    acknowledge()
    by_hand(bench, "buy", 7, "two")

    assert not agreement.compare()
    assert booksel.positions(account()) == {}
    assert [row.outcome for row in Difference.objects.order_by("pk")] == ["changed", ""]
    with pytest.raises(ValueError, match="look again"):
        adoption.acknowledge(
            difference_id=Difference.objects.order_by("pk")[0].pk, reason="x", actor="ann"
        )


def test_a_hub_that_was_replaced_takes_nothing_over(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "one")
    agreement.compare()
    acknowledge()
    lease.take("another", force=True)

    with pytest.raises(LeaseLost):
        agreement.compare()

    assert booksel.positions(account()) == {}


def test_a_difference_in_a_stock_that_our_trade_holds_waits_for_its_end(bench):
    agreement = an_agreement(bench)
    bench.open()
    bench.venue.engine.account.positions["ABCD"].quantity -= 5

    assert not agreement.compare()
    row = Difference.objects.get()
    assert "our own trade still holds ABCD" in row.body["blocked"]
    with pytest.raises(ValueError, match="ABCD"):
        acknowledge()
    assert bench.trade().held == 298


def test_many_orders_are_looked_up_a_few_at_a_time_and_wait_for_the_last(bench):
    agreement = an_agreement(bench)
    for number in range(adoption.LOOKUPS_MAX + 2):
        order = OrderRequest(
            client_order_id=f"hand{number}", symbol="SPY", side="buy", type="market",
            time_in_force="day", quantity=1,
        )  # fmt: skip
        bench.venue.engine.submit(order, bench.venue.now_ns)
    bench.venue.advance(300)
    bench.venue.updates()  # nobody hears of them

    agreement.compare()
    assert Difference.objects.get(open_key__isnull=False).body["blocked"].startswith("2 orders")
    agreement.compare()
    assert Difference.objects.get(open_key__isnull=False).body["blocked"] == ""


def test_a_difference_that_went_away_is_asked_about_no_more(bench):
    agreement = an_agreement(bench)
    bench.venue.engine.account.cash += 1
    agreement.compare()
    bench.venue.engine.account.cash -= 1

    assert agreement.compare()
    assert Difference.objects.get().outcome == "gone"


# --- orders that are not ours ---------------------------------------------------------------------


def a_limit_by_hand(bench: Bench, name: str = "hand") -> None:
    order = OrderRequest(
        client_order_id=name, symbol="SPY", side="buy", type="limit", limit=Decimal("1.00"),
        time_in_force="gtc", quantity=5,
    )  # fmt: skip
    bench.venue.engine.submit(order, bench.venue.now_ns)
    bench.step(300)


def test_the_mark_of_a_strangers_order_survives_a_restart_and_ends_with_its_acknowledgement(bench):
    a_limit_by_hand(bench)
    assert selectors.has_unresolved_order(bench.run), "locked by its news alone"
    bench.restart()
    assert selectors.has_unresolved_order(bench.run)
    agreement = an_agreement(bench)

    assert not agreement.compare()
    assert "buy 5 at 1.00, hand" in agreement.doubt
    assert "SPY" in bench.trader.foreign
    acknowledge("my own order")

    assert agreement.compare()
    assert not selectors.has_unresolved_order(bench.run)
    bench.restart()
    assert an_agreement(bench).compare()
    assert "SPY" in bench.trader.foreign, "it works still: no entry beside it"
    a_limit_by_hand(bench, "hand2")
    assert not an_agreement(bench).compare()


def test_the_stop_of_an_orphan_is_journaled_and_looked_up_when_its_answer_is_lost(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "byhand")
    bench.venue.fail_next("POST", "/v2/orders", "http_504_after")

    agreement.compare()
    row = ExternalOrder.objects.get(kind="shelter")
    assert (row.status, row.fence_epoch) == ("unknown", bench.epoch)
    bench.step(300)
    agreement.compare()

    row.refresh_from_db()
    assert (row.status, bool(row.broker_id)) == ("working", True)
    assert len(bench.broker.orders(status="open")) == 1
    assert not any("orphan" in line for line in agreement.differences)


def test_the_stop_of_an_orphan_that_never_came_is_sent_again_under_another_name(bench):
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "byhand")
    bench.venue.fail_next("POST", "/v2/orders", "lost_before")
    agreement.compare()
    posts = bench.venue.posts()
    agreement.compare()
    assert bench.venue.posts() == posts, "not before it is known to be absent"

    for _ in range(3):
        bench.step(31_000)
        agreement.compare()

    first, second = ExternalOrder.objects.filter(kind="shelter", side="sell", limit__isnull=False)
    assert (first.status, second.status) == ("abandoned", "working")
    assert second.client_order_id == f"{first.client_order_id}-2"


# --- command and page -----------------------------------------------------------------------------


def test_the_command_shows_what_differs_and_takes_it_over(bench):
    out = StringIO()
    call_command("adopt", stdout=out)
    assert "nothing differs" in out.getvalue()
    agreement = an_agreement(bench)
    by_hand(bench, "buy", 5, "byhand")
    agreement.compare()
    number = Difference.objects.get().pk

    call_command("adopt", stdout=out)
    assert f"manage.py adopt {number} --reason" in out.getvalue()
    with pytest.raises(CommandError, match="needs a reason"):
        call_command("adopt", str(number))
    call_command("adopt", str(number), reason="mine", stdout=out)

    bench.mono_s += 3
    agreement.on_process_time()
    assert agreement.doubt == ""


def test_the_system_page_shows_it_and_takes_the_reason(bench, admin_client: Client):
    an_agreement(bench).compare()
    assert b"Books and broker differ" not in admin_client.get("/system/").content
    by_hand(bench, "buy", 5, "<b>byhand</b>")
    an_agreement(bench).compare()

    page = admin_client.get("/system/").content.decode()
    assert "SPY: books 0 shares, broker 5" in page
    assert "<b>byhand</b>" not in page
    row = Difference.objects.get(open_key__isnull=False)
    admin_client.post("/system/adopt/", {"difference": row.pk, "reason": " "})
    row.refresh_from_db()
    assert row.acknowledged_at is None
    admin_client.post("/system/adopt/", {"difference": row.pk, "reason": "mine"})
    row.refresh_from_db()

    assert (row.actor, row.reason) == ("admin", "mine")
    assert an_agreement(bench).compare()
