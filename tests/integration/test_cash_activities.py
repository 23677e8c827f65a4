"""Dividends, fees and transfers of the broker's account reach the books by themselves."""

from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import check as books_check
from accounts import selectors as books
from accounts import services
from accounts.domain.ledger import Ledger
from accounts.models import Account
from execution import reconcile
from execution.models import Activity, BrokerEvent, Run
from execution.services import cash, rebuild
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]
STAMP = "20261120150000"


def told(bench: Bench, kind: str, amount: str, number: int = 1, **more: Any) -> None:
    """The broker's cash moves, and its activities say why."""
    row = {
        "id": f"{STAMP}{number:03d}::{number}",
        "activity_type": kind,
        "date": "2026-11-20",
        "net_amount": amount,
        **more,
    }
    bench.venue.engine.account.activities.append(row)
    bench.venue.engine.account.cash += Decimal(amount)


@pytest.fixture
def bench() -> Bench:
    made = Bench.make()
    began = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
    Run.objects.filter(pk=made.run.pk).update(started_at=began)
    made.restart()
    return made


def balance(bench: Bench, name: Ledger) -> Decimal:
    account = Account.objects.get(run_id=bench.run.pk)
    return books.balances(account).get((name, ""), (Decimal(0), 0))[0]


@pytest.mark.parametrize(
    ("kind", "amount", "where"),
    [
        ("DIV", "12.34", Ledger.INCOME),
        ("DIVNRA", "-1.85", Ledger.INCOME),
        ("INT", "0.07", Ledger.INCOME),
        ("CIL", "7.40", Ledger.INCOME),
        ("FEE", "-0.02", Ledger.FEES),
        ("CSD", "500", Ledger.TRANSFERS),
        ("CSW", "-500", Ledger.TRANSFERS),
        ("NEWWORD", "3.21", Ledger.SUSPENSE),
    ],
)
def test_cash_that_moved_without_an_order_is_booked_by_its_kind(
    bench: Bench, kind: str, amount: str, where: Ledger
) -> None:
    told(bench, kind, amount, symbol="AIG")

    findings = reconcile.reconcile(bench.trader)

    assert findings.differences == []
    assert balance(bench, where) == -Decimal(amount)
    assert f"{kind} AIG: {amount} USD booked" in Activity.objects.first().text


def test_told_again_it_is_booked_once(bench: Bench) -> None:
    told(bench, "DIV", "12.34")
    told(bench, "FEE", "-0.01", number=2)
    reconcile.reconcile(bench.trader)
    told(bench, "DIV", "1.00", number=3)

    assert reconcile.reconcile(bench.trader).differences == []
    assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0
    assert balance(bench, Ledger.INCOME) == Decimal("-13.34")


def test_an_unknown_word_is_shown_by_the_check_of_the_books(bench: Bench) -> None:
    told(bench, "NEWWORD", "3.21")
    reconcile.reconcile(bench.trader)

    (line,) = books_check.check(Account.objects.get(run_id=bench.run.pk))
    assert line == "suspense holds 3.210000"
    assert Activity.objects.first().level == "alarm"


def test_shares_of_a_split_are_said_and_not_made_up(bench: Bench) -> None:
    told(bench, "SPLIT", "0", symbol="AIG", qty="10")
    bench.venue.engine.account.cash += Decimal("0.50")  # and cash that nobody explains

    findings = reconcile.reconcile(bench.trader)

    assert findings.differences
    assert "SPLIT AIG: 10 shares came without an order" in Activity.objects.first().text


def test_a_row_without_money_or_shares_is_said_once(bench: Bench) -> None:
    told(bench, "NC", "0", symbol="AIG")

    for _ in range(2):
        assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0

    assert Activity.objects.filter(level="alarm", text__startswith="NC AIG").count() == 1


def entered(bench: Bench, stamp: str, kind: str, amount: str, *, moved: bool = True) -> None:
    """An activity with this New York time in its id; unless `moved`, its cash was there before."""
    account = bench.venue.engine.account
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    row = {"id": f"{stamp}::{kind}", "activity_type": kind, "date": day, "net_amount": amount}
    account.activities.append(row)
    account.cash += Decimal(amount) if moved else 0


