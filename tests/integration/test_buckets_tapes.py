"""Buckets and oscillator of real ticks against the slow twins: exact integers, floats to 1e-9."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from relay import frames
from relay.tape import TapeReader
from shards import conditions
from shards.records import bucket_hash
from signals.parameters.catalogue import defaults
from signals.session import regular_session
from tests.twins import buckets as twin
from tests.twins import oscillator as slow
from tests.twins.buckets import Bar, Tick
from tradeplane.lab.replay import replay

pytestmark = pytest.mark.tape
FOUR = ("AIG", "BAC", "IBM", "SPY")
WHOLE_DAYS = [
    (FOUR, "20131007"),
    (FOUR, "20131008"),
    (FOUR, "20131009"),
    (("XXX",), "20180102"),
    (("AAA", "ETF"), "20140917"),
]


def ticks_of(tape: Path) -> Iterator[Tick]:
    """Yield every trade of a tape."""
    for block in TapeReader(tape).blocks():
        data = block.packed().data
        rows = frames.trades(data, frames.scan(data))
        for row in rows.tolist():
            key, key2, ts_ns, number, price, _, size, exchange, letter, codes = row
            yield Tick(
                frames.key_symbol(key, key2), ts_ns, number, chr(exchange), price, size,
                tuple(conditions.unpack(codes)), chr(letter).strip("\0 "),
            )  # fmt: skip


class Day:
    """One tape through the engine and through the twin."""

    def __init__(self, tape: Path) -> None:
        self.tape = tape
        self.session = regular_session(TapeReader(tape).header.day)
        self.parameters = defaults()
        blocks, self.oscillator = [], []
        for step in replay(tape, self.parameters, session=self.session):
            blocks += [closed.rows for closed in step.closed]
            self.oscillator += [(step.k, *row) for row in step.engines[0].oscillator_rows()]
        rows = np.concatenate(blocks)
        self.rows = rows[np.lexsort((rows["symbol"], rows["k"]))]
        last_k = int(self.rows["k"].max())
        self.twin = twin.bars(ticks_of(tape), self.session.open_ns, self.session.close_ns, last_k)

    def series(self) -> dict[str, list[Bar]]:
        found = defaultdict(list)
        for bar in self.twin:
            found[bar.symbol].append(bar)
        return found


@pytest.fixture(scope="module")
def days() -> dict[tuple, Day]:
    return {}


@pytest.fixture
def day(request: pytest.FixtureRequest, days: dict, imported_tape: Callable[..., Path]) -> Day:
    if request.param not in days:
        days[request.param] = Day(imported_tape(*request.param))
    return days[request.param]


def names(param: tuple) -> str:
    return "-".join([*param[0], param[1]])


each_day = pytest.mark.parametrize("day", WHOLE_DAYS, indirect=True, ids=names)


@each_day
def test_every_bucket_equals_the_twin(day: Day) -> None:
    assert len(day.rows) == len(day.twin)
    for row, bar in zip(day.rows.tolist(), day.twin, strict=True):
        k, symbol, *prices, volume, trades, vwap, synthetic = row
        assert (symbol.decode(), k, tuple(prices), volume, trades, bool(synthetic)) == (
            bar.symbol, bar.k, bar[2:6], bar.volume, bar.trades, bar.synthetic,
        )  # fmt: skip
        assert abs(vwap - bar.vwap) <= 1e-9


@each_day
def test_every_oscillator_value_equals_the_twin(day: Day) -> None:
    p = day.parameters
    found = {(symbol, k): values for k, symbol, *values in day.oscillator}
    for symbol, bars in day.series().items():
        expected = slow.points(
            [(bar.high + bar.low) / 2 for bar in bars],
            [bar.close for bar in bars],
            fast=p["fast_period"], slow=p["slow_period"], smooth=p["smooth_period"],
            lookback=p["ao_accel_lookback"], history=p["aoHistoryBuckets"],
            ratio=p["flatline_ratio"], sigma_window=p["sigma_window"],
        )  # fmt: skip
        for bar, point in zip(bars, expected, strict=True):
            ao, ac, x, z, accel = found.pop((symbol, bar.k))
            for mine, theirs in (
                (ao, point.ao),
                (ac, point.ac),
                (x, point.x),
                (accel, point.accel),
            ):
                assert _equal(mine, theirs), (symbol, bar.k, mine, theirs)
            assert _equal(z, point.z), (symbol, bar.k, z, point.z)
    assert not found


def _equal(mine: float, theirs: float | None, tolerance: float = 1e-9) -> bool:
    if theirs is None:
        return bool(np.isnan(mine))
    return abs(mine - theirs) <= tolerance * max(1.0, abs(theirs))


def test_one_and_four_shards_make_the_same_of_a_tape(
    imported_tape: Callable[..., Path],
) -> None:
    tape = imported_tape(FOUR, "20131008", ("10:00", "10:20"))

    hashes, found = set(), set()
    for shards in (1, 4, 7):
        rows, candidates = [], []
        for step in replay(tape, {**defaults(), "ao_min_z": 1.0}, shards=shards):
            rows += [closed.rows for closed in step.closed]
            each = [c for closed in step.closed for c in closed.report_parts["candidates"]]
            candidates += [repr(one) for one in sorted(each, key=lambda one: one.symbol)]
        hashes.add(bucket_hash(np.concatenate(rows)))
        found.add(tuple(candidates))

    assert len(hashes) == len(found) == 1
