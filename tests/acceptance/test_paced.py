"""A tape at its own pace: the clock does not wait, and buckets and candidates are the same."""

import pytest

from tests.acceptance.stack import Finished, paced, replay

SYMBOLS = ("AIG", "BAC", "IBM", "SPY")
DAY = "20131007"

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def half_hour(imported_tape):
    return imported_tape(SYMBOLS, DAY, ("10:00", "10:30"))


@pytest.fixture(scope="module")
def in_lockstep(half_hour, tmp_path_factory):
    done = replay(tmp_path_factory.mktemp("lockstep"), half_hour)
    assert done.code == 0, done.stderr[-3000:]
    return done.summary


def assert_same_market(done: Finished, summary) -> None:
    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["prints"] == summary["prints"]
    assert done.summary["rounds"] == summary["rounds"]
    assert done.summary["hashes"]["buckets"] == summary["hashes"]["buckets"]
    assert done.summary["hashes"]["candidates"] == summary["hashes"]["candidates"]


def assert_sound(done: Finished) -> None:
    assert done.summary["books_ok"] is True
    assert done.summary["invariants"]["checked"]
    assert done.summary["invariants"]["broken"] == []


@pytest.mark.parametrize(("speed", "shards"), [("60", "1"), ("20", "4")])
def test_a_paced_tape_is_traded_and_shows_what_lockstep_shows(
    half_hour, in_lockstep, tmp_path, speed, shards
):
    done = paced(tmp_path, half_hour, speed, "--shards", shards)

    assert_same_market(done, in_lockstep)
    assert_sound(done)
    assert done.summary["fills"] >= 2
    assert any(trade["state"] == "closed" for trade in done.summary["trades"])


def test_a_minute_takes_a_minute_at_speed_one(imported_tape, tmp_path):
    minute = imported_tape(SYMBOLS, DAY, ("10:00", "10:01"))

    lockstep = replay(tmp_path / "lockstep", minute)
    done = paced(tmp_path / "paced", minute, "1")

    assert_same_market(done, lockstep.summary)
    assert_sound(done)
    assert done.summary["wall_s"] >= 60
