"""Why it was no candidate: the slow answer has the shards' own numbers."""

import math
from typing import Any

import pytest

from execution.domain.reshape import reshaped, same_buckets
from shards.engine import ClosedBucket
from signals import nearmiss
from signals.messages import Candidate
from signals.nearmiss import Bar
from signals.parameters.catalogue import profile, validate
from tests.shard_builders import SESSION, frame_of
from tests.unit.test_shards_engine import a_burst
from tradeplane.lab.replay import engines_for

QUIET = validate(profile("quiet"))


def closed(parameters: dict[str, Any]) -> list[ClosedBucket]:
    """The burst of the shards' tests, bucket by bucket."""
    (engine,) = engines_for(SESSION, parameters)
    engine.begin(SESSION.first_k)
    found = []
    for tick in a_burst():
        found += engine.close_due(tick.ts_ns)
        engine.feed(frame_of([tick]))
    return found + engine.close_due(SESSION.open_ns + 660 * 10**9)


def bars_of(steps: list[ClosedBucket], symbol: bytes = b"ACME") -> list[Bar]:
    found = []
    for step in steps:
        for row in step.rows[step.rows["symbol"] == symbol]:
            found.append(
                Bar(
                    int(row["k"]), float(row["high"]), float(row["low"]), float(row["close"]),
                    int(row["volume"]), int(row["trades"]), float(row["vwap"]),
                    bool(row["synthetic"]),
                )
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def steps() -> list[ClosedBucket]:
    return closed(QUIET)


def told(steps: list[ClosedBucket]) -> list[tuple[int, Candidate]]:
    return [(n, c) for n, step in enumerate(steps, 1) for c in step.report_parts["candidates"]]


def test_the_evidence_is_that_of_the_shard(steps: list[ClosedBucket]) -> None:
    bars = bars_of(steps)
    fresh = [(n, c) for n, c in told(steps) if c.born_k == c.k]
    assert fresh

    for n, c in fresh:
        e = nearmiss.evidence_of(bars[:n][-nearmiss.depth_of(QUIET) :], QUIET)
        assert (e.flat_length, e.burst_length) == (c.flat_len, c.k - c.b + 1)
        assert (e.volume, e.trades) == (c.cum_volume, c.burst_trades)
        for mine, theirs in (
            (e.x, c.x), (e.z, c.z), (e.accel, c.accel), (e.surge, c.surge),
            (e.dollars, c.cum_dollars), (e.jump_share, c.jump_share),
            (e.synthetic_share, c.synthetic_share),
        ):  # fmt: skip
            assert mine == pytest.approx(theirs, rel=1e-9)


def answers(steps: list[ClosedBucket], n: int) -> list[nearmiss.Test]:
    bars = bars_of(steps)[:n]
    return nearmiss.tests(
        nearmiss.evidence_of(bars[-nearmiss.depth_of(QUIET) :], QUIET),
        nearmiss.limits_of(QUIET),
        buckets=len(bars),
        warm=nearmiss.warm_of(QUIET),
    )


def test_a_birth_passes_every_threshold_and_the_bucket_before_does_not(
    steps: list[ClosedBucket],
) -> None:
    n = next(n for n, c in told(steps) if not c.shadow)

    assert all(one.passed for one in answers(steps, n))
    missing = [one for one in answers(steps, n - 1) if not one.passed]
    assert missing
    assert all(one.margin is None or one.margin < 0 or one.id == "T8" for one in missing)


def test_a_young_symbol_says_what_cannot_be_judged_yet(steps: list[ClosedBucket]) -> None:
    found = {one.name: one for one in answers(steps, 30)}

    assert (found[""].id, found[""].passed, found[""].value) == ("T1", False, 30)
    assert found["ao_min_z"].value is None
    assert not found["ao_min_z"].passed
    assert found["ao_min_z"].margin is None


def test_without_a_burst_no_ceiling_passes_by_being_empty(steps: list[ClosedBucket]) -> None:
    flat = [bar._replace(high=10.0, low=10.0, close=10.0) for bar in bars_of(steps)[:100]]
    e = nearmiss.evidence_of(flat, QUIET)
    found = nearmiss.tests(e, nearmiss.limits_of(QUIET), buckets=100, warm=73)

    assert (e.x, e.burst_length) == (0.0, 0)
    assert math.isnan(e.jump_share)
    assert not next(one for one in found if one.id == "T8").passed


@pytest.mark.parametrize("source", ["median", "vwap"])
def test_the_price_source_is_the_parameter(source: str) -> None:
    bar = Bar(1, 11.0, 9.0, 10.5, 100, 1, 10.4, False)

    assert nearmiss.price_of(bar, source) == {"median": 10.0, "vwap": 10.4}[source]
    assert nearmiss.price_of(bar._replace(source=10.1), source) == 10.1


@pytest.mark.parametrize(
    "change",
    [
        {"fast_period": 4},
        {"slow_period": 30, "smooth_period": 4},
        {"oscillator_mode": "awesome_smoothed"},
        {"bar_price_source": "vwap"},
        {"flatline_ratio": 0.3, "sigma_window": 100, "vol_floor": 10, "ao_accel_lookback": 2},
    ],
)
def test_a_reshaped_candidate_is_the_one_that_the_shard_would_have_told_of(
    steps: list[ClosedBucket], change: dict[str, Any]
) -> None:
    new = validate({**QUIET, **change})
    bars, theirs = bars_of(steps), {c.k: c for _, c in told(closed(new))}
    both = [(n, c) for n, c in told(steps) if c.k in theirs]
    assert both

    for n, c in both:
        mine = reshaped(c, bars[:n][-nearmiss.depth_of(new) :], new)
        other = theirs[c.k]
        if other.born_k != c.k:  # its burst is latched
            mine = reshaped(c, bars[:n][-nearmiss.depth_of(new) :], new, (other.b, other.flat_len))
        for name in (
            "b", "flat_len", "x", "z", "accel", "ao", "ac", "slow_mean", "surge", "cum_volume",
            "cum_dollars", "jump_share", "burst_trades", "sigma5_bps", "noise_gain", "base_close",
            "synthetic_share",
        ):  # fmt: skip
            expected = getattr(other, name)
            assert getattr(mine, name) == pytest.approx(expected, rel=1e-9), name


def test_buckets_that_do_not_give_the_stored_numbers_are_not_believed(
    steps: list[ClosedBucket],
) -> None:
    n, c = told(steps)[0]
    bars = bars_of(steps)[:n]

    assert same_buckets(c, bars, QUIET)
    assert not same_buckets(c, bars[:-1], QUIET)
    assert not same_buckets(c, bars[1:2], QUIET)
    wrong = [*bars[:-1], bars[-1]._replace(high=bars[-1].high * 1.01)]
    assert not same_buckets(c, wrong, QUIET)
