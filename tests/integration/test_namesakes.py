"""Orders of today that have our names and are not this run's: another run's, or forgotten ones."""

import pytest
from django.db import connection

from accounts import check as books_check
from accounts import selectors as booksel
from execution import reconcile, selectors
from execution.hub import namesakes
from execution.models import Activity, BrokerEvent, Difference, Order, Run, Trade
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench
from tests.integration.test_adoption import account, acknowledge, an_agreement
from tests.integration.test_hub_round_inputs import a_hub, frozen, with_candidate
from tests.integration.test_safety_venue import reach_the_target
from tests.unit.domain_builders import K

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@pytest.fixture
def bench() -> Bench:
    return Bench.make()


def closed_trade(bench: Bench) -> None:
    bench.open()
    reach_the_target(bench)
    bench.step(0)
    bench.step(500)
    assert bench.trade().state == T.CLOSED


# --- a database that is older than the broker -----------------------------------------------------


def forget_the_trade() -> None:
    tables = (
        "execution_orderattempt", "execution_brokerref", "execution_brokerevent", "execution_order",
        "execution_trade", "execution_decision", "execution_round",
    )  # fmt: skip
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - the names above
        cursor.execute(
            "DELETE FROM accounts_posting WHERE entry_id IN"
            " (SELECT id FROM accounts_journalentry WHERE kind='fill')"
        )
        cursor.execute("DELETE FROM accounts_fill")
        cursor.execute("DELETE FROM accounts_journalentry WHERE kind='fill'")


def test_case_46_a_restored_database_takes_over_what_it_has_forgotten(bench):
    closed_trade(bench)
    forget_the_trade()
    bench.restart()

    names = namesakes.recognize(bench.desk)
    agreement = an_agreement(bench)
    assert not agreement.compare()

    assert len(names) == 1
    assert names[0].endswith("-s1-t1-e")
    assert "before a backup" in Activity.objects.filter(level="warning")[0].text
    assert Difference.objects.get().body["told"][-1].endswith("explain it exactly")
    acknowledge("restored the backup of the morning")
    assert agreement.compare()
    assert booksel.cash(account()) == bench.broker.account().cash
    assert books_check.check(account()) == []
    bench.venue.quote("20.04", "20.06")
    bench.fire()
    assert "-s2-t1-e" in bench.entry().client_order_id


# --- another run of the same account and day ------------------------------------------------------


def another_run(bench: Bench) -> None:
    """A run with a database of its own: nothing here knows what the first one did."""
    closed_trade(bench)
    forget_the_trade()
    with connection.cursor() as cursor:
        cash = bench.broker.account().cash
        micros = int(cash * 1_000_000)
        cursor.execute("UPDATE accounts_posting SET amount_usd=%s WHERE ledger='cash'", [micros])
        cursor.execute("UPDATE accounts_posting SET amount_usd=%s WHERE ledger<>'cash'", [-micros])
        cursor.execute("UPDATE accounts_journalentry SET occurred_ns=%s", [bench.venue.now_ns])
    bench.venue.quote("20.04", "20.06")
    bench.restart()


def send_the_next_round(bench: Bench) -> None:
    (order_id,) = bench.decide(K + 1)
    bench.send(order_id)
    bench.trader.settle()


def test_slots_that_another_run_used_today_are_taken(bench):
    another_run(bench)

    namesakes.recognize(bench.desk)
    assert an_agreement(bench).compare(), "what it did is in our opening balance"
    bench.fire()
    bench.step(150)
    bench.step(150)

    assert "-s2-t1-e" in bench.entry().client_order_id
    assert (bench.trade().state, bench.held_at_venue()) == (T.OPEN_PROTECTED, 298)


def test_what_another_run_entered_today_counts_for_the_days_limit(bench):
    another_run(bench)
    bench.parameters["max_trades_per_day"] = 1
    Run.objects.update(parameters={"1": bench.parameters})

    namesakes.recognize(bench.desk)

    assert frozen(a_hub(bench), with_candidate(bench)).trades_today == 1
    (order_id,) = bench.decide()  # had it been fired all the same
    order = bench.send(order_id)
    assert (order.status, order.denied_code) == ("denied", "entries_today")
    assert bench.venue.posts() == 1, "the other run's"


def test_an_order_that_is_older_than_our_attempt_is_never_adopted(bench):
    another_run(bench)
    bench.venue.advance(5_000)
    bench.venue.quote("20.04", "20.06")

    send_the_next_round(bench)
    bench.step(500)

    entry = bench.entry()
    assert (entry.status, entry.filled_quantity, entry.trade.state) == ("refused", 0, T.REJECTED)
    assert "older order that is not ours" in entry.reason
    assert selectors.has_unresolved_order(bench.run), "entries wait for a person"
    assert account().fills.count() == 0
    assert reconcile.reconcile(bench.trader).differences[0].startswith("ABCD: an order named as")
    assert not BrokerEvent.objects.filter(order__isnull=False).exists()


def test_an_attempt_that_was_lost_is_not_taken_for_an_older_order_of_its_name(bench):
    another_run(bench)
    bench.venue.advance(5_000)
    bench.venue.quote("20.04", "20.06")
    bench.venue.fail_next("POST", "/v2/orders", "lost_before")

    send_the_next_round(bench)
    for _ in range(4):
        bench.process_time(1)

    assert bench.entry().status == "refused"
    assert Trade.objects.get().state == T.REJECTED
    assert Order.objects.get().filled_quantity == 0
