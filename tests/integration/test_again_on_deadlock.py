"""A transaction that was the victim of a deadlock is run again, whole; nothing else is."""

import threading

import pytest
from django.db import OperationalError, close_old_connections, connection, transaction

from execution.models import Run
from execution.services.again import TRIES, VICTIM, again_on_deadlock

pytestmark = [pytest.mark.db]


def failing(times: int, code: int) -> list[int]:
    """Return what was tried: a function that fails so often, then is through."""
    tried: list[int] = []

    @again_on_deadlock
    def change() -> None:
        tried.append(1)
        if len(tried) <= times:
            raise OperationalError(code, "said the database")

    try:
        change()
    except OperationalError:
        tried.append(-1)
    return tried


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("code", VICTIM)
def test_a_victim_is_run_again_and_not_for_ever(code: int) -> None:
    assert failing(TRIES - 1, code) == [1] * TRIES
    assert failing(TRIES, code) == [*[1] * TRIES, -1]


@pytest.mark.django_db(transaction=True)
def test_another_error_is_not_tried_again() -> None:
    assert failing(1, 2006) == [1, -1]


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_its_owner_decides() -> None:
    with transaction.atomic():
        assert failing(1, VICTIM[0]) == [1, -1]


@pytest.mark.django_db(transaction=True)
def test_two_writers_who_meet_are_both_through() -> None:
    """On MariaDB each holds what the other one wants; one of them is the victim."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite lets one writer in at a time: there is no deadlock to meet")
    for name in ("one", "other"):
        Run.objects.create(id=name)
    both = threading.Barrier(2, timeout=5)
    done: list[str] = []

    @again_on_deadlock
    @transaction.atomic
    def write(first: str, second: str, tried: list[int]) -> None:
        Run.objects.filter(pk=first).update(mode=first)
        if not tried:
            tried.append(1)
            both.wait()
        Run.objects.filter(pk=second).update(mode=first)

    def work(first: str, second: str) -> None:
        try:
            write(first, second, [])
            done.append(first)
        finally:
            close_old_connections()
            connection.close()

    threads = [
        threading.Thread(target=work, args=pair) for pair in (("one", "other"), ("other", "one"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(done) == ["one", "other"]