def take_in(bench: Bench) -> int:
    return cash.take_in(bench.run, bench.broker, now_ns=bench.venue.now_ns)


MIDNIGHT = "20261120000000000"


@pytest.mark.parametrize("stamp", ["20261120113000000", MIDNIGHT])
def test_what_moved_on_the_day_of_the_start_is_booked(bench: Bench, stamp: str) -> None:
    """The run began at 9 in New York; of a fee the broker often gives no more than its date."""
    entered(bench, stamp, "FEE", "-0.02")

    for _ in range(2):
        assert reconcile.reconcile(bench.trader).differences == []

    assert balance(bench, Ledger.FEES) == Decimal("0.02")


def test_what_moved_before_the_run_is_in_its_opening_balance(bench: Bench) -> None:
    entered(bench, MIDNIGHT, "DIV", "9.99", moved=False)
    entered(bench, "20261120085900000", "INT", "0.07", moved=False)

    assert take_in(bench) == 0
    assert reconcile.reconcile(bench.trader).differences == []
    assert not Activity.objects.filter(level="alarm").exists()


def test_what_was_told_with_the_opening_cash_is_not_booked_with_a_later_fee(bench: Bench) -> None:
    entered(bench, MIDNIGHT, "DIV", "9.99", moved=False)
    cash.open_books(bench.run, bench.broker, now_ns=bench.venue.now_ns)
    entered(bench, MIDNIGHT, "FEE", "-0.02")

    assert reconcile.reconcile(bench.trader).differences == []

    assert balance(bench, Ledger.FEES) == Decimal("0.02")
    assert balance(bench, Ledger.INCOME) == 0


def test_a_fee_that_is_dated_some_days_back_is_booked(bench: Bench) -> None:
    cash.open_books(bench.run, bench.broker, now_ns=bench.venue.now_ns)
    entered(bench, "20261118000000000", "FEE", "-0.02")

    assert reconcile.reconcile(bench.trader).differences == []


def test_what_does_not_explain_the_cash_is_said_once_and_not_booked(bench: Bench) -> None:
    entered(bench, MIDNIGHT, "DIV", "9.99", moved=False)
    bench.venue.engine.account.cash += Decimal("0.50")

    for _ in range(2):
        assert reconcile.reconcile(bench.trader).differences

    assert balance(bench, Ledger.INCOME) == 0
    said = Activity.objects.filter(level="alarm", text__contains="may be in the opening cash")
    assert said.count() == 1


def test_the_opening_cash_is_read_between_two_equal_lists_of_activities(bench: Bench) -> None:
    account, reads = bench.broker.account, []

    def paid_meanwhile() -> Any:
        reads.append(account())
        if len(reads) == 1:
            entered(bench, MIDNIGHT, "DIV", "9.99")
        return reads[-1]

    bench.broker.account = paid_meanwhile  # type: ignore[method-assign]

    opened = cash.open_books(bench.run, bench.broker, now_ns=bench.venue.now_ns)

    assert (len(reads), opened.cash) == (2, Decimal("30009.99"))
    assert bench.run.opening_cash == Decimal("30009.99")
    assert BrokerEvent.objects.get(key=cash.STOCK).raw == {"ids": [f"{MIDNIGHT}::DIV"]}


def test_without_the_activities_a_run_begins_all_the_same(bench: Bench) -> None:
    bench.venue.alter("/v2/account/activities", lambda _: {})

    assert cash.open_books(bench.run, bench.broker, now_ns=1).cash == Decimal(30_000)
    assert not BrokerEvent.objects.exists()


def test_an_amount_finer_than_a_micro_dollar_is_booked_at_the_nearest(bench: Bench) -> None:
    entered(bench, "20261120150000000", "INT", "0.0712345678")

    assert reconcile.reconcile(bench.trader).differences == []
    assert balance(bench, Ledger.INCOME) == Decimal("-0.071235")

    assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0


def rebuilt(bench: Bench) -> list[str]:
    return rebuild.compare(bench.run).differences


