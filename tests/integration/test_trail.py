"""`check_books` sees each way in which the trail behind the books can be broken."""

import pytest
from django.db import connection

from accounts.check import check_all
from accounts.models import Account
from execution.hub.books_watch import BooksWatch
from execution.models import Decision, DecisionChain, Figure
from execution.services import figures
from tests.fakes.desk import Bench
from tradeplane.pages import safety

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@pytest.fixture
def closed(settings, tmp_path) -> Bench:
    settings.TRADEPLANE_HOME = tmp_path
    bench = Bench.make()
    bench.close_at_target()
    return bench


#: What someone with a database client could do, by the check that must say so, and its words.
DAMAGE = {
    "raw events deleted": (
        "raw events", "the broker's own words are gone", "DELETE FROM execution_brokerevent",
    ),
    "an execution that was never booked": (
        "raw events", "told by the broker and not in the books",
        "UPDATE accounts_journalentry SET source_key = 'fill:other'"
        " WHERE kind = 'fill' AND order_ref LIKE '%-e'",
    ),
    "decisions deleted": (
        "decisions", "no decision fired it", "DELETE FROM execution_decision",
    ),
    "the last decision changed": (
        "decisions", "not the one that was written last",
        "UPDATE execution_decision SET digest = 'x'",
    ),
    "an order that does not exist": (
        "executions", "its order nonsense does not exist",
        "UPDATE accounts_fill SET order_ref = 'nonsense'",
    ),
    "an execution of another symbol": (
        "executions", "ABCD", "UPDATE accounts_fill SET symbol = 'SPY'",
    ),
    "an order that says other shares": (
        "executions", "filled 1 for",
        "UPDATE execution_order SET filled_quantity = 1 WHERE purpose = 'e'",
    ),
    "a price changed on both sides": (
        "executions", "its executions make",
        "UPDATE accounts_fill SET price_usd = price_usd + 10000",
    ),
    "a trade that says other shares": (
        "slots", "999 bought and 999 sold, its orders",
        "UPDATE execution_trade SET filled_quantity = 999, exit_quantity = 999",
    ),
    "a trade that says other money": (
        "slots", "1.000000 in and", "UPDATE execution_trade SET entry_value = 1000000",
    ),
    "a result that reports would believe": (
        "slots", "its result is 999.000000",
        "UPDATE execution_trade SET realized_pnl = 999000000",
    ),
    "an entry that was sent twice": (
        "attempts", "was sent, and 2 attempts are written",
        "INSERT INTO execution_orderattempt"
        " (order_id, kind, n, fence_epoch, sent_ns, sent_at, outcome, message)"
        " SELECT order_id, kind, 2, fence_epoch, sent_ns, sent_at, outcome, message"
        " FROM execution_orderattempt WHERE kind = 'submit'",
    ),
    "an attempt deleted": (
        "attempts", "was sent, and 0 attempts are written", "DELETE FROM execution_orderattempt",
    ),
    "more shares than were asked for": (
        "orders", "is overfilled", "UPDATE execution_order SET quantity = 1 WHERE purpose = 'e'",
    ),
    "a closed slot that holds shares": (
        "orders", "closed but not flat", "UPDATE execution_trade SET exit_quantity = 1",
    ),
}  # fmt: skip


def damage(sql: str) -> None:
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        cursor.execute(sql)


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_said_by_name_here_and_on_the_system_page(closed: Bench, name: str) -> None:
    check, words, sql = DAMAGE[name]
    assert not any(check_all(Account.objects.get()).values())

    damage(sql)

    found = check_all(Account.objects.get())[check]
    assert any(words in line for line in found), found
    figures.check_books(closed.run)
    shown = next(line for line in safety.lines() if line.key == "books")
    assert shown.good is False
    body = Figure.objects.filter(name="books")[0].body
    assert any(line.startswith(f"{check}: ") for line in body["first"])


def test_the_system_page_names_every_check(closed: Bench) -> None:
    BooksWatch(lambda: closed.run).look()

    (shown,) = (line.text for line in safety.lines() if line.key == "books")
    for name in ("books", "orders", "raw events", "executions", "slots", "attempts", "decisions"):
        assert name in shown


def test_records_that_went_by_age_are_not_missed(closed: Bench) -> None:
    records = Decision.objects.all()
    DecisionChain.objects.update(pruned=len(records), pruned_head=records.last().digest)
    records._raw_delete(records.db)

    assert not any(check_all(Account.objects.get()).values())


def test_a_fill_that_came_between_two_reads_is_no_alarm(closed: Bench, monkeypatch) -> None:
    answers = iter([["slots: a", "slots: b"], ["slots: b"]])
    monkeypatch.setattr(figures, "_violations", lambda accounts: next(answers))

    assert figures.check_books(closed.run).body["first"] == ["slots: b"]
