"""A living market loses a shard, or starves one: what the page says, and how it heals."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.page import Page
from tradeplane.bench.takeover.__main__ import Market, child_pid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
STARVED_S, RECOVERS_WITHIN_S = 15, 30
REPORTS_WITHIN_S = 45  # two cores, all roles, and whatever else runs; the drill is the measure


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("market")


@pytest.fixture(scope="module")
def market(home):
    made = Market(home, symbols=300, shards=3)
    try:
        made.wait_live()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def page(market, home) -> Page:
    return Page(home / "terminal")


def test_a_killed_shards_letters_are_dark_in_sight_and_report_again_warm(market, page):
    assert page.dark() == []
    seen: list[str] = []

    found = market.drill(2, lambda: seen.extend(page.dark()))

    assert seen
    assert all("since" in text for text in seen)
    assert page.dark() == []
    assert found["reports_after_s"] < REPORTS_WITHIN_S
    assert found["symbols_after"] >= found["symbols_before"], "warm, two rounds after it is whole"
    assert found["fired_while_dark"] == 0


def test_a_starved_shard_shows_its_lag_keeps_its_letters_and_recovers(market, page):
    """It gets a hundredth of a processor: far more than ten times its load."""
    shard = child_pid(market.pid, "shard", "1")
    before_mb, newest = rss_mb(shard), market.newest_note()
    slow = 0
    until = time.monotonic() + STARVED_S
    try:
        while time.monotonic() < until:
            os.kill(shard, signal.SIGSTOP)
            time.sleep(0.99)
            os.kill(shard, signal.SIGCONT)
            time.sleep(0.01)
            slow = max(slow, page.slow())
    finally:
        os.kill(shard, signal.SIGCONT)

    assert slow > 0, "in sight"
    assert rss_mb(shard) < before_mb + 50, "bounded"
    deadline = time.monotonic() + RECOVERS_WITHIN_S
    while page.slow() or page.dark():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert [text for text in market.said_since(newest) if "shard 1 is silent" in text] == []


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20
