"""Dividends, fees and transfers of the broker's account reach the books by themselves."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts import check as books_check
from accounts import selectors as books
from accounts.domain.ledger import Ledger
from accounts.models import Account
from execution import reconcile
from execution.models import Activity, Run
from execution.services import cash
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


def test_what_moved_before_the_run_is_in_its_opening_balance(bench: Bench) -> None:
    told(bench, "DIV", "9.99")
    Run.objects.filter(pk=bench.run.pk).update(started_at=datetime(2026, 11, 21, tzinfo=UTC))
    bench.restart()

    assert cash.take_in(bench.run, bench.broker, now_ns=1) == 0
