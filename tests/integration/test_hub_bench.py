"""The bench of the hub runs, and a crowd decided at once is far ahead of one asked row by row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tradeplane.bench.hub", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_a_crowd_is_decided_far_faster_than_row_by_row():
    done = bench("--only", "round", "--quick", "--json")

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bench"] == "hub"
    assert found["figures"]["round_ms_p99_5000_candidates"] > 0
    assert found["ratios"]["vs_row_by_row"] >= 4, found  # a quiet machine shows more


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--shards", "27"], ["--only", "lunch"]])
def test_a_wrong_option_is_refused_before_anything_runs(wrong: list[str]) -> None:
    done = bench(*wrong)

    assert done.returncode == 2
    assert "usage: script/bench hub" in done.stderr