def test_the_raw_activities_make_the_same_cash_again(bench: Bench) -> None:
    told(bench, "DIV", "12.34", symbol="AIG")
    told(bench, "FEE", "-0.02", number=2)
    reconcile.reconcile(bench.trader)

    assert BrokerEvent.objects.filter(key__startswith="activity:").count() == 2
    assert rebuilt(bench) == []


def test_a_fee_that_no_activity_made_is_found_by_the_rebuild(bench: Bench) -> None:
    account = Account.objects.get(run_id=bench.run.pk)
    services.record_cash(
        account, source_id="made-up", kind="fee", amount=Decimal(-777), ts_ns=bench.run.open_ns,
        session_date=bench.run.day,
    )  # fmt: skip

    first, *_ = rebuilt(bench)

    assert first.startswith('only in the books: ["posting", "cash:made-up"')
    with pytest.raises(CommandError, match="make other books"):
        call_command("books", "rebuild", "--run", bench.run.pk)


def test_suspense_is_cleared_with_a_reason_and_the_rebuild_is_the_same(bench: Bench) -> None:
    told(bench, "NEWWORD", "3.21")
    reconcile.reconcile(bench.trader)
    (name,) = (one.source_key.removeprefix("cash:") for one in cash.in_suspense(bench.run))

    call_command("books", "settle", "--activity", name, "--as", "income", "--reason", "a rebate")

    account = Account.objects.get(run_id=bench.run.pk)
    assert balance(bench, Ledger.INCOME) == Decimal("-3.21")
    assert books_check.check(account) == []
    assert rebuilt(bench) == []
    assert reconcile.reconcile(bench.trader).differences == []  # told again, it is not booked again
    assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0
    assert "a rebate" in Activity.objects.filter(level="warning").first().text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--as", "income"], "needs a reason"),
        (["--reason", "x"], "say one of"),
        (["--as", "fee", "--reason", "x", "--activity", "other"], "nothing named other"),
    ],
)
def test_what_money_was_is_not_said_by_accident(bench: Bench, more: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("books", "settle", "--activity", "a", *more)


def test_what_people_entered_is_a_fact_of_its_own(bench: Bench) -> None:
    account = Account.objects.get(run_id=bench.run.pk)
    when = {"ts_ns": bench.run.open_ns, "session_date": bench.run.day}
    services.record_cash(
        account, source_id="adjust-1", kind="adjustment", amount=Decimal(5), reason="looked", **when
    )
    services.adopt_position(
        account, source_id="1", symbol="SPY", quantity=5, price=Decimal(50), **when
    )
    services.reverse(account, source_key="cash:adjust-1", reason="no", ts_ns=bench.run.open_ns)

    assert rebuilt(bench) == []


def test_the_rebuild_closes_its_days_where_they_were_closed(bench: Bench) -> None:
    trade = bench.open()
    told(bench, "FEE", "-0.02")
    reconcile.reconcile(bench.trader)
    account = Account.objects.get(run_id=bench.run.pk)
    services.close_day(account, session_date=bench.run.day)
    bench.venue.quote(str(trade.take_profit), str(trade.take_profit + Decimal("0.02")))
    bench.step(0)
    bench.step(500)
    told(bench, "DIV", "1.00", number=2)
    reconcile.reconcile(bench.trader)

    assert account.entries.filter(reason__contains="was closed").count() == 2
    assert rebuilt(bench) == []


def test_a_price_that_was_changed_in_the_books_is_told(bench: Bench) -> None:
    bench.open()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_fill SET price_usd = price_usd + 10000")

    assert [line[:30] for line in rebuilt(bench)] == [
        'only in the books: ["execution'[:30],
        'only from the events: ["execution'[:30],
    ]


def test_cash_from_before_activities_were_kept_gets_an_event_that_says_so(bench: Bench) -> None:
    told(bench, "DIV", "12.34", symbol="AIG", description="ordinary")
    told(bench, "NEWWORD", "1.00", number=2)
    reconcile.reconcile(bench.trader)
    raw = BrokerEvent.objects.filter(key__startswith="activity:")
    raw._raw_delete(raw.db)

    import_module("execution.migrations.0018_raw_activities").copy(apps, None)

    assert set(raw.values_list("source", flat=True)) == {"books"}
    assert rebuilt(bench) == []
    assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0
