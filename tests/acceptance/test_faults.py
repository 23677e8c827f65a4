"""What goes wrong in mid-tape costs nothing: the run waits, goes on, ends with the same hashes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.stack import child_pid, finish, replay, rounds_done, run, start, wait_until

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(600)]
QUIET = ("--profile", "quiet", "--speed", "max", "--until-end", "--json")
MID_TAPE_ROUNDS = 100


@pytest.fixture(scope="module")
def tape(imported_tape):
    return imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131007", ("10:00", "10:20"))


@pytest.fixture(scope="module")
def undisturbed(tape, tmp_path_factory):
    done = replay(tmp_path_factory.mktemp("undisturbed"), tape, "--shards", "2")
    assert done.code == 0, done.stderr[-3000:]
    return done.summary


@pytest.fixture
def mid_tape(tape, tmp_path):
    """A run of the tape that has decided some rounds; ended if the test did not."""
    process = start(tmp_path, "--tape", str(tape), "--shards", "2", *QUIET)
    try:
        wait_until(
            lambda: rounds_done(tmp_path) >= MID_TAPE_ROUNDS or process.poll() is not None,
            "the middle of the tape",
        )
        assert process.poll() is None, process.communicate()[1][-3000:]
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.parametrize(
    "role", [("shard", "--id", "1"), ("hub",), ("relay",)], ids=["shard", "hub", "relay"]
)
def test_a_role_killed_in_mid_tape_comes_back_and_nothing_is_lost(undisturbed, mid_tape, role):
    os.kill(child_pid(mid_tape.pid, *role), signal.SIGKILL)
    done = finish(mid_tape)

    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["hashes"] == undisturbed["hashes"]
    assert done.summary["trades"] == undisturbed["trades"]
    assert done.summary["invariants"]["broken"] == []
    assert done.summary["books_ok"] is True


def test_a_dead_venue_ends_the_run_with_one_clear_line(mid_tape):
    os.kill(child_pid(mid_tape.pid, "venue"), signal.SIGKILL)
    done = finish(mid_tape)

    assert done.code == 1
    assert "venue" in done.last_word
    assert "Traceback" not in done.last_word


def test_a_stopped_venue_blocks_visibly_and_the_run_goes_on_when_it_is_back(
    undisturbed, mid_tape, tmp_path
):
    venue = child_pid(mid_tape.pid, "venue")
    os.kill(venue, signal.SIGSTOP)
    before = rounds_done(tmp_path)
    time.sleep(6)  # longer than every broker time-out: the silence itself is the event
    assert rounds_done(tmp_path) - before <= 2
    os.kill(venue, signal.SIGCONT)
    done = finish(mid_tape)

    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["hashes"]["buckets"] == undisturbed["hashes"]["buckets"]
    assert done.summary["invariants"]["broken"] == []


def test_a_wrong_relay_key_blocks_until_it_is_right_again(undisturbed, mid_tape, tmp_path):
    keys = tmp_path / "relay" / "keys.json"
    right = keys.read_text()
    wrong = [key for key in json.loads(right) if key["role"] != "shard"]
    _replace(keys, json.dumps(wrong))
    os.kill(child_pid(mid_tape.pid, "shard", "--id", "1"), signal.SIGKILL)
    # either may be the first to say so: the other takes the dead one's letters over by then
    logs = [tmp_path / "logs" / f"shard-{number}.log" for number in (1, 2)]
    wait_until(
        lambda: any("stream refused our key" in log.read_text() for log in logs),
        "a shard to say that it is refused",
    )
    _replace(keys, right)
    done = finish(mid_tape)

    assert done.code == 0, done.stderr[-3000:]
    assert done.summary["hashes"] == undisturbed["hashes"]


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(path)


def test_a_tape_cut_short_ends_with_the_line_that_says_where(tape, tmp_path):
    short = tmp_path / "short.tape"
    short.write_bytes(tape.read_bytes()[: tape.stat().st_size * 2 // 3])
    done = run(tmp_path / "home", "--tape", str(short), *QUIET)

    assert done.code == 1
    assert "short.tape" in done.last_word


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--tape", "nowhere.tape"), "nowhere.tape"),
        (("--set", "fast_perod=5"), "fast_period"),
        (("--set", "fast_period=50"), "slow_period"),
        (("--profile", "loud"), "loud"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_starts(tmp_path, arguments, word):
    done = run(tmp_path, *arguments)

    assert done.code in (1, 2)
    assert word in done.last_word
    assert not (tmp_path / "logs").exists()
