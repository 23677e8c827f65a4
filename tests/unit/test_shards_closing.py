"""The compiled close against its numpy twin, on random and hostile rings, bit for bit."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards import closing, detector
from shards.columns import Columns, Rings
from shards.state import RING, STATE, STATE_DEFAULTS, Every, Table
from signals.candidates import State
from signals.parameters.catalogue import defaults
from tests.twins import closing as twin

K = 1_000
HOSTILE = np.array([np.nan, 0.0, -0.0, 1e-300, 1e300, -1e12, np.inf])
POSSIBLE = np.array([np.nan, 1e-300, 1e300])  # a price is positive and finite
CHANGES = [
    {},
    {"oscillator_mode": "awesome", "min_5s_flatline_ao_buckets": 0},
    {"oscillator_mode": "awesome_smoothed", "ao_accel_mode": "ratio", "ao_accel_rate": 1.2},
    {
        "fast_period": 2, "slow_period": 4, "smooth_period": 2, "ao_accel_lookback": 2,
        "sigma_window": 240, "vol_floor": 0, "aoHistoryBuckets": 30, "max_burst_buckets": 3,
    },
    {
        "ao_min_magnitude_bps": 0.0, "ao_accel_rate": 0.0, "vol_surge_multiplier": 1.0,
        "min_cumulative_ao_volume": 0, "min_cumulative_ao_dollars": 0, "ao_min_z": 0.1,
        "min_burst_trades": 1, "flatline_ratio": 0.9, "max_jump_share": 1.0,
        "min_5s_flatline_ao_buckets": 0, "max_synthetic_share": 1.0,
    },
]  # fmt: skip


class Market:
    """Rings and columns of some symbols, as a session may have left them, or worse."""

    def __init__(self, seed: int, symbols: int, change: int, harm: float) -> None:
        rng = np.random.default_rng(seed)
        self.settings = detector.settings_of({**defaults(), **CHANGES[change]})
        self.rings = Rings(RING, self.settings.depth, symbols)
        self.rings.resize(symbols)
        self.table = Columns(STATE, STATE_DEFAULTS, symbols)
        self.table.resize(symbols)
        shape = (self.rings.depth, symbols)
        closes = np.exp(np.cumsum(rng.normal(0, 1e-3, shape), axis=0)) * rng.uniform(1, 500)
        closes = np.round(closes, rng.integers(1, 5))
        for name in RING.names or ():
            ring = self.rings[name]
            if name in ("volume", "trades", "calm", "shares"):
                ring[:] = rng.integers(0, 2000, shape) * rng.integers(0, 2, shape)
            elif name == "value":
                ring[:] = self.rings["shares"] * np.round(closes * 1e6)
            elif name == "synthetic":
                ring[:] = rng.integers(0, 2, shape)
            elif name in ("ao", "x"):
                ring[:] = rng.choice([0.0, 1.0, 5.0], symbols) * rng.normal(0, 1, shape)
            else:
                ring[:] = closes
            if ring.dtype.kind == "f" and harm:
                kinds = POSSIBLE if name == "close" else HOSTILE
                ring[rng.random(shape) < harm] = rng.choice(kinds)
        self._fill_table(rng, symbols)
        self.restarted = rng.random(symbols) < 0.1

    def _fill_table(self, rng: np.random.Generator, symbols: int) -> None:
        table = self.table
        table["first_k"][:] = rng.choice([-1, K - 900, K - 40], symbols, p=[0.1, 0.7, 0.2])
        table["ring_k"][:] = rng.choice([-1, K - 900, K - 70, K], symbols, p=[0.1, 0.6, 0.2, 0.1])
        table["state"][:] = rng.integers(0, len(State), symbols)
        table["until_k"][:] = rng.integers(K - 2, K + 3, symbols)
        table["b"][:] = K - rng.integers(0, 60, symbols)
        table["born_k"][:] = table["b"] + 1
        table["flat_len"][:] = rng.integers(0, 30, symbols)
        table["sigma5"][:] = rng.uniform(0.5, 20, symbols)
        for name in ("restart", "halted"):
            table[name][:] = rng.random(symbols) < 0.1


def same(mine: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"))


MARKETS = st.builds(
    Market,
    seed=st.integers(0, 2**32),
    symbols=st.integers(1, 40),
    change=st.integers(0, len(CHANGES) - 1),
    harm=st.sampled_from([0.0, 0.0, 0.02]),
)


@given(MARKETS)
@settings(max_examples=80)
@example(Market(seed=3, symbols=2100, change=4, harm=0.0))  # more than one tile
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_features_states_and_evidence_equal_the_twin(market: Market) -> None:
    table, rings, given = market.table, market.rings, market.settings
    state = table["state"].copy()
    expected = twin.features(rings, K, table["ring_k"], given)
    started = table["first_k"] >= 0
    rested = twin.rested(
        state, table["until_k"], K, warm=expected.warm,
        suspended=started & ((table["halted"] != 0) | (table["restart"] != 0)),
        restarted=market.restarted & started, quiet=expected.quiet,
    )  # fmt: skip

    every = Every.empty(table.size)
    closing.look(
        K, table.size, table.view(Table), rings.view(), given.rule, market.restarted, every,
        np.empty(table.size, np.int64),
    )  # fmt: skip

    for name in twin.Features._fields:
        assert same(getattr(every, name), getattr(expected, name)), name
    assert same(table["state"], rested)
    near = twin.worth_a_look(expected, rested, given.limits)
    assert np.flatnonzero(every.near).tolist() == near.tolist()
    _weighed_alike(market, every, expected)


def _weighed_alike(market: Market, every: Every, expected: twin.Features) -> None:
    table, rings, given = market.table, market.rings, market.settings
    rows = np.flatnonzero(table["first_k"] >= 0)
    for latched in (True, False):
        theirs = twin.gather(rings, K, rows, table, expected, given, latched=latched)
        mine = detector.gather(rings, K, rows, table, every, given, latched=latched)
        e = theirs.evidence
        length = np.where(mine["length"] > 0, mine["length"], e.burst_length)
        assert same(length, e.burst_length)
        exact = {
            "b": theirs.b, "flat_length": e.flat_length, "volume": e.volume, "trades": e.trades,
            "dollars": e.dollars, "x": e.x, "accel": e.accel, "surge": e.surge,
            "jump_share": e.jump_share, "synthetic_share": e.synthetic_share,
            "base_close": theirs.base_close,
        }  # fmt: skip
        for name, values in exact.items():
            assert same(mine[name], values), name
        known = ~np.isnan(mine["sigma5"]) | ~np.array(latched)
        for name, values in (("sigma5", theirs.sigma5), ("z", e.z)):
            assert np.allclose(
                mine[name][known], values[known], rtol=1e-9, atol=0, equal_nan=True
            ), name
        judged = e._replace(z=np.where(known, mine["z"], e.z))
        alive = (table["state"][rows] == State.CANDIDATE) & latched
        born = ~alive & twin.passes(judged, given.limits)
        near = ~alive & ~born & twin.passes(judged, given.limits, margin=given.limits.margin)
        assert same(mine["verdict"] == closing.BORN, born)
        assert same(mine["verdict"] == closing.NEAR_MISS, near)
        assert same(mine["verdict"] == closing.ALIVE, alive)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60))
def test_the_median_is_that_of_the_sorted_values(values: list[float]) -> None:
    assert closing._median(np.array(values), len(values)) == np.median(values)
