"""The four checks: the design's worked numbers, both sides of each limit, and the unknown."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.confidence.check import Check, composite, sat
from signals.confidence.futures import TrendPart, check_futures, trend_score
from signals.confidence.gravity import (
    Burst,
    breadth,
    check_gravity,
    drift_z,
    gravity,
    pull,
    residual_percent,
    tide_of,
)
from signals.confidence.index import IndexBook, IndexSeries
from signals.confidence.spread import check_spread, impact_bps, round_trip_bps, spread_bps
from signals.confidence.vwap import check_vwap, stretch_percent, stretch_score, vwap_and_sd
from signals.messages import Gravity, IndexBucket
from tests.unit.domain_builders import a_quote, a_session, some_parameters

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "vectors_trigger.json").read_text()
)
SECOND = 1_000_000_000
NOW = 10**6 * SECOND
EXACT = {"rel": 1e-9, "abs": 1e-9}
INDEX = {symbol: (move, sigma) for symbol, (move, sigma, _) in VECTORS["G"]["index"].items()}


def near(value: float) -> Any:
    return pytest.approx(value, **EXACT)


def the_market() -> Gravity:
    """Vector G's shards, added up as integers."""
    shards = VECTORS["G"]["shards"]
    return Gravity(
        n=sum(s["n"] for s in shards),
        n_up2=sum(2 * s["n_up"] for s in shards),
        w=int(sum(s["w"] for s in shards)),
        w_up2=int(sum(2 * s["wu"] for s in shards)),
    )


# --- gravity ------------------------------------------------------------------------------------
def gravity_check(**changes: Any) -> Check:
    parameters = some_parameters(**changes.pop("parameters", {}))
    base: dict[str, Any] = {
        "total": the_market(),
        "coverage": 1.0,
        "index": INDEX,
        "index_as_of_ns": NOW,
        "as_of_ns": NOW,
        "burst": Burst(return_percent=0.95, beta=1.4, spy_percent=0.12),
    }
    told = {**base, **changes}
    burst = told.pop("burst")
    return check_gravity(tide_of(**told, parameters=parameters), burst)


def test_gravity_equals_the_worked_example() -> None:
    g = VECTORS["G"]
    share, drift = breadth(the_market()), drift_z(INDEX)

    assert share == near(g["B"])
    assert sat(share or 0, 0.30, 0.70) == near(g["sB"])
    assert drift == near(g["drift_z"])
    assert pull(drift or 0) == near(g["pull"])
    assert gravity(share or 0, pull(drift or 0)) == near(g["gravity"])
    assert residual_percent(Burst(return_percent=g["r_i"], beta=g["beta"], spy_percent=0.12)) == (
        near(g["r_resid"])
    )


def test_gravity_passes_with_its_number_in_the_text() -> None:
    check = gravity_check()

    assert (check.verdict, check.enabled) == ("pass", True)
    assert check.score == near(VECTORS["G"]["gravity"])
    assert check.reason == "Market gravity is 0.63; your minimum is 0.40."


@pytest.mark.parametrize(("least", "verdict"), [(0.63391, "pass"), (0.63392, "fail")])
def test_gravity_at_its_minimum(least: float, verdict: str) -> None:
    assert gravity_check(parameters={"market_gravity_min": least}).verdict == verdict


@pytest.mark.parametrize(("z", "verdict"), [(-1.49, "pass"), (-1.5, "fail")])
def test_a_hard_fall_of_the_index_blocks_whatever_the_breadth(z: float, verdict: str) -> None:
    index = dict.fromkeys(("SPY", "QQQ", "IWM"), (z, 1.0))
    all_up = Gravity(n=100, n_up2=200, w=100, w_up2=200)

    check = gravity_check(total=all_up, index=index)

    assert check.verdict == verdict


@pytest.mark.parametrize(("spy", "verdict"), [(0.3392, "pass"), (0.3394, "fail")])
def test_a_burst_that_is_only_the_index_fails(spy: float, verdict: str) -> None:
    burst = Burst(return_percent=0.95, beta=1.4, spy_percent=spy)

    assert gravity_check(burst=burst).verdict == verdict
    assert gravity_check(burst=burst, parameters={"min_idiosyncratic_share": 0.0}).verdict == (
        "pass"
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"total": Gravity()}, "no symbol traded"),
        ({"coverage": 0.69}, "69 % of the market reported"),
        ({"index": {"SPY": (0.1, 0.2)}}, "no index data"),
        ({"index": {**INDEX, "IWM": (0.1, 0.0)}}, "no index data"),
        ({"index_as_of_ns": None}, "no index data"),
        ({"index_as_of_ns": NOW - 10 * SECOND - 1}, "10.0 s old"),
    ],
)
def test_gravity_without_data_is_unknown(changes: dict[str, Any], word: str) -> None:
    check = gravity_check(**changes)

    assert (check.verdict, check.score) == ("unknown", 0.5)
    assert word in check.reason


