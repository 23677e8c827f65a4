"""The names of a synthetic market: letters, concentration, prices, spreads, what is never named."""

from datetime import date

import numpy as np
import pytest

from execution.venue.synthetic import SyntheticMarket, facts, universe
from relay import frames


@pytest.fixture(scope="module")
def whole() -> universe.Universe:
    return universe.build(7, 11_000)


def test_each_letter_has_its_real_share_of_names(whole: universe.Universe) -> None:
    listed = facts.SYMBOLS_PER_LETTER
    total = sum(listed.values())

    for letter, number in listed.items():
        share = np.mean([symbol[0] == letter for symbol in whole.symbols])

        assert share == pytest.approx(number / total, abs=2 / 11_000)


def test_symbols_are_sorted_distinct_short_and_no_test_symbols(whole: universe.Universe) -> None:
    assert list(whole.symbols) == sorted(set(whole.symbols))
    assert len(whole.symbols) == 11_000
    assert max(map(len, whole.symbols)) <= 8  # one word of a symbol key
    assert not any(symbol.startswith(facts.TEST_PREFIXES) for symbol in whole.symbols)
    assert all(frames.key_symbol(*frames.symbol_key(s)) == s for s in whole.symbols[:500])


def test_index_symbols_are_there_and_funds(whole: universe.Universe) -> None:
    for symbol in universe.INDEX_SYMBOLS:
        assert whole.etf[whole.index(symbol)]


def test_volume_is_as_concentrated_as_measured(whole: universe.Universe) -> None:
    volume = np.sort(whole.volume)[::-1]

    shares = [volume[:top].sum() / volume.sum() for top in (10, 100, 1000)]

    assert shares == pytest.approx([0.15, 0.42, 0.82], abs=0.02)


def test_log_volume_is_wide_and_left_skewed(whole: universe.Universe) -> None:
    log = np.log(whole.volume)
    centered = (log - log.mean()) / log.std()

    assert 2.5 < log.std() < 4.5
    assert (centered**3).mean() < -0.3


def test_a_day_has_fifty_to_seventy_million_prints(whole: universe.Universe) -> None:
    assert 50e6 < whole.trades.sum() < 70e6


def test_large_names_have_spreads_of_2_to_7_bps_or_one_tick(whole: universe.Universe) -> None:
    large = np.argsort(-np.where(whole.etf, 0, whole.dollars))[:200]
    bps = np.maximum(whole.spread[large], 0.01 / whole.price[large]) * 1e4

    assert 2 <= np.median(bps) <= 7
    assert np.percentile(bps, 5) > 1
    assert np.percentile(bps, 95) < 7


def test_thin_names_have_wide_spreads(whole: universe.Universe) -> None:
    thin = whole.dollars < 100_000

    assert np.median(whole.spread[thin]) * 1e4 > 50


@pytest.mark.parametrize("count", [8, 20, 60, 500])
def test_small_markets_keep_the_index_symbols(count: int) -> None:
    small = universe.build(3, count)

    assert len(small.symbols) == count
    assert set(universe.INDEX_SYMBOLS) <= set(small.symbols)


@pytest.mark.parametrize("count", [0, 7, 40_001])
def test_impossible_sizes_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="symbols"):
        universe.build(3, count)


def test_assets_name_every_symbol_as_synthetic() -> None:
    market = SyntheticMarket(seed=1, day=date(2026, 11, 23), symbols=100)

    rows = market.assets()

    assert [row["symbol"] for row in rows] == list(market.header.symbols)
    assert all("Synthetic" in str(row["name"]) for row in rows)
    assert {row["exchange"] for row in rows} <= set(universe.TAPE_OF)
