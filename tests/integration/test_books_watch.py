"""The books are checked each minute; the system page says what came of it, and of the drill."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from execution.hub.books_watch import BooksWatch
from execution.models import Activity, Figure
from execution.services import figures
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench
from tradeplane.pages import safety

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@pytest.fixture(autouse=True)
def home(settings, tmp_path):
    settings.TRADEPLANE_HOME = tmp_path
    return tmp_path


def lines() -> dict[str, safety.Line]:
    return {line.key: line for line in safety.lines()}


def test_books_that_hold_are_said_to_hold() -> None:
    bench = Bench.make()
    bench.open()

    BooksWatch(lambda: bench.run).look()

    assert Figure.objects.get(name="books").ok
    assert lines()["books"].good is True
    assert not Activity.objects.filter(kind="reconcile", level="alarm").exists()


def test_a_broken_invariant_is_an_alarm_once_and_stands_on_the_page() -> None:
    bench = Bench.make()
    bench.open()
    with connection.cursor() as cursor:  # past the model, which refuses it
        cursor.execute("UPDATE accounts_posting SET amount_usd = amount_usd + 1")
    watch = BooksWatch(lambda: bench.run)

    watch.look()
    watch.look()

    figure = Figure.objects.filter(name="books").first()
    assert figure is not None
    assert not figure.ok
    assert figure.body["violations"] > 0
    assert lines()["books"].good is False
    assert Activity.objects.filter(kind="reconcile", level="alarm").count() == 1


def test_old_figures_are_dropped(monkeypatch) -> None:
    monkeypatch.setattr(figures, "KEPT", 3)

    for number in range(8):
        figures.record("books", ok=True, body={"n": number})

    assert [f.body["n"] for f in Figure.objects.all()][:3] == [7, 6, 5]
    assert Figure.objects.count() <= 4


def test_the_system_page_shows_the_drill_and_what_slept(client) -> None:
    bench = Bench.make()
    trade = bench.open()
    type(trade).objects.filter(pk=trade.pk).update(state=T.HELD_OVERNIGHT)
    body = {"blocked_ms": 81.2, "flat_s": 1.4, "held": 1, "path": "hub"}
    figures.record("drill", ok=True, body=body)
    client.force_login(get_user_model().objects.create_superuser("root", password="x"))

    page = client.get("/system/").content.decode()

    assert "blocked after 81 ms, flat after 1.4 s" in page
    assert "ABCD: run manage.py overnight" in page
