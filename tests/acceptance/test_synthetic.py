"""`up` without a tape and without keys: a made-up market that warms up, then moves by the clock."""

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.stack import finish, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SMALL = ("--synthetic", "7", "--symbols", "400", "--shards", "2")
WARM_UP_ROUNDS = 156
LOCKED = "the market is fast-forwarded"


def rows(home: Path, query: str) -> list[tuple]:
    path = home / "tradeplane.sqlite3"
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(query).fetchall()
    except sqlite3.OperationalError:  # not migrated yet
        return []


def wait_for(home: Path, query: str, count: int, seconds: float) -> list[tuple]:
    deadline = time.monotonic() + seconds
    while len(found := rows(home, query)) < count:
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {query}"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A market of 400 names, run until it has been live for some rounds."""
    home = tmp_path_factory.mktemp("synthetic")
    process = start(home, *SMALL)
    try:
        wait_for(home, "select k from execution_round", WARM_UP_ROUNDS + 4, 200)
    finally:
        process.send_signal(signal.SIGINT)
        done = finish(process, 60)
    return home, done


def test_it_starts_with_the_careful_profile_and_stops_on_ctrl_c(stopped):
    home, done = stopped

    assert done.code == 0, done.stderr[-3000:]
    assert "profile careful" in done.stdout
    assert rows(home, "select mode from execution_run") == [("paper",)]
    assert [state for (state,) in rows(home, "select state from execution_startupstep")] == [
        "done"
    ] * 10


def test_all_letters_report_in_every_round(stopped):
    home, _ = stopped
    found = rows(home, "select k, n_symbols, coverage from execution_round order by k")
    ks = [k for k, _, _ in found]

    assert ks == list(range(ks[0], ks[0] + len(ks)))
    assert found[-1][1] > 350
    assert min(coverage for _, _, coverage in found) > 0.9


def test_nothing_is_bought_while_the_market_is_fast_forwarded(stopped):
    home, _ = stopped
    records = [
        json.loads(record)
        for (record,) in rows(home, "select record from execution_decision where shadow = 0")
    ]
    locked = [record for record in records if any(LOCKED in g["text"] for g in record["gates"])]

    assert all(record["outcome"] != "fired" for record in locked)
    assert all("G12" in record["all_failed"] for record in locked)
    started = min(record["clock"]["bucket_end_ns"] for record in locked) if locked else 0
    sent = rows(home, "select min(sent_ns) from execution_order")[0][0]
    assert sent is None or sent > started
