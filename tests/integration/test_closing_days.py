"""A day that is over is closed in the books, once; what comes later says so."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from accounts import services as books
from accounts.models import Account, DayClose
from execution import reports
from execution.hub.books_watch import BooksWatch
from execution.models import Activity, Order, Run
from execution.services import days
from execution.services.moves import OrderStatus
from tests.fakes.desk import Bench
from tests.unit.domain_builders import CLOSE_NS, DAY
from tradeplane.pages import safety

pytestmark = [pytest.mark.django_db, pytest.mark.db]
LATER_NS = CLOSE_NS + days.AFTER_CLOSE_NS


@pytest.fixture
def bench(settings, tmp_path) -> Bench:
    settings.TRADEPLANE_HOME = tmp_path
    made = Bench.make()
    made.close_at_target()
    return made


def at(ns: int, **fields: object) -> Run:
    Run.objects.update(market_ns=ns, **fields)
    return Run.objects.get()


def watch(bench: Bench, agreed_ns: int | None) -> BooksWatch:
    return BooksWatch(lambda: bench.run, agreed_ns=lambda: agreed_ns)


def shown() -> str:
    return next(line.text for line in safety.lines() if line.key == "days")


def test_the_hub_closes_the_day_when_it_is_over_and_all_agree(bench: Bench) -> None:
    at(LATER_NS)
    assert shown() == f"no day is closed yet; {DAY} is over: it closes when books and broker agree"

    for _ in range(2):
        watch(bench, LATER_NS).look()

    assert DayClose.objects.get().cash_usd == bench.broker.account().cash
    assert Activity.objects.filter(text__startswith=f"{DAY} is closed: +").count() == 1
    assert shown() == f"closed through {DAY}"
    (row,) = reports.sums(reports.report(bench.run.pk), "day")
    assert row["closed"] is True


@pytest.mark.parametrize("why", ["session", "differs", "agreed before", "unresolved", "books"])
def test_a_day_stays_open_while_anything_is_in_doubt(bench: Bench, why: str) -> None:
    at(LATER_NS - 1 if why == "session" else LATER_NS)
    if why == "unresolved":
        Order.objects.filter(purpose="e").update(status=OrderStatus.UNKNOWN)
    agreed = {"differs": None, "agreed before": CLOSE_NS - 1}.get(why, LATER_NS)

    closed = days.close_when_over(Run.objects.get(), agreed_ns=agreed, books_hold=why != "books")

    assert not closed
    assert not DayClose.objects.exists()


def test_what_comes_after_the_close_is_booked_on_the_next_day_and_says_so(bench: Bench) -> None:
    at(LATER_NS)
    watch(bench, LATER_NS).look()

    books.record_cash(
        Account.objects.get(), source_id="night", kind="fee", amount=Decimal("-0.02"),
        ts_ns=CLOSE_NS + 3600 * 10**9, session_date=DAY, reason="FEE",
    )  # fmt: skip

    entry = Account.objects.get().entries.get(source_key="cash:night")
    assert (entry.session_date, entry.reason) == (
        DAY + timedelta(days=1), f"FEE; {DAY} was closed",
    )  # fmt: skip
    first, second = reports.sums(reports.report(bench.run.pk), "day")
    assert (first["closed"], first["fees"]) == (True, 0)
    assert (second["closed"], second["fees"]) == (False, Decimal("0.02"))


def test_a_day_nobody_closed_in_the_evening_is_closed_in_the_morning(bench: Bench) -> None:
    morning = DAY + timedelta(days=3)
    run = at(LATER_NS + 10**15, day=morning, open_ns=LATER_NS + 10**16, close_ns=LATER_NS + 10**17)

    assert days.close_when_over(run, agreed_ns=run.market_ns, books_hold=True)
    assert DayClose.objects.get().session_date == DAY
    assert days.due(run) is None


def test_a_run_that_has_not_begun_closes_nothing() -> None:
    run = Run.objects.create(id="r", account_number="PA1", day=date(2026, 11, 20))
    books.open_account(
        number="PA1", run_id="r", cash=Decimal(1), session_date=date(2026, 11, 20), ts_ns=0
    )

    assert days.due(run) is None
