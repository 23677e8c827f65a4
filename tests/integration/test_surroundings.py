"""The harness itself: tests run on their own home, database and Redis."""

from datetime import date
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection

from accounts.models import Account


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
    with redis.Redis(port=valkey.port) as client, pytest.raises(redis.AuthenticationError):
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
