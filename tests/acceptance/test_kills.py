"""Shards killed at random moments of a tape: others take over, or the next life goes on.

`TRADEPLANE_KILLS=50 pytest tests/acceptance/test_kills.py` for the long run.
"""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.acceptance.stack import child_pid, finish, replay, rounds_done, start, wait_until

KILLS = int(os.environ.get("TRADEPLANE_KILLS", "5"))
PER_RUN = {4: 3, 1: 2}  # shards: kills; a child that dies five times ends the run
QUIET = ("--profile", "quiet", "--speed", "max", "--until-end", "--json")
ROUNDS = 240  # of the tape
CHECKED_BUCKETS = 60
pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(600 + 60 * KILLS)]


@pytest.fixture(scope="module")
def tape(imported_tape):
    return imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131007", ("10:00", "10:20"))


@pytest.fixture(scope="module")
def undisturbed(tape, tmp_path_factory):
    done = replay(tmp_path_factory.mktemp("undisturbed"), tape, "--shards", "1")
    assert done.code == 0, done.stderr[-3000:]
    return done.summary


def runs() -> list[tuple[int, int, int]]:
    """Return (seed, shards, kills) of every run, by turns with four shards and with one."""
    found: list[tuple[int, int, int]] = []
    left = KILLS
    while left > 0:
        shards = (4, 1)[len(found) % 2]
        kills = min(PER_RUN[shards], left)
        found.append((len(found), shards, kills))
        left -= kills
    return found


@pytest.mark.parametrize(("seed", "shards", "kills"), runs())
def test_killed_shards_cost_no_bucket_and_no_candidate(
    undisturbed, tape, tmp_path, seed, shards, kills
):
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(2, ROUNDS - 40), kills))
    process = start(tmp_path, "--tape", str(tape), "--shards", str(shards), *QUIET)
    try:
        for moment in moments:
            past(process, tmp_path, moment)
            time.sleep(0.2 * rng.random())  # anywhere in what a bucket takes
            os.kill(a_shard(process.pid, shards, rng), signal.SIGKILL)
        past(process, tmp_path, moments[-1] + 30)
        missing = missing_buckets(tmp_path)
        done = finish(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)

    assert done.code == 0, done.stderr[-3000:]
    assert missing == []
    assert done.summary["hashes"] == undisturbed["hashes"], f"killed at rounds {moments}"
    assert done.summary["buckets"] == undisturbed["buckets"]
    assert done.summary["invariants"]["broken"] == []


def past(process: subprocess.Popen, home: Path, rounds: int) -> None:
    wait_until(
        lambda: rounds_done(home) >= rounds or process.poll() is not None, f"{rounds} rounds"
    )
    assert process.poll() is None, process.communicate()[1][-3000:]


def a_shard(parent: int, shards: int, rng: random.Random) -> int:
    """Return the process id of some shard that lives."""
    order = rng.sample(range(1, shards + 1), shards)
    found: list[int] = []

    def found_one() -> bool:
        for number in order:
            try:
                found.append(child_pid(parent, "shard", "--id", str(number)))
            except AssertionError:
                continue
            return True
        return False

    wait_until(found_one, "a living shard")
    return found[0]


def missing_buckets(home: Path) -> list[str]:
    """Return the newest buckets of each cell that the store does not have."""
    conf = (home / "redis" / "server.conf").read_text()
    port, password = (
        re.search(rf"^{name} (\S+)", conf, re.M)[1] for name in ("port", "requirepass")
    )
    client = redis.Redis(port=int(port), password=password, socket_timeout=5)
    (index,) = client.scan_iter("cells:*", count=100_000)
    newest = {cell.decode(): int(k) for cell, k in client.hgetall(index).items()}
    space = index.decode().removeprefix("cells:")
    first = min(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter(f"b:{space}:*"))
    keys = [
        f"b:{space}:{cell}:{j}"
        for cell, k in newest.items()
        for j in range(max(first, k - CHECKED_BUCKETS) + 1, k + 1)
    ]
    assert keys
    return [key for key, kept in zip(keys, client.mget(keys), strict=True) if kept is None]
