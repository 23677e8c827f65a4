"""The oscillator against the design's worked numbers, and the promises of its arithmetic."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from signals import oscillator
from signals.oscillator import Curve, noise_gain
from tests.twins import closing as arrays_twin
from tests.twins import oscillator as twin

DATA = Path(__file__).parents[1] / "data"
STANDARD = Curve("accelerator", 5, 34, 5)
PRINTED = 0.5000001e-6  # rows B and C are printed with six decimals, x with four


@pytest.fixture(scope="module")
def vectors() -> dict:
    return json.loads((DATA / "vectors_osc.json").read_text())


@pytest.fixture(scope="module")
def example() -> dict:
    return json.loads((DATA / "vectors_trigger.json").read_text())["E"]


def plain(column: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]


def test_example_a_bucket_by_bucket(vectors: dict) -> None:
    a = vectors["A"]
    curve = Curve("accelerator", a["fast"], a["slow"], a["smooth"])
    middle = (np.array(a["high"]) + np.array(a["low"])) / 2

    found = arrays_twin.series(middle, curve)
    accel = arrays_twin.acceleration(
        found.x[2:], found.x[:-2], mode="slope", lookback=a["lookback"]
    )

    assert plain(found.ao) == pytest.approx(a["AO"], abs=1e-9)
    assert plain(found.value) == pytest.approx(a["AC"], abs=1e-9)
    assert plain(found.x) == pytest.approx(a["x_bps"], abs=PRINTED)
    assert plain(accel) == pytest.approx(a["acc"][2:], abs=PRINTED)


def test_example_b_a_step(vectors: dict) -> None:
    prices = np.r_[np.full(60, 100.0), np.full(60, 101.0)]

    found = arrays_twin.series(prices, STANDARD)

    for j, ao, ac, x in vectors["B"]:
        assert found.ao[60 + j] == pytest.approx(ao, abs=PRINTED)
        assert found.value[60 + j] == pytest.approx(ac, abs=PRINTED)
        assert found.x[60 + j] == pytest.approx(x, abs=0.5000001e-4)


def test_example_c_a_ramp(vectors: dict) -> None:
    prices = np.r_[np.full(60, 100.0), 100 + 0.01 * np.arange(1, 61)]

    found = arrays_twin.series(prices, STANDARD)

    for j, ao, ac in vectors["C"]:
        assert found.ao[60 + j] == pytest.approx(ao, abs=PRINTED)
        assert found.value[60 + j] == pytest.approx(ac, abs=PRINTED)


def test_example_e_base_and_burst(example: dict) -> None:
    x = np.array(example["x"])[:, None]
    volume = np.array(example["v"])[:, None]

    found = arrays_twin.burst(x, example["ratio"])
    surge = arrays_twin.surge(volume, fast=5, history=36, floor=example["vol_floor"])
    accel = arrays_twin.acceleration(x[-1], x[-4], mode="slope", lookback=3)
    z = x[-1] / (round(noise_gain(STANDARD), 6) * example["sigma5_bps"])  # as the page prints C

    assert found.length[0] == example["burst_len"]
    assert len(x) - found.length[0] == example["b"]
    assert found.flat_length[0] == example["flat_len"]
    assert volume[example["b"] :].sum() == example["cum_volume"]
    assert surge[0] == pytest.approx(example["surge"], abs=1e-9)
    assert accel[0] == pytest.approx(example["accel_L3"], abs=1e-9)
    assert z[0] == pytest.approx(example["z"], abs=1e-9)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (STANDARD, 0.728854),
        (Curve("awesome", 5, 34, 5), 2.876374),
        (Curve("accelerator", 2, 4, 2), 0.25),
        (Curve("awesome", 2, 4, 2), 0.612372),
        (Curve("accelerator", 3, 10, 3), 0.440819),
        (Curve("awesome", 3, 10, 3), 1.293144),
    ],
)
def test_noise_gains_are_those_of_the_design(curve: Curve, expected: float) -> None:
    assert noise_gain(curve) == pytest.approx(expected, abs=5e-7)


def test_the_noise_gain_agrees_with_pushing_single_changes_through() -> None:
    assert noise_gain(STANDARD) == pytest.approx(twin.gain(5, 34, 5), abs=1e-12)


def test_smoothed_noise_is_smaller_than_raw_noise() -> None:
    smoothed = noise_gain(Curve("awesome_smoothed", 5, 34, 5))

    assert 2.5 < smoothed < noise_gain(Curve("awesome", 5, 34, 5))


def test_x_does_not_depend_on_the_price_level(vectors: dict) -> None:
    path = np.cumprod(1 + np.sin(np.arange(120)) / 1000)

    cheap = arrays_twin.series(3 * path, STANDARD).x
    dear = arrays_twin.series(500 * path, STANDARD).x

    np.testing.assert_allclose(cheap, dear, atol=1e-9)


@pytest.mark.parametrize("mode", ["accelerator", "awesome", "awesome_smoothed"])
def test_the_first_value_comes_when_the_warm_up_ends(mode: str) -> None:
    curve = Curve(mode, 5, 34, 5)

    x = arrays_twin.series(np.full(80, 10.0), curve).x

    assert math.isnan(x[curve.warm_up - 2])
    assert x[curve.warm_up - 1] == pytest.approx(0, abs=1e-9)


FINITE = st.floats(5, 500)


@given(arrays(np.float64, st.tuples(st.integers(40, 60), st.integers(1, 9)), elements=FINITE))
def test_a_symbol_has_the_same_bits_alone_and_among_others(prices: np.ndarray) -> None:
    together = arrays_twin.series(prices, STANDARD)
    returns = oscillator.log_returns_bps(prices)
    noise = oscillator.noise_bps(returns, min_count=10)
    bursts = arrays_twin.burst(together.x[-3:], 0.25)

    for i in range(prices.shape[1]):
        alone = arrays_twin.series(np.ascontiguousarray(prices[:, i : i + 1]), STANDARD)
        own = np.ascontiguousarray(returns[:, i : i + 1])
        assert alone.x[:, 0].tobytes() == together.x[:, i].tobytes()
        assert oscillator.noise_bps(own, min_count=10)[0] == noise[i]
        assert arrays_twin.burst(alone.x[-3:], 0.25).length[0] == bursts.length[i]
        single = oscillator.log_returns_bps(np.ascontiguousarray(prices[:, i : i + 1]))
        assert single.tobytes() == own.tobytes()


@given(arrays(np.float64, st.integers(61, 140), elements=FINITE))
def test_the_noise_agrees_with_its_twin(closes: np.ndarray) -> None:
    found = oscillator.noise_bps(oscillator.log_returns_bps(closes[:, None]))[0]

    assert found == pytest.approx(twin.noise(closes.tolist(), len(closes), 200), rel=1e-9)


def test_bounce_between_bid_and_ask_is_taken_off() -> None:
    rng = np.random.default_rng(7)
    true = np.cumsum(rng.normal(0, 3.65, (20_000, 1)), axis=0)
    bounced = 50 * np.exp((true + rng.choice([-2.5, 2.5], true.shape)) / 1e4)
    returns = oscillator.log_returns_bps(bounced)

    assert np.sqrt((returns**2).mean()) == pytest.approx(5.08, rel=0.02)
    assert oscillator.noise_bps(returns)[0] == pytest.approx(3.65, rel=0.03)


def test_too_few_returns_are_no_noise_and_none_is_below_the_floor() -> None:
    returns = np.zeros((70, 2))
    returns[:11, 1] = np.nan

    assert oscillator.noise_bps(returns)[0] == 0.5
    assert math.isnan(oscillator.noise_bps(returns)[1])


def test_a_wild_return_is_clipped() -> None:
    returns = np.random.default_rng(1).normal(0, 3, (120, 1))
    calm = oscillator.noise_bps(returns)[0]
    returns[60] = 5_000

    assert oscillator.noise_bps(returns)[0] < 1.5 * calm


def test_minutes_replace_scaled_seconds_when_there_are_ten() -> None:
    returns = np.full((30, 2), np.nan)
    returns[-10:, 0] = 20.0
    returns[-9:, 1] = 20.0

    found = oscillator.minute_noise_bps(returns, np.array([5.0, 5.0]))

    assert found[0] == pytest.approx(20.0)
    assert found[1] == pytest.approx(5 * math.sqrt(12))


def test_acceleration_as_a_ratio_counts_from_one_bp() -> None:
    now, before = np.array([8.0, 8.0, np.nan]), np.array([2.0, -5.0, 1.0])

    found = arrays_twin.acceleration(now, before, mode="ratio", lookback=3)

    assert found[:2].tolist() == [4.0, 8.0]
    assert math.isnan(found[2])


@pytest.mark.parametrize(
    ("x", "length", "flat"),
    [
        ([0.1, 0.2, 5.0], 1, 2),
        ([0.1, 3.0, 5.0], 2, 1),
        ([9.0, 3.0, 5.0], 3, 0),
        ([math.nan, 0.2, 5.0], 1, 1),
        ([-3.0, 0.2, 5.0], 1, 1),
        ([1.0, 1.0, -5.0], 0, 0),
        ([1.0, 1.0, math.nan], 0, 0),
    ],
)
def test_bursts_walk_back_to_where_the_rise_began(x: list[float], length: int, flat: int) -> None:
    found = arrays_twin.burst(np.array(x)[:, None], 0.25)

    assert (found.length[0], found.flat_length[0]) == (length, flat)
