"""Prepares the surroundings before Django's settings are read; adds `--mariadb`.

The tests get a home of their own, no broker keys, and a database and a Redis address of their own,
whatever the user's environment or `.env` says. `pytest --mariadb -m db` runs the database tests on
a throw-away MariaDB instead of SQLite.
"""

import os
import shutil
from collections.abc import Generator
from functools import partial

import pytest

from tests.servers import CannotStart, MariaDB, free_port, new_password, scratch_dir

#: Explicit values, because an absent one would be taken from the user's `.env`.
NEUTRAL = {
    "DEBUG": "false",
    "SECRET_KEY": "only-for-tests",
    "APCA_API_KEY_ID": "",
    "APCA_API_SECRET_KEY": "",
    "APCA_API_BASE_URL": "http://127.0.0.1:9",  # the discard port: nobody answers
    "APCA_STREAM_URL": "",
    "ALPACA_API_KEY": "",
    "ALPACA_SECRET_KEY": "",
    "RELAY_URL": "ws://127.0.0.1:9/v2/sip",
    "RELAY_KEY_ID": "",
    "RELAY_SECRET": "",
    "RELAY_UPSTREAM_URL": "",
    "VENUE_LOCKSTEP_URL": "",
    "TRADEPLANE_LIVE": "",
    "TRADEPLANE_RUN": "test",
    "TRADEPLANE_RECORD_DIR": "",
    "TRADEPLANE_SHARDS": "1",
    "TRADEPLANE_SPEED": "1",
}
REDIS_PORT = "TRADEPLANE_TEST_REDIS_PORT"
REDIS_PASSWORD = "TRADEPLANE_TEST_REDIS_PASSWORD"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mariadb", action="store_true", help="run database tests on a throw-away MariaDB"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Set the environment; a wrapper, so that it runs before pytest-django reads the settings."""
    home = scratch_dir("tests")
    early_config.add_cleanup(partial(shutil.rmtree, home, ignore_errors=True))
    port, password = free_port(), new_password()
    os.environ.update(NEUTRAL)
    os.environ["TRADEPLANE_HOME"] = str(home)
    os.environ["REDIS_URL"] = f"redis://:{password}@127.0.0.1:{port}"
    os.environ[REDIS_PORT], os.environ[REDIS_PASSWORD] = str(port), password
    if not early_config.known_args_namespace.mariadb:
        os.environ["DATABASE_URL"] = f"sqlite:///{home / 'tradeplane.sqlite3'}"
    elif "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit the controller's
        _start_mariadb(early_config)
    return (yield)


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {'MariaDB' if config.getoption('mariadb') else 'SQLite'}"


def _start_mariadb(config: pytest.Config) -> None:
    try:
        mariadb = MariaDB()
    except CannotStart as exc:
        raise pytest.UsageError(f"--mariadb: {exc}") from exc
    config.add_cleanup(mariadb.stop)
    os.environ["DATABASE_URL"] = mariadb.url
