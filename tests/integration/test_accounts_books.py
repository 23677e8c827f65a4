"""The books in the database: services, selectors, the guard on written rows, concurrency."""

import contextlib
import threading
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from accounts import check, selectors, services
from accounts.domain.ledger import Balances, Fill, Ledger
from accounts.domain.money import to_micros
from accounts.errors import AppendOnlyViolation, ConflictingEntry, DayNotClosable, NotRecorded
from accounts.models import Account, DayClose, JournalEntry, Posting
from accounts.models import Fill as FillRow
from tests.unit.books import DAYS
from tests.unit.ledger_machine import LedgerMachine, as_decimal

pytestmark = [pytest.mark.db, pytest.mark.django_db]

DAY = DAYS[0]
CASH = Decimal(100_000)


def an_account(run_id: str = "run-1", cash: Decimal = CASH) -> Account:
    return services.open_account(number="PA1", run_id=run_id, cash=cash, session_date=DAY, ts_ns=0)


def record(account: Account, execution_id: str = "e1", **changes) -> services.Recorded:
    """Book 10 AIG bought at 44.73, unless told otherwise."""
    facts = {
        "order_ref": "o1",
        "symbol": "AIG",
        "side": "buy",
        "quantity": 10,
        "price": Decimal("44.73"),
        "ts_ns": 1,
        "session_date": DAY,
    }
    return services.record_fill(account, execution_id=execution_id, **(facts | changes))


def a_round_trip(account: Account, *, day: date = DAY, price: str = "44.93") -> None:
    record(account, f"in-{day}", session_date=day, fee=Decimal("0.02"))
    record(
        account, f"out-{day}", session_date=day, side="sell", price=Decimal(price), ts_ns=2,
        order_ref="o2", fee=Decimal("0.03"),
    )  # fmt: skip


def crash_after(write: Callable[[], object]) -> None:
    """Write, then end the transaction as a crash would."""
    with contextlib.suppress(Crash), transaction.atomic():
        write()
        raise Crash


class Crash(Exception):
    pass


@pytest.fixture
def account() -> Account:
    return an_account()


def test_opening_twice_books_the_cash_once(account):
    again = an_account(cash=Decimal(5))

    assert again == account
    assert selectors.cash(account) == CASH


def test_the_same_number_in_another_run_is_another_account(account):
    other = an_account("run-2")
    record(account)

    assert other != account
    assert selectors.positions(other) == {}


def test_a_round_trip_is_in_cash_profit_and_summary(account):
    a_round_trip(account)

    assert selectors.cash(account) == Decimal("100001.95")
    assert selectors.positions(account) == {}
    assert selectors.realized_pnl(account, DAY) == Decimal(2)
    assert selectors.fees(account) == Decimal("0.05")
    summary = selectors.day_summary(account, DAY)
    assert (summary.fills, summary.bought, summary.sold) == (2, Decimal("447.3"), Decimal("449.3"))
    assert (summary.net, summary.cash) == (Decimal("1.95"), Decimal("100001.95"))
    assert check.check(account) == []


def test_a_round_trip_is_listed_from_flat_to_flat(account):
    a_round_trip(account)
    record(account, "open", ts_ns=3)

    (trip,) = selectors.round_trips(account, DAY)

    assert (trip.symbol, trip.quantity, trip.net) == ("AIG", 10, Decimal("1.95"))
    assert trip.execution_ids == (f"in-{DAY}", f"out-{DAY}")
    assert selectors.round_trips(account, DAYS[1]) == []


def test_an_open_position_is_marked(account):
    record(account)

    marks = {"AIG": Decimal("45.00")}
    assert selectors.unrealized(account, marks) == Decimal("2.7")
    assert selectors.equity(account, marks) == CASH + Decimal("2.7")
    assert selectors.positions(account)["AIG"].average_price == Decimal("44.73")
    with pytest.raises(KeyError):
        selectors.unrealized(account, {})


def test_the_same_execution_twice_is_one_fill(account):
    first = record(account)
    second = record(account)

    assert (first.created, second.created) == (True, False)
    assert first.entry == second.entry
    assert selectors.positions(account)["AIG"].quantity == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 11},
        {"price": Decimal("44.74")},
        {"side": "sell"},
        {"order_ref": "o9"},
        {"ts_ns": 2},
        {"symbol": "BAC"},
    ],
)
def test_the_same_execution_with_other_facts_is_refused(account, changes):
    record(account)

    with pytest.raises(ConflictingEntry, match="fill:e1"):
        record(account, **changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"quantity": 0}, ValueError),
        ({"quantity": -1}, ValueError),
        ({"price": Decimal("0.0000001")}, ValueError),
        ({"price": Decimal(0)}, ValueError),
        ({"price": 44.73}, TypeError),
        ({"side": "hold"}, KeyError),
    ],
)
def test_nonsense_books_nothing(account, changes, error):
    with pytest.raises(error):
        record(account, **changes)

    assert account.entries.count() == 1  # the opening


