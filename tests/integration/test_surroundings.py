"""The harness itself: tests run on their own home, database and Redis."""

from datetime import date
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.models import Account
from relay import tape
from signals.session import regular_session


def test_tests_never_touch_the_users_home_or_keys():
    assert settings.TRADEPLANE_HOME != settings.BASE_DIR / "var"
    assert settings.TRADEPLANE_HOME.name.startswith("tradeplane-tests-")
    assert settings.APCA_API_KEY_ID == ""
    assert settings.LIVE_TRADING is False


def test_valkey_answers_where_the_settings_point(valkey):
    assert valkey.url == settings.REDIS_URL
    with redis.Redis.from_url(settings.REDIS_STATE_URL) as client:
        assert client.ping()


def test_valkey_wants_its_password(valkey):
    once = Retry(NoBackoff(), 0)  # the client's own default is ten
    with (
        redis.Redis(port=valkey.port, retry=once) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.db
@pytest.mark.django_db
def test_the_database_is_the_one_that_was_asked_for(pytestconfig):
    wanted = "mysql" if pytestconfig.getoption("--mariadb") else "sqlite"

    assert connection.vendor == wanted
    if wanted == "sqlite":
        assert Path(connection.settings_dict["NAME"]).parent == settings.TRADEPLANE_HOME


@pytest.mark.db
@pytest.mark.django_db
def test_stored_text_compares_exactly():
    for number in ("pa1", "PA1"):  # a case-blind collation would refuse the second
        Account.objects.create(number=number, run_id="r", opened_on=date(2013, 10, 7))

    assert Account.objects.filter(number="PA1").count() == 1


@pytest.mark.db
@pytest.mark.django_db
def test_mariadb_knows_the_time_zones():
    if connection.vendor != "mysql":
        pytest.skip("SQLite brings no zones: Django computes them")
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONVERT_TZ('2013-10-07 13:30:00', 'UTC', 'America/New_York')")
        assert str(cursor.fetchone()[0]) == "2013-10-07 09:30:00"


@pytest.mark.tape
def test_a_cut_of_real_ticks_is_made_once(imported_tape):
    first = imported_tape(("AIG",), "20131007", ("10:00", "10:05"))
    made = first.stat().st_mtime_ns
    again = imported_tape(["AIG"], "20131007", ("10:00", "10:05"))

    assert again == first
    assert again.stat().st_mtime_ns == made
    found = tape.info(first)
    session = regular_session(date(2013, 10, 7))
    assert session.open_ns + 30 * 60 * 10**9 <= found.first_ns
    assert found.last_ns < session.open_ns + 35 * 60 * 10**9


@pytest.mark.tape
def test_ticks_that_are_not_there_skip_with_a_reason(imported_tape):
    with pytest.raises(pytest.skip.Exception, match="no ticks of ZZZ"):
        imported_tape(("ZZZ",), "20131007")
