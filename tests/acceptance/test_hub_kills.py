"""The hub is killed at the places that matter most, on a tape that ends with the day's end.

In lock-step the market waits, so where the venue had taken the order the run must end like one
that nobody disturbed: same buckets, candidates, decisions, trades. Where it is never sent, only the
trade may differ. All places in one process, and pairs of them: `manage.py simulate`.
"""

import os
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from execution.failpoints import DONE
from tests.acceptance.stack import Finished, finish, replay, rounds_done, start, wait_until
from tests.servers import CannotStart, MariaDB

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(900)]
#: Entries until twelve minutes before the close; the position leaves with the day's end.
LATE = ("--shards", "1", "--set", "entry_cutoff_min_before_close=12")
QUIET = ("--profile", "quiet", "--speed", "max", "--until-end", "--json")
NAKED_MS_MAX = 10_000
ENDED = ("closed", "entry_expired", "rejected")
#: Place, and whether the run must end like one that nobody disturbed.
PLACES = {
    "rounds.after_decision": True,  # decided, no intent sent: the round goes on
    "journal.after_attempt": False,  # the attempt is written, nothing was sent: the chance is gone
    "journal.after_answer": True,  # sent and answered, the answer not stored
    "state.mid_booking": True,  # a fill half booked
    "state.after_booking": True,  # filled, protection not verified yet
    "exit.after_patch": False,  # leaving at the day's end: it is tried again, the longer way
}


@pytest.fixture(scope="module")
def tape(imported_tape):
    return imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131007", ("15:34", "15:56"))


@pytest.fixture(scope="module")
def undisturbed(tape, tmp_path_factory):
    done = replay(tmp_path_factory.mktemp("undisturbed"), tape, *LATE)
    assert done.code == 0, done.stderr[-3000:]
    assert [trade["exit"] for trade in done.summary["trades"]] == ["flatten"]
    return done.summary


@pytest.mark.parametrize("place", PLACES)
def test_a_hub_killed_at_a_place_comes_back_and_all_holds(undisturbed, tape, tmp_path, place):
    armed = {"TRADEPLANE_FAILPOINTS": f"{place}=kill_once"}
    done = finish(start(tmp_path, "--tape", str(tape), *QUIET, *LATE, **armed))

    assert_sound(done)
    assert (tmp_path / DONE).read_text() == f"{place}=kill_once"
    assert "hub died (signal 9)" in done.stderr
    assert_sent_once(tmp_path / "tradeplane.sqlite3")
    assert_same_market(done, undisturbed)
    assert all(trade["state"] in ENDED for trade in done.summary["trades"])
    if PLACES[place]:
        assert done.summary["hashes"] == undisturbed["hashes"]
        assert outcome(done.summary) == outcome(undisturbed)


def test_redis_killed_in_mid_tape_costs_nothing(undisturbed, tape, tmp_path):
    process = start(tmp_path, "--tape", str(tape), *QUIET, *LATE)
    wait_until(lambda: rounds_done(tmp_path) >= 60, "the middle of the tape")
    os.kill(redis_of(process), signal.SIGKILL)
    done = finish(process)

    assert_sound(done)
    assert "redis died (signal 9)" in done.stderr
    assert done.summary["hashes"] == undisturbed["hashes"]
    assert outcome(done.summary) == outcome(undisturbed)


def test_database_connections_cut_in_mid_tape_cost_nothing(undisturbed, tape, tmp_path):
    try:
        mariadb = MariaDB()
    except CannotStart as exc:
        pytest.skip(str(exc))
    try:
        mariadb.create("tradeplane")
        url = {"DATABASE_URL": mariadb.url}
        process = start(tmp_path, "--tape", str(tape), *QUIET, *LATE, **url)
        cuts = 0
        for rounds in (40, 100, 160):
            wait_until(lambda at=rounds: decided(mariadb) >= at or ended(process), f"{rounds}")
            cuts += cut_all(mariadb)
            time.sleep(0.5)
        done = finish(process)
    finally:
        mariadb.stop()

    assert_sound(done)
    assert cuts >= 3
    assert done.summary["hashes"] == undisturbed["hashes"]
    assert outcome(done.summary) == outcome(undisturbed)


def assert_sound(done: Finished) -> None:
    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["invariants"]["checked"]
    assert done.summary["invariants"]["broken"] == []
    assert done.summary["books_ok"] is True
    assert all(trade["naked_ms"] <= NAKED_MS_MAX for trade in done.summary["trades"])


def assert_same_market(done: Finished, undisturbed) -> None:
    for name in ("buckets", "candidates"):
        assert done.summary["hashes"][name] == undisturbed["hashes"][name]


def outcome(summary) -> list[dict]:
    """Return the trades without what a restart may cost: how long shares were unverified."""
    return [{k: v for k, v in trade.items() if k != "naked_ms"} for trade in summary["trades"]]


def assert_sent_once(path: Path) -> None:
    """No order has two attempts, no slot two entries that were sent."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        twice = database.execute(
            "select order_id from execution_orderattempt where kind = 'submit'"
            " group by order_id having count(*) > 1"
        ).fetchall()
        slots = database.execute(
            "select t.day, t.slot from execution_trade t"
            " join execution_order o on o.trade_id = t.id"
            " where o.purpose = 'e' and o.filled_quantity > 0 group by t.day, t.slot"
            " having count(*) > 1"
        ).fetchall()
    assert (twice, slots) == ([], [])


def redis_of(process: subprocess.Popen) -> int:
    """Return the embedded server's process id: it writes its own command line."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in map(int, children):
        if re.search(rb"(valkey|redis)-server", Path(f"/proc/{pid}/cmdline").read_bytes()):
            return pid
    raise AssertionError("no embedded server")


def ended(process: subprocess.Popen) -> bool:
    return process.poll() is not None


def decided(mariadb: MariaDB) -> int:
    done = mariadb.ask("select count(*) from execution_round", database="tradeplane")
    return int(done) if done.isdigit() else 0


def cut_all(mariadb: MariaDB) -> int:
    """Kill every connection but our own; return how many there were."""
    said = mariadb.ask(
        "select id from information_schema.processlist where id != connection_id()"
        " and user = 'root' and db = 'tradeplane'"
    )
    for number in said.split():
        mariadb.ask(f"kill {int(number)}")
    return len(said.split())
