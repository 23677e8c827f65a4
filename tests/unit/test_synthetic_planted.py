"""What is planted can be found: price and volume surge, and the real detector sees most of it."""

import csv
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from execution.venue.synthetic import Planted, SyntheticMarket
from relay import frames
from shards.engine import Engine
from signals.parameters.table import defaults
from signals.session import BUCKET_NS

DAY = date(2026, 11, 23)
SECOND_NS = 1_000_000_000
MINUTES = 14


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(seed=11, day=DAY, symbols=1_500, planted_per_hour=60.0)


def trades_of(market: SyntheticMarket, symbol: str, start_ns: int, end_ns: int) -> np.ndarray:
    rows = []
    for block in market.blocks(start_ns, end_ns):
        block = block.packed()
        spans = frames.scan(block.data)
        rows.append(frames.trades(block.data, spans[spans["key"] == frames.symbol_key(symbol)[0]]))
    return np.concatenate(rows)


def end_of(planted: Planted) -> int:
    return planted.start_ns + int(planted.duration_s * SECOND_NS)


def test_the_planted_price_and_volume_are_on_the_tape(market: SyntheticMarket) -> None:
    strong = sorted(market.planted, key=lambda p: -p.size_bps)[:5]
    surges = []

    for planted in strong:
        start, end = planted.start_ns, end_of(planted)
        before = trades_of(market, planted.symbol, start - 120 * SECOND_NS, start)
        during = trades_of(market, planted.symbol, start, end)

        gain = 1e4 * np.log(np.median(during["price"][-15:]) / np.median(before["price"][-15:]))
        surges.append((during["size"].sum() / planted.duration_s) / (before["size"].sum() / 120))
        assert gain == pytest.approx(planted.size_bps, rel=0.4)

    assert np.median(surges) > 3


def test_most_planted_accelerations_become_candidates(market: SyntheticMarket) -> None:
    end_ns = market.live_ns + MINUTES * 60 * SECOND_NS
    engine = Engine(
        session=market.session, parameters=defaults(), parameters_version=1,
        ranges=[("A", "[")], shard=1, epoch=1, run="test", assignment=1,
    )  # fmt: skip
    births: dict[str, list[int]] = {}
    for block in market.blocks(None, end_ns):
        engine.feed(block.packed().data)
        for closed in engine.close_due(int(block.recv_ns[-1])):
            for candidate in closed.report_parts["candidates"]:
                if not candidate.shadow and candidate.born_k == closed.k:
                    births.setdefault(candidate.symbol, []).append(closed.k * BUCKET_NS)

    due = [p for p in market.planted if market.live_ns < p.start_ns < end_ns - 90 * SECOND_NS]
    found = [
        p
        for p in due
        if any(
            p.start_ns - 5 * SECOND_NS < at < end_of(p) + 30 * SECOND_NS
            for at in births.get(p.symbol, ())
        )
    ]

    assert len(due) >= 8
    assert len(found) >= 0.5 * len(due)


def test_something_happens_in_the_first_minute_a_newcomer_sees() -> None:
    for seed in range(5):
        market = SyntheticMarket(seed=seed, day=DAY, symbols=2_000)

        starts = [(p.start_ns - market.live_ns) / SECOND_NS for p in market.planted]

        assert any(4 < start < 14 for start in starts)


def test_planted_names_are_distinct_and_never_halted_or_index_or_pushed(
    market: SyntheticMarket,
) -> None:
    names = [p.symbol for p in market.planted]

    assert len(set(names)) == len(names)
    assert not set(names) & {halt.symbol for halt in market.halts}
    assert not set(names) & {move.symbol for move in market.impulses}
    assert not set(names) & {"SPY", "QQQ", "IWM", "VIXY"}


def test_the_number_planted_follows_the_rate() -> None:
    def number(per_hour: float) -> int:
        market = SyntheticMarket(seed=3, day=DAY, symbols=11_000, planted_per_hour=per_hour)
        return len(market.planted)

    assert number(0.0) == 0
    assert 70 <= number(12.0) <= 80


def test_the_list_can_be_written(market: SyntheticMarket, tmp_path: Path) -> None:
    path = tmp_path / "planted.csv"

    market.write_planted(path)

    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["symbol"] for row in rows] == [p.symbol for p in market.planted]
    assert [int(row["start_ns"]) for row in rows] == [p.start_ns for p in market.planted]
    assert all(a["start_ns"] <= b["start_ns"] for a, b in pairwise(rows))
