"""The books in the database: services, selectors, the guard on written rows."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from accounts import check, selectors, services
from accounts.errors import AppendOnlyViolation, ConflictingEntry, DayNotClosable, NotRecorded
from accounts.models import Account, DayClose, JournalEntry, Posting
from accounts.models import Fill as FillRow
from tests.integration.accounts_builders import CASH, DAY, an_account, crash_after, record
from tests.unit.books import DAYS

pytestmark = [pytest.mark.db, pytest.mark.django_db]


def a_round_trip(account: Account, *, day: date = DAY, price: str = "44.93") -> None:
    record(account, f"in-{day}", session_date=day, fee=Decimal("0.02"))
    record(
        account, f"out-{day}", session_date=day, side="sell", price=Decimal(price), ts_ns=2,
        order_ref="o2", fee=Decimal("0.03"),
    )  # fmt: skip


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


def test_what_is_not_understood_is_flagged_until_it_is(account):
    facts = {"amount": Decimal(7), "ts_ns": 1, "session_date": DAY}
    services.record_cash(account, source_id="a1", kind="suspense", **facts)
    assert check.check(account) == ["suspense holds 7.000000"]

    services.reverse(account, source_key="cash:a1", reason="it was a dividend", ts_ns=2)
    services.record_cash(account, source_id="a1 as income", kind="income", **facts)

    assert check.check(account) == []
    assert selectors.day_summary(account, DAY).income == 7


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


def a_split(account: Account, **changes) -> services.Recorded:
    facts = {
        "source_id": "AIG:1", "symbol": "AIG", "shares": 10, "ts_ns": 5, "session_date": DAY,
        "reason": "SPLIT 10",
    }  # fmt: skip
    return services.record_split(account, **(facts | changes))


def test_a_split_brings_shares_and_no_money(account):
    record(account)

    made = a_split(account)

    held = selectors.positions(account)["AIG"]
    assert (held.quantity, held.cost, held.average_price) == (
        20, Decimal("447.30"), Decimal("22.365"),
    )  # fmt: skip
    assert (made.entry.kind, made.entry.reason) == ("split", "SPLIT 10")
    assert selectors.day_summary(account, DAY).fills == 1
    assert check.check(account) == []


def test_a_split_told_again_is_one_and_with_other_facts_refused(account):
    record(account)
    a_split(account)

    assert a_split(account).created is False
    with pytest.raises(ConflictingEntry):
        a_split(account, shares=20)
    with pytest.raises(ValueError, match="reason"):
        a_split(account, source_id="AIG:2", reason="")
    assert selectors.positions(account)["AIG"].quantity == 20


def test_a_split_can_be_reversed(account):
    record(account)
    before = selectors.balances(account)
    a_split(account)

    services.reverse(account, source_key="fill:split:AIG:1", reason="not ours", ts_ns=9)

    standing = {key: sums for key, sums in selectors.balances(account).items() if any(sums)}
    assert standing == before
    assert check.check(account) == []


def test_a_fill_from_before_a_split_that_comes_late_is_split_as_well(account):
    record(account)
    a_split(account)
    record(account, "s1", side="sell", quantity=20, price=Decimal(30), ts_ns=6)

    record(account, "e0", ts_ns=0, price=Decimal(50))

    # 20 shares became 30, and 20 of them are sold: 15 of the older lot, 5 of the other
    assert selectors.realized_pnl(account) == 600 - 500 - Decimal("447.30") / 3
    assert selectors.positions(account)["AIG"].quantity == 10
    assert check.check(account) == []


def test_a_bust_after_a_split_leaves_what_the_split_brought(account):
    record(account)
    a_split(account)

    services.reverse(account, source_key="fill:e1", reason="bust", ts_ns=9)

    held = selectors.positions(account)["AIG"]
    assert (held.quantity, held.cost) == (10, 0)
    assert check.check(account) == []


def test_a_late_fill_of_a_closed_day_is_booked_after_it_with_the_reason(account):
    a_round_trip(account)
    closed = services.close_day(account, session_date=DAY)

    entry = record(account, "late", ts_ns=0, price=Decimal("44.00")).entry

    assert entry.session_date == DAY + timedelta(days=1)
    assert entry.reason == f"{DAY} was closed"
    assert selectors.day_summary(account, DAY).realized == closed.realized_usd == Decimal(2)
    assert check.check(account) == []


def test_a_copy_of_the_account_from_before_the_close_respects_it(account):
    stale = Account.objects.get(pk=account.pk)
    services.close_day(account, session_date=DAY)

    assert record(stale).entry.session_date > DAY


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