def test_gravity_with_data_of_ten_seconds_is_known() -> None:
    assert gravity_check(index_as_of_ns=NOW - 10 * SECOND, coverage=0.7).verdict == "pass"


def test_an_unknown_check_that_fails_by_policy_scores_nothing() -> None:
    check = gravity_check(total=Gravity(), parameters={"on_unknown_gravity": "fail"})

    assert (check.verdict, check.score) == ("unknown", 0.0)


# --- futures ------------------------------------------------------------------------------------
PARTS = [TrendPart(*part) for part in VECTORS["H"]["parts"]]


def futures_check(**changes: Any) -> Check:
    parameters = some_parameters(**changes.pop("parameters", {}))
    base: dict[str, Any] = {"parts": PARTS, "parts_as_of_ns": NOW, "as_of_ns": NOW}
    return check_futures(**{**base, **changes}, parameters=parameters)


def test_the_trend_equals_the_worked_example() -> None:
    assert trend_score(PARTS) == near(VECTORS["H"]["score"])
    assert "Futures trend (ETF proxy) is 0.70" in futures_check().reason


@pytest.mark.parametrize(("least", "verdict"), [(0.6978, "pass"), (0.6979, "fail")])
def test_the_trend_at_its_minimum(least: float, verdict: str) -> None:
    assert futures_check(parameters={"futures_trend_min": least}).verdict == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": []},
        {"parts_as_of_ns": None},
        {"parts_as_of_ns": NOW - 30 * SECOND - 1},
        {"parts": [TrendPart(1.0, 1, 1.0, 0.0, 1.0)]},
        {"parameters": {"futures_provider": "none"}},
    ],
)
def test_the_trend_without_data_is_unknown(changes: dict[str, Any]) -> None:
    check = futures_check(**changes)

    assert (check.verdict, check.score) == ("unknown", 0.5)


def test_a_trend_of_thirty_seconds_is_known() -> None:
    assert futures_check(parts_as_of_ns=NOW - 30 * SECOND).verdict == "pass"


# --- spread -------------------------------------------------------------------------------------
def spread_check(quote_changes: dict[str, Any] | None = None, **changes: Any) -> Check:
    parameters = some_parameters(**changes.pop("parameters", {}))
    quote = a_quote(ts_ns=NOW - 140_000_000, **(quote_changes or {}))
    base: dict[str, Any] = {
        "quote": quote,
        "as_of_ns": NOW,
        "quantity": 300,
        "sigma1m_bps": 25.0,
        "volume_1m": 60_000,
        "take_profit_bps": 387.0,
    }
    return check_spread(**{**base, **changes}, parameters=parameters)


def test_the_spread_equals_the_worked_example() -> None:
    i = VECTORS["I"]
    spread, impact = spread_bps(i["bid"], i["ask"]), impact_bps(300, 25.0, 60_000)
    check = spread_check()

    assert spread == near(i["spread_bps"])
    assert impact == near(i["impact_bps"])
    assert round_trip_bps(spread, impact) == near(i["round_trip_bps"])
    assert check.inputs["cost_to_target"] == near(i["cost_to_target"])
    assert check.score == near(i["score"])
    assert check.verdict == "pass"
    assert check.reason == "Spread is 9.98 bps; your limit is 25.00 bps."


