"""`check_books` sees each way in which books can be wrong; the admin only looks."""

import json
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from accounts import check, services
from accounts.models import Account, JournalEntry, Posting
from tests.unit.books import DAYS

pytestmark = [pytest.mark.db, pytest.mark.django_db]

DAY = DAYS[0]


@pytest.fixture
def account() -> Account:
    """Books with an opening, a round trip, an open position, a bust and a closed day."""
    account = services.open_account(
        number="PA1", run_id="run-1", cash=Decimal(1000), session_date=DAY, ts_ns=0
    )
    for number, side in enumerate(("buy", "sell", "buy", "buy")):
        services.record_fill(
            account, execution_id=f"e{number}", order_ref="o1", symbol="AIG", side=side,
            quantity=5, price=Decimal(40 + number), ts_ns=number, session_date=DAY,
        )  # fmt: skip
    services.reverse(account, source_key="fill:e3", reason="bust", ts_ns=9)
    services.close_day(account, session_date=DAY)
    return account


#: What someone with a database client could do, and a word of what must be said about it.
DAMAGE = {
    "a leg changed": (
        "UPDATE accounts_posting SET amount_usd = amount_usd + 1 WHERE ledger = 'realized_pnl'",
        "off by 0.000001",
    ),
    "a leg deleted": (
        "DELETE FROM accounts_posting WHERE ledger = 'equity_opening'",
        "cash:opening: has 1 legs",
    ),
    "an empty leg": (
        "UPDATE accounts_posting SET amount_usd = 0, quantity = 0 WHERE ledger = 'realized_pnl'",
        "an empty leg on realized_pnl",
    ),
    "shares changed": (
        "UPDATE accounts_posting SET quantity = quantity + 1 WHERE quantity = -5",
        "position AIG: posted",
    ),
    "both sides changed": (
        "UPDATE accounts_posting SET amount_usd = amount_usd * 2 WHERE entry_id = "
        "(SELECT id FROM accounts_journalentry WHERE source_key = 'cash:opening')",
        "its cash went from",
    ),
    "a fill deleted": (
        "DELETE FROM accounts_fill WHERE execution_id = 'e2'",
        "fill:e2: an entry without its fill",
    ),
    "a price changed": (
        "UPDATE accounts_fill SET price_usd = price_usd + 10000 WHERE execution_id = 'e0'",
        "realized_pnl AIG: posted",
    ),
    "an order forgotten": (
        "UPDATE accounts_fill SET order_ref = '' WHERE execution_id = 'e0'",
        "e0: a fill without an order",
    ),
    "a reason removed": (
        "UPDATE accounts_journalentry SET reason = '' WHERE kind = 'reversal'",
        "without its entry or its reason",
    ),
    "a reversal redirected": (
        "UPDATE accounts_journalentry SET reverses_id = "
        "(SELECT id FROM (SELECT id FROM accounts_journalentry WHERE source_key = 'fill:e2') x) "
        "WHERE kind = 'reversal'",
        "posted",
    ),
    "a fill dated elsewhere": (
        "UPDATE accounts_fill SET session_date = '2013-10-08' WHERE execution_id = 'e2'",
        "booked on another day without a reason",
    ),
    "a closed day added to": (
        "UPDATE accounts_dayclose SET postings = postings - 1",
        "number of postings",
    ),
    "a day reopened": (
        "UPDATE accounts_account SET closed_through = NULL",
        "closed through None",
    ),
}


def test_sound_books_have_no_violations(account):
    assert check.check(account) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_seen(account, name):
    sql, word = DAMAGE[name]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount > 0

    assert any(word in violation for violation in check.check(account)), check.check(account)


def test_books_and_broker_are_compared_to_the_cent_and_the_share(account):
    same = check.differences(account, cash=Decimal("795.001"), positions={"AIG": 5, "BAC": 0})
    other = check.differences(account, cash=Decimal("795.01"), positions={"BAC": 1})

    assert same == []
    assert other == [
        "cash: books 795.00, broker 795.01",
        "AIG: books 5 shares, broker 0",
        "BAC: books 0 shares, broker 1",
    ]


def test_the_command_says_that_the_books_hold(account):
    out = StringIO()
    call_command("check_books", "--json", stdout=out)

    body = json.loads(out.getvalue().splitlines()[-1])
    assert body["ok"] is True
    (report,) = body["accounts"]
    assert (report["account"], report["cash"]) == ("PA1", "795.000000")
    assert report["positions"] == {"AIG": 5}
    assert report["violations"] == []


def test_the_command_fails_with_the_violation_in_words(account):
    with connection.cursor() as cursor:
        cursor.execute(DAMAGE["shares changed"][0])
    out = StringIO()

    with pytest.raises(CommandError, match="broken, first: books: position AIG"):
        call_command("check_books", "--json", stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1])["ok"] is False


def test_the_command_runs_the_checks_of_the_apps_above(account, monkeypatch):
    monkeypatch.setattr(check, "_registered", {})
    check.register("orders", lambda account: [f"{account.number}: two entries for slot 1"])

    with pytest.raises(CommandError, match="orders: PA1: two entries for slot 1"):
        call_command("check_books", stdout=StringIO())


@pytest.mark.parametrize("option", [("--account", "PA9"), ("--run", "run-9")])
def test_the_command_names_an_account_it_does_not_know(account, option):
    with pytest.raises(CommandError, match=option[1]):
        call_command("check_books", *option, stdout=StringIO())


@pytest.fixture
def staff(client):
    user = get_user_model().objects.create_superuser("operator", password="a long password")
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", ["account", "journalentry", "fill", "dayclose"])
def test_the_admin_shows_the_books_and_changes_nothing(account, staff, name):
    rows = staff.get(reverse(f"admin:accounts_{name}_changelist"))

    assert rows.status_code == 200
    assert staff.get(reverse(f"admin:accounts_{name}_add")).status_code == 403


def test_the_admin_shows_an_entry_with_its_legs(account, staff):
    entry = JournalEntry.objects.get(source_key="fill:e1")
    address = reverse("admin:accounts_journalentry_change", args=[entry.pk])

    page = staff.get(address).content.decode()

    assert "realized_pnl" in page
    assert "-5.000000" in page
    assert staff.post(address, {"reason": "x"}).status_code == 403
    assert Posting.objects.filter(entry=entry).count() == 3
