"""The bench runs, finds every message, and the relay is far ahead; noise has its slack."""

import json
import subprocess
import sys
from pathlib import Path

from tradeplane.bench.relay import __main__ as bench

ROOT = Path(__file__).resolve().parents[2]


def test_the_relay_is_far_ahead_of_one_that_decodes_and_of_the_sdk():
    done = subprocess.run(
        [sys.executable, "-m", "tradeplane.bench.relay", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bench"] == "relay"
    assert {"figures", "ratios", "machine"} < found.keys()
    # CPU time is what others on the machine blur least; quiet ones show more than 5 by the clock
    assert found["ratios"]["cpu_vs_reencode"] >= 3, found
    assert found["ratios"]["vs_alpaca_py"] >= 4, found


def test_a_consumer_that_is_stopped_is_cut_within_5_s_and_costs_no_memory():
    found = bench.frozen(100_000, runs=1, seconds=6.0)

    assert found["frozen_cut_s"] < 5, found
    # rings of 128 MB in the process and its copy of as much are what a relay may take
    assert found["resident_mb_one_frozen"] < 600, found