@pytest.mark.parametrize(
    ("quote", "changes", "verdict", "word"),
    [
        ({}, {"parameters": {"max_spread_bps": 9.97}}, "fail", "Spread is 9.98"),
        ({}, {"parameters": {"max_spread_bps": 9.98}}, "pass", "Spread"),
        ({"median_spread_bps_60s": 3.32}, {}, "fail", "usual in the last minute is 3.32"),
        ({"median_spread_bps_60s": 3.33}, {}, "pass", "Spread"),
        ({"median_spread_bps_60s": None}, {}, "pass", "Spread"),
        ({}, {"parameters": {"max_cost_to_target": 0.0356}}, "fail", "costs 3.6 % of the target"),
        ({}, {"parameters": {"max_cost_to_target": 0.0357, "tp_min": 4}}, "pass", "Spread"),
        ({"ask_size": 299}, {}, "fail", "The ask shows 299 shares, you would buy 300"),
        ({"ask_size": 300}, {}, "pass", "Spread"),
        ({"bid": 0.0}, {}, "fail", "no two-sided quote"),
        ({"ask": 0.0}, {}, "fail", "no two-sided quote"),
        ({"bid_size": 0}, {}, "fail", "no two-sided quote"),
        ({"ask_size": 0}, {}, "fail", "no two-sided quote"),
        ({"bid": 20.06}, {}, "fail", "locked at 20.06 USD"),
        ({"bid": 20.07}, {}, "fail", "crossed"),
        ({}, {"as_of_ns": NOW + 1861 * 10**6}, "fail", "2001 ms old"),
        ({}, {"as_of_ns": NOW + 1860 * 10**6}, "pass", "Spread"),
    ],
)
def test_each_reason_of_the_spread_on_both_sides(
    quote: dict[str, Any], changes: dict[str, Any], verdict: str, word: str
) -> None:
    if "max_cost_to_target" in changes.get("parameters", {}):
        changes["parameters"]["universe_min_price"] = 20.0

    check = spread_check(quote, **changes)

    assert check.verdict == verdict, check.reason
    assert word in check.reason


def test_the_spread_without_a_quote_is_unknown_and_fails_by_default() -> None:
    check = spread_check(quote=None)

    assert (check.verdict, check.score) == ("unknown", 0.0)
    neutral = spread_check(quote=None, parameters={"on_unknown_spread": "neutral"})
    assert neutral.score == 0.5


# --- VWAP ---------------------------------------------------------------------------------------
def vwap_check(price: float = 20.38, **changes: Any) -> Check:
    parameters = some_parameters(**changes.pop("parameters", {}))
    session = a_session(**{"vwap": 20.0, "vwap_5min_ago": 19.99, **changes.pop("session", {})})
    base: dict[str, Any] = {"open_ns": NOW - 3600 * SECOND, "as_of_ns": NOW}
    return check_vwap(session=session, price=price, **{**base, **changes}, parameters=parameters)


def test_vwap_equals_the_worked_example() -> None:
    f = VECTORS["F"]
    mean, sd = vwap_and_sd([p for p, _ in f["trades"]], [s for _, s in f["trades"]])
    stretch = stretch_percent(f["last"], mean)

    assert (mean, sd) == (near(f["vwap"]), near(f["sigma"]))
    assert stretch == near(f["stretch_pct"])
    assert (f["last"] - mean) / sd == near(f["band_z"])
    assert stretch_score(stretch, 2.5) == near(f["score"])


@pytest.mark.parametrize(
    ("stretch", "score"),
    [(-0.5, 0.0), (-0.25, 0.5), (0.0, 1.0), (1.25, 1.0), (1.9, 0.48), (2.5, 0.0), (3.0, 0.0)],
)
def test_the_stretch_score_at_its_corners(stretch: float, score: float) -> None:
    assert stretch_score(stretch, 2.5) == near(score)


@pytest.mark.parametrize(
    ("price", "changes", "verdict", "word"),
    [
        (20.50, {}, "pass", "2.50 % above VWAP; your limit is 2.50 %"),
        (20.51, {}, "fail", "2.55 % above VWAP; your limit is 2.50 %"),
        (20.00, {}, "pass", "0.00 % above"),
        (19.99, {}, "fail", "0.05 % below VWAP; you buy only above it"),
        (19.99, {"parameters": {"vwap_require_above": False}}, "pass", "0.05 % below"),
        (20.10, {"session": {"vwap_5min_ago": 20.0}}, "pass", "0.50 % above"),
        (20.10, {"session": {"vwap_5min_ago": 20.01}}, "fail", "VWAP moved -5.00 bps"),
        (20.10, {"parameters": {"min_vwap_slope_bps": 5.0}}, "pass", "0.50 %"),
        (20.10, {"parameters": {"min_vwap_slope_bps": 5.01}}, "fail", "5.00 bps in 5 minutes"),
    ],
)
def test_each_reason_of_vwap_on_both_sides(
    price: float, changes: dict[str, Any], verdict: str, word: str
) -> None:
    check = vwap_check(price, **changes)

    assert check.verdict == verdict, check.reason
    assert word in check.reason


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"open_ns": NOW - 300 * SECOND}, "pass"),
        ({"open_ns": NOW - 300 * SECOND + 1}, "unknown"),
        ({"session": {"trades": 50}}, "pass"),
        ({"session": {"trades": 49}}, "unknown"),
        ({"session": {"vwap": None}}, "unknown"),
        ({"session": {"vwap_5min_ago": None}}, "unknown"),
    ],
)
def test_vwap_of_a_young_or_thin_session_is_unknown(changes: dict[str, Any], verdict: str) -> None:
    assert vwap_check(20.1, **changes).verdict == verdict


