"""`lab decisions` over a tape gives the records of the lock-step run over the same tape.

A made-up market here; the three real days stand in `test_replay.py`, by the hour. Whole real days:
`TRADEPLANE_WHOLE_DAYS=1 pytest tests/acceptance/test_lab.py`.
"""

import json
import os
from datetime import date, time

import pytest

from execution.venue.synthetic import SyntheticMarket
from relay.tape import TapeWriter
from signals.session import new_york_ns
from tests.acceptance.stack import lab, replay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DAY = date(2026, 11, 20)
SYMBOLS = ("AIG", "BAC", "IBM", "SPY")
WHOLE_DAYS = ("20131007", "20131008", "20131009")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Ten minutes of a small made-up market, as a tape."""
    path = tmp_path_factory.mktemp("made-up") / "made-up.tape"
    market = SyntheticMarket(seed=7, day=DAY, symbols=40, planted_per_hour=120)
    with TapeWriter(path, market.header) as writer:
        for block in market.blocks(new_york_ns(DAY, time(9, 50)), new_york_ns(DAY, time(10, 0))):
            packed = block.packed()
            lengths = packed.ends - packed.starts
            writer.extend(packed.recv_ns, lengths, bytes(packed.data))
    return path


def assert_same(home, tape, *more: str):
    out = home / "d.jsonl"
    lockstep = replay(home / "up", tape, "--shards", "2", *more)
    alone = lab(home / "lab", "decisions", tape, "--profile", "quiet", "--out", str(out), *more)

    assert lockstep.code == 0, lockstep.stderr[-3000:]
    assert alone.code == 0, alone.stderr[-3000:]
    assert lockstep.summary["decisions"] > 0
    assert alone.summary["hashes"] == lockstep.summary["hashes"]
    assert alone.summary["rows"] == lockstep.summary["decisions"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == alone.summary["rows"]
    ids = [(r["round"], r["symbol"], r["candidate_id"]) for r in records]
    assert ids == sorted(ids)
    return lockstep.summary


def test_a_made_up_market_is_decided_alike_by_the_processes_and_the_laboratory(made_up, tmp_path):
    summary = assert_same(
        tmp_path, made_up, "--set", "universe_max_price=1000", "--set", "max_quote_age_ms=5000"
    )

    assert summary["trades"]


@pytest.mark.tape
@pytest.mark.skipif(
    not os.environ.get("TRADEPLANE_WHOLE_DAYS"), reason="minutes per day: TRADEPLANE_WHOLE_DAYS=1"
)
@pytest.mark.parametrize("day", WHOLE_DAYS)
def test_a_whole_real_day_is_decided_alike(imported_tape, day, tmp_path):
    assert_same(tmp_path, imported_tape(SYMBOLS, day))
