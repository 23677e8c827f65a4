"""The main job on real ticks: an hour of three days through the real processes, in lock-step."""

import pytest

from tests.acceptance.stack import lab, replay

SYMBOLS = ("AIG", "BAC", "IBM", "SPY")
DAYS = ("20131007", "20131008", "20131009")
WINDOW = ("10:00", "11:00")
KEYS = {
    "prints", "buckets", "candidates", "rounds", "decisions", "orders", "fills", "trades",
    "parameters_version", "hashes", "books_ok", "invariants", "wall_s",
    "kill_switch",
}  # fmt: skip

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def hours(imported_tape):
    return {day: imported_tape(SYMBOLS, day, WINDOW) for day in DAYS}


@pytest.fixture(scope="module")
def summaries(hours, tmp_path_factory):
    """One run per day with one shard."""
    found = {}
    for day, tape in hours.items():
        done = replay(tmp_path_factory.mktemp(f"one-{day}"), tape, "--shards", "1")
        assert done.code == 0, done.stderr[-3000:]
        found[day] = done.summary
    return found


@pytest.mark.parametrize("day", DAYS)
def test_a_day_has_candidates_and_an_entry_and_clean_books(summaries, day):
    summary = summaries[day]

    assert set(summary) >= KEYS
    assert summary["kill_switch"] == "none"
    assert summary["candidates"] > 0
    assert summary["orders"] > 0
    assert len(summary["trades"]) >= 1
    assert summary["books_ok"] is True
    assert summary["invariants"]["checked"]
    assert summary["invariants"]["broken"] == []


def test_over_the_days_both_a_stop_and_a_target_fill_at_the_venue(summaries):
    reasons = {trade["exit"] for day in summaries.values() for trade in day["trades"]}

    assert {"stop", "target"} <= reasons


@pytest.mark.parametrize("day", DAYS)
def test_the_same_tape_twice_and_with_four_shards_gives_the_same_hashes(
    summaries, hours, day, tmp_path
):
    four = replay(tmp_path / "four", hours[day], "--shards", "4")

    assert four.code == 0, four.stderr[-3000:]
    assert four.summary["hashes"] == summaries[day]["hashes"]
    assert four.summary["trades"] == summaries[day]["trades"]


def test_a_second_run_of_one_tape_gives_the_same_hashes(summaries, hours, tmp_path):
    again = replay(tmp_path / "again", hours[DAYS[0]], "--shards", "1")

    assert again.code == 0, again.stderr[-3000:]
    assert again.summary["hashes"] == summaries[DAYS[0]]["hashes"]


@pytest.mark.parametrize("day", DAYS)
def test_the_laboratory_makes_the_same_decisions_and_trades(summaries, hours, day, tmp_path):
    done = lab(tmp_path, "run", hours[day], "--profile", "quiet")

    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["hashes"] == summaries[day]["hashes"]
    assert done.summary["trades"] == summaries[day]["trades"]
    assert done.summary["invariants"] == summaries[day]["invariants"]