def test_a_bust_gives_back_what_the_fill_took(account):
    before = selectors.balances(account)
    record(account)

    first = services.reverse(account, source_key="fill:e1", reason="bust", ts_ns=5)
    second = services.reverse(account, source_key="fill:e1", reason="bust", ts_ns=5)

    assert (first.created, second.created) == (True, False)
    after = {key: sums for key, sums in selectors.balances(account).items() if any(sums)}
    assert after == before
    assert selectors.day_summary(account, DAY).fills == 0
    assert check.check(account) == []


def test_a_fill_delivered_again_after_its_bust_stays_busted(account):
    record(account)
    services.reverse(account, source_key="fill:e1", reason="bust", ts_ns=5)

    assert record(account).created is False
    assert selectors.positions(account) == {}


def test_a_correction_is_a_bust_and_a_new_fill(account):
    record(account)

    services.correct_fill(
        account, previous_id="e1", reason="corrected by the venue", execution_id="e1b",
        order_ref="o1", symbol="AIG", side="buy", quantity=10, price=Decimal("44.70"), ts_ns=1,
        session_date=DAY,
    )  # fmt: skip

    assert selectors.positions(account)["AIG"].cost == Decimal(447)
    assert check.check(account) == []


def test_a_bust_of_something_unknown_or_without_a_reason_is_refused(account):
    record(account)
    services.reverse(account, source_key="fill:e1", reason="bust", ts_ns=5)

    with pytest.raises(NotRecorded):
        services.reverse(account, source_key="fill:e9", reason="bust", ts_ns=5)
    with pytest.raises(ValueError, match="reason"):
        services.reverse(account, source_key="fill:e1", reason="", ts_ns=5)
    with pytest.raises(ValueError, match="is a reversal"):
        services.reverse(account, source_key="reverse:fill:e1", reason="undo", ts_ns=5)


def test_cash_movements_land_in_named_accounts(account):
    for kind, amount in (("transfer", 500), ("income", 3), ("fee", -2), ("suspense", 7)):
        services.record_cash(
            account, source_id=kind, kind=kind, amount=Decimal(amount), ts_ns=1, session_date=DAY
        )

    summary = selectors.day_summary(account, DAY)
    assert (summary.transfers, summary.income, summary.fees, summary.suspense) == (500, 3, 2, 7)
    assert selectors.cash(account) == CASH + 508
    assert check.check(account) == []


def test_a_cash_movement_can_be_reversed(account):
    services.record_cash(
        account, source_id="d1", kind="income", amount=Decimal(3), ts_ns=1, session_date=DAY
    )
    services.reverse(account, source_key="cash:d1", reason="dividend canceled", ts_ns=2)

    assert selectors.cash(account) == CASH
    assert check.check(account) == []


def test_the_same_cash_with_another_amount_is_refused(account):
    facts = {"source_id": "d1", "kind": "income", "ts_ns": 1, "session_date": DAY}
    services.record_cash(account, amount=Decimal(3), **facts)

    assert services.record_cash(account, amount=Decimal(3), **facts).created is False
    with pytest.raises(ConflictingEntry):
        services.record_cash(account, amount=Decimal(4), **facts)


def test_adopted_shares_cost_no_cash(account):
    services.adopt_position(
        account, source_id="a1", symbol="IBM", quantity=5, price=Decimal(180), ts_ns=1,
        session_date=DAY,
    )  # fmt: skip

    assert selectors.cash(account) == CASH
    assert selectors.positions(account)["IBM"].quantity == 5
    assert check.check(account) == []


def test_a_late_fill_of_a_closed_day_is_booked_after_it_with_the_reason(account):
    a_round_trip(account)
    closed = services.close_day(account, session_date=DAY)

    entry = record(account, "late", ts_ns=0, price=Decimal("44.00")).entry

    assert entry.session_date == DAY + timedelta(days=1)
    assert entry.reason == f"{DAY} was closed"
    assert selectors.day_summary(account, DAY).realized == closed.realized_usd == Decimal(2)
    assert check.check(account) == []


def test_days_close_in_order_and_once(account):
    services.close_day(account, session_date=DAYS[1])

    assert services.close_day(account, session_date=DAYS[1]).session_date == DAYS[1]
    with pytest.raises(DayNotClosable):
        services.close_day(account, session_date=DAYS[0])


def test_a_day_with_later_postings_does_not_close(account):
    a_round_trip(account, day=DAYS[1])

    with pytest.raises(DayNotClosable):
        services.close_day(account, session_date=DAYS[0])


@pytest.mark.parametrize("model", [JournalEntry, Posting, FillRow, DayClose])
def test_written_rows_are_never_changed(account, model):
    a_round_trip(account)
    services.close_day(account, session_date=DAY)
    row = model.objects.first()

    for change in (
        lambda: row.save(),
        lambda: row.delete(),
        lambda: model.objects.update(account=account),
        lambda: model.objects.all().delete(),
        lambda: model.objects.bulk_update([row], ["account"]),
        lambda: model.objects.update_or_create(pk=row.pk, defaults={"account": account}),
        lambda: model.objects.bulk_create([row], ignore_conflicts=True),
        lambda: model._base_manager.update(account=account),
        lambda: account.entries.all().delete(),
    ):
        with pytest.raises(AppendOnlyViolation):
            change()