# --- the composite ------------------------------------------------------------------------------
def a_check(name: str, score: float, *, enabled: bool = True) -> Check:
    return Check(name=name, enabled=enabled, score=score, verdict="pass", reason="")


def test_the_composite_equals_the_worked_example() -> None:
    scores = {
        "gravity": VECTORS["G"]["gravity"],
        "futures": VECTORS["H"]["score"],
        "spread": VECTORS["I"]["score"],
        "vwap": VECTORS["F"]["score"],
    }
    weights = {"gravity": 0.25, "futures": 0.15, "spread": 0.35, "vwap": 0.25}
    checks = {name: a_check(name, score) for name, score in scores.items()}

    assert composite(checks, weights) == near(VECTORS["M"]["confidence"])


def test_a_check_that_is_off_does_not_weigh() -> None:
    checks = {"a": a_check("a", 1.0), "b": a_check("b", 0.0, enabled=False)}

    assert composite(checks, {"a": 0.5, "b": 0.5}) == 1.0
    assert composite({"b": checks["b"]}, {"b": 1.0}) == 0.5


def test_a_check_is_json() -> None:
    assert json.loads(json.dumps(spread_check().as_dict()))["name"] == "spread"


# --- the index's own memory ---------------------------------------------------------------------
def a_bucket(k: int, close: float, symbol: str = "SPY") -> IndexBucket:
    return IndexBucket(symbol=symbol, k=k, close=close, mid=None, ts_ns=k * 5 * SECOND)


def test_the_index_remembers_returns_over_buckets() -> None:
    series = IndexSeries()
    for k in range(200):
        series.add(a_bucket(k, 100.0 + k))

    assert series.return_percent(60) == near(100 * (299 / 239 - 1))
    assert series.return_percent(200) is None
    minutes = [299.0 - 12 * n for n in range(17)]
    squares = [(100 * (new / old - 1)) ** 2 for new, old in pairwise(minutes)]
    assert series.sigma_5m_percent() == near((5 * sum(squares) / 16) ** 0.5)


def test_a_gap_in_the_index_starts_it_again_and_an_old_bucket_is_ignored() -> None:
    series = IndexSeries()
    for k in (1, 2, 2, 1, 4):
        series.add(a_bucket(k, float(k)))

    assert list(series.closes) == [4.0]
    assert series.sigma_5m_percent() is None


def test_the_index_book_ignores_other_symbols() -> None:
    book = IndexBook()
    book.add(a_bucket(1, 10.0, "AAPL"))
    book.add(a_bucket(1, 10.0, "QQQ"))

    assert {symbol: series.last_k for symbol, series in book.series.items()} == {
        "SPY": -1,
        "QQQ": 1,
        "IWM": -1,
        "VIXY": -1,
    }


@given(
    symbols=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5_000_000)), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=25),
)
def test_breadth_is_the_same_however_the_letters_are_cut(
    symbols: list[tuple[int, int]], cuts: list[int]
) -> None:
    """Partial sums are whole numbers: 26 shards say exactly what one would."""

    def sums(of: list[tuple[int, int]]) -> Gravity:
        return Gravity(
            n=len(of),
            n_up2=sum(up for up, _ in of),
            w=sum(w for _, w in of),
            w_up2=sum(up * w for up, w in of),
        )

    edges = [0, *sorted(min(cut, len(symbols)) for cut in cuts), len(symbols)]
    parts = [sums(symbols[a:b]) for a, b in pairwise(edges)]
    total = Gravity(
        n=sum(p.n for p in parts),
        n_up2=sum(p.n_up2 for p in parts),
        w=sum(p.w for p in parts),
        w_up2=sum(p.w_up2 for p in parts),
    )

    assert total == sums(symbols)
    assert breadth(total) == breadth(sums(symbols))
