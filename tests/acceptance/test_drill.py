"""The kill switch of a running system, turned for real while it holds something, and measured.

With everything well, with Redis stopped and with the database locked: within 250 ms no entry leaves
any more, and within 10 s the account is flat. `-s` shows the figures.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from execution import way_out
from tests.acceptance.desk import Desk, eager_market
from tests.acceptance.page import Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BLOCKED_MS, FLAT_S = 250, 10


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    with eager_market(tmp_path_factory.mktemp("drill")) as running:
        yield running


def figures(done: subprocess.Popen[str]) -> dict[str, str]:
    out, err = done.communicate(timeout=150)
    assert done.returncode == 0, out + err
    sys.stdout.write(out)
    return dict(line.split(maxsplit=1) for line in out.splitlines())


def assert_met(found: dict[str, str]) -> None:
    assert int(found["held"]) >= 1
    assert float(found["blocked_ms"]) <= BLOCKED_MS
    assert float(found["flat_s"]) <= FLAT_S


def test_the_hub_stops_buying_and_is_flat_in_time(desk):
    page = Page(desk.home / "terminal")
    desk.wait_until_held()

    found = figures(desk.drill())

    assert_met(found)
    assert found["path"] == "hub"
    assert f"blocked after {float(found['blocked_ms']):.0f} ms" in page.drill()
    assert f"flat after {float(found['flat_s']):.1f} s" in page.drill()
    desk.market.until(desk.books_are_sound, 60, "sound books")


def test_with_redis_stopped_it_is_the_same(desk):
    desk.wait_until_held()
    redis = desk.redis()
    os.kill(redis, signal.SIGSTOP)
    try:
        time.sleep(3)  # until everybody waits for it
        found = figures(desk.drill())
    finally:
        os.kill(redis, signal.SIGCONT)

    assert_met(found)
    desk.market.until(desk.books_are_sound, 60, "sound books")


def test_with_the_database_locked_it_is_the_same(desk):
    desk.wait_until_held()
    page = Page(desk.home / "terminal")
    with nobody_writes(desk.home / "tradeplane.sqlite3"):
        drilling = desk.drill()
        desk.market.until(lambda: way_out.what_is_left(desk.broker) == [], 30, "a flat account")

    found = figures(drilling)

    assert_met(found)
    assert (found["path"], found["database"]) == ("broker", "away")
    assert "the database away" in page.drill()
    desk.market.until(desk.books_are_sound, 60, "sound books")


@contextmanager
def nobody_writes(path: Path) -> Iterator[None]:
    """Hold SQLite's lock for writing: everybody else waits, and then fails."""
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        try:
            yield
        finally:
            holder.execute("rollback")