def test_a_row_with_a_written_key_is_not_an_update(account):
    written = account.entries.get()

    with pytest.raises(IntegrityError), transaction.atomic():
        JournalEntry(
            pk=written.pk, account=account, source_key="x", kind="fee", occurred_ns=0,
            session_date=DAY,
        ).save()  # fmt: skip


def test_an_account_with_entries_is_not_deleted(account):
    with pytest.raises((IntegrityError, AppendOnlyViolation)):
        account.delete()


def test_money_is_exact_in_the_column(account):
    price = Decimal("9223372.036854")
    record(account, quantity=1, price=price)

    row = FillRow.objects.get()
    assert row.price_usd == price
    assert str(row.price_usd) == str(price)
    assert FillRow.objects.filter(price_usd=price, price_usd__gt=Decimal("9223372.036853")).exists()


def test_a_crash_after_any_event_continues_to_the_same_books(account):
    events = [
        ("a", {"ts_ns": 5}),
        ("b", {"ts_ns": 3, "side": "sell", "quantity": 4, "price": Decimal("45.10")}),
        ("c", {"ts_ns": 1, "price": Decimal("44.10")}),
        ("d", {"ts_ns": 9, "side": "sell", "quantity": 16, "price": Decimal("44.90")}),
    ]
    for execution_id, facts in events:
        record(account, execution_id, **facts)
    for crash_at in range(len(events)):
        other = an_account(f"crash-{crash_at}")
        for number, (execution_id, facts) in enumerate(events):
            if number == crash_at:
                crash_after(lambda: record(other, execution_id, **facts))  # noqa: B023 - now
            record(other, execution_id, **facts)

        assert selectors.balances(other) == selectors.balances(account)


class DatabaseBooks:
    """The services, as the state machine drives them."""

    def __init__(self) -> None:
        self.account = services.open_account(
            number="PA1", run_id="machine", cash=Decimal(0), session_date=DAY, ts_ns=0
        )
        self._balances: Balances | None = None

    def record_fill(self, fill: Fill) -> None:
        self._balances = None
        services.record_fill(
            self.account,
            execution_id=fill.execution_id,
            order_ref="o1",
            symbol=fill.symbol,
            side="buy" if fill.quantity > 0 else "sell",
            quantity=abs(fill.quantity),
            price=as_decimal(fill.price),
            ts_ns=fill.ts_ns,
            session_date=fill.day,
            fee=as_decimal(fill.fee),
        )

    def bust(self, execution_id: str) -> None:
        self._balances = None
        services.reverse(self.account, source_key=f"fill:{execution_id}", reason="bust", ts_ns=1)

    def record_cash(self, source_id: str, kind: str, amount: int) -> None:
        self._balances = None
        services.record_cash(
            self.account,
            source_id=source_id,
            kind=kind,
            amount=as_decimal(amount),
            ts_ns=1,
            session_date=DAY,
        )

    def close_day(self, day: date) -> bool:
        try:
            services.close_day(self.account, session_date=day)
        except DayNotClosable:
            return False
        return True

    def crash(self) -> None:
        before = self.account.postings.count()
        crash_after(lambda: self.record_cash("lost", "transfer", 1))
        self._balances = None
        assert self.account.postings.count() == before

    def balances(self) -> Balances:
        if self._balances is None:
            rows = selectors.balances(self.account).items()
            self._balances = {
                key: (to_micros(amount), quantity)
                for key, (amount, quantity) in rows
                if amount or quantity
            }
        return self._balances

    def realized_on(self, day: date) -> int:
        return to_micros(selectors.realized_pnl(self.account, day))

    def violations(self) -> list[str]:
        return check.check(self.account)


class DatabaseMachine(LedgerMachine):
    """Each life in a transaction that is rolled back."""

    def open_books(self) -> DatabaseBooks:
        self.life = transaction.atomic()
        self.life.__enter__()
        return DatabaseBooks()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            transaction.set_rollback(True)
            self.life.__exit__(None, None, None)


def test_the_database_agrees_with_the_obvious_model_whatever_happens(db):
    examples = max(settings.default.max_examples // 10, 1)

    run_state_machine_as_test(
        DatabaseMachine, settings=settings(max_examples=examples, stateful_step_count=20)
    )


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_lose_and_double_nothing():
    account = an_account()
    writers, executions = 4, 6
    failures: list[BaseException] = []
    go = threading.Barrier(writers)

    def write(writer: int) -> None:
        try:
            go.wait(10)
            for number in range(executions):  # every execution comes from every writer
                turn = (number + writer) % executions
                side = "buy" if turn % 2 else "sell"
                record(account, f"e{turn}", side=side, ts_ns=turn, price=Decimal(40 + turn))
        except BaseException as exc:  # noqa: BLE001 - shown by the main thread
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert account.fills.count() == executions
    assert selectors.balances(account)[Ledger.POSITION, "AIG"][1] == 0
    assert check.check(account) == []
