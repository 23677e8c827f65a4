"""A synthetic market behaves as the measured one: sizes, bursts, bounce, quotes, shape."""

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

import numpy as np
import pytest

from execution.venue.synthetic import SyntheticMarket, prices
from relay import frames

SECOND_NS = 1_000_000_000
SPAN_S = 240


class Sample(NamedTuple):
    market: SyntheticMarket
    trades: np.ndarray
    quotes: np.ndarray

    def of(self, symbol: str) -> np.ndarray:
        return self.trades[self.trades["key"] == frames.symbol_key(symbol)[0]]

    def quotes_of(self, symbol: str) -> np.ndarray:
        return self.quotes[self.quotes["key"] == frames.symbol_key(symbol)[0]]


@pytest.fixture(scope="module")
def sample() -> Sample:
    market = SyntheticMarket(seed=7, day=date(2026, 11, 23))
    trades, quotes = [], []
    for block in market.blocks(market.live_ns, market.live_ns + SPAN_S * SECOND_NS):
        spans = frames.scan(block.data)
        trades.append(frames.trades(block.data, spans))
        quotes.append(frames.quotes(block.data, spans))
    return Sample(market, np.concatenate(trades), np.concatenate(quotes))


def has(trades: np.ndarray, letter: str) -> np.ndarray:
    found = np.zeros(trades.size, np.bool_)
    for shift in range(0, 64, 8):
        found |= (trades["conditions"] >> np.uint64(shift)) & np.uint64(255) == ord(letter)
    return found


def counts(sample: Sample, symbol: str, width_s: int = 1) -> np.ndarray:
    at = (sample.of(symbol)["ts_ns"] - sample.market.live_ns) // (width_s * SECOND_NS)
    at = at[(at >= 0) & (at < SPAN_S // width_s)]
    return np.bincount(at, minlength=SPAN_S // width_s)


def test_a_second_has_some_thousand_prints_and_bounded_quotes(sample: Sample) -> None:
    assert 1_500 < sample.trades.size / SPAN_S < 6_000
    assert sample.quotes.size < sample.trades.size


def test_odd_lots_and_round_lots_have_their_shares(sample: Sample) -> None:
    size = sample.trades["size"]

    assert (size < 100).mean() == pytest.approx(0.46, abs=0.04)
    assert np.mean(size == 100) == pytest.approx(0.41, abs=0.05)
    assert has(sample.trades, "F").mean() == pytest.approx(0.40, abs=0.05)


def test_prices_and_sizes_are_sane(sample: Sample) -> None:
    assert (sample.trades["price"] > 0).all()
    assert (sample.trades["size"] > 0).all()
    assert (sample.quotes["bid"] > 0).all()
    assert (sample.quotes["bid_size"] >= 100).all()


def test_quotes_are_never_locked_or_crossed(sample: Sample) -> None:
    assert (sample.quotes["ask"] > sample.quotes["bid"]).all()


def test_busy_names_print_in_bursts(sample: Sample) -> None:
    for symbol in ("SPY", "QQQ", "AAPL", "NVDA", "TSLA", "IWM"):
        seconds = counts(sample, symbol)

        assert seconds.var() / seconds.mean() > 8


def test_bursts_are_shared_between_names(sample: Sample) -> None:
    u = sample.market.universe
    names = [u.symbols[i] for i in np.argsort(-u.trades)[:30]]

    logs = np.array([np.log1p(counts(sample, name, 5)) for name in names])

    assert 0.15 < np.median(np.corrcoef(logs)[np.triu_indices(30, 1)]) < 0.6


def test_many_prints_share_a_millisecond(sample: Sample) -> None:
    stamps = np.sort(sample.of("AAPL")["ts_ns"]) // 1_000_000

    assert 0.2 < (np.diff(stamps) == 0).mean() < 0.7


def test_prices_bounce_between_bid_and_ask(sample: Sample) -> None:
    trades = sample.of("AAPL")
    changes = np.diff(trades["price"][~has(trades, "I")])

    assert -0.6 < np.corrcoef(changes[1:], changes[:-1])[0, 1] < -0.15


def test_prints_of_exchanges_stand_at_the_quote(sample: Sample) -> None:
    quotes, trades = sample.quotes_of("MSFT"), sample.of("MSFT")
    trades = trades[trades["exchange"] != ord("D")]
    at = np.searchsorted(quotes["ts_ns"], trades["ts_ns"], side="right") - 1
    trades, quotes = trades[at >= 0], quotes[at[at >= 0]]

    touching = (trades["price"] == quotes["bid"]) | (trades["price"] == quotes["ask"])

    assert touching.mean() > 0.9


def test_large_names_are_quoted_within_2_to_7_bps(sample: Sample) -> None:
    u = sample.market.universe
    medians = []
    for i in np.argsort(-np.where(u.etf, 0, u.dollars))[:100]:
        quotes = sample.quotes_of(u.symbols[i])
        middle = (quotes["ask"] + quotes["bid"]) / 2
        medians.append(np.median((quotes["ask"] - quotes["bid"]) / middle) * 1e4)

    assert 2 <= np.median(medians) <= 7
    assert np.percentile(medians, 90) <= 7


def test_five_second_noise_of_large_names_is_a_few_bps(sample: Sample) -> None:
    quotes = sample.quotes_of("AAPL")
    bucket = quotes["ts_ns"] // (5 * SECOND_NS)
    last = np.append(np.flatnonzero(np.diff(bucket)), quotes.size - 1)
    middle = (quotes["bid"] + quotes["ask"])[last]

    assert 0.7 < np.diff(np.log(middle)).std() * 1e4 < 4


def test_the_day_is_u_shaped() -> None:
    shape = prices.day_shape(390)

    assert 2.1 <= shape[0] <= 3.3
    assert 0.6 <= shape[150:210].mean() <= 0.8
    assert 5.6 <= shape[-1] <= 9.1
    assert shape.mean() == pytest.approx(1.0)


def test_the_prints_follow_the_shape_of_the_day() -> None:
    market = SyntheticMarket(seed=5, day=date(2026, 11, 23), symbols=300)

    def prints(first_minute: int, minutes: int) -> float:
        start = market.session.open_ns + first_minute * 60 * SECOND_NS
        blocks = market.blocks(start, start + minutes * 60 * SECOND_NS)
        return sum((frames.scan(b.data)["kind"] == frames.TRADE).sum() for b in blocks) / minutes

    morning, noon, last = prints(0, 6), prints(190, 8), prints(385, 5)

    assert 1.7 < morning / noon < 4.5
    assert 2.5 < last / noon < 9


def test_generation_is_many_times_faster_than_the_market(
    sample: Sample, record_property: Callable[[str, object], None]
) -> None:
    from time import process_time  # noqa: PLC0415 - only this test looks at a clock

    start = sample.market.live_ns + 600 * SECOND_NS
    began = process_time()
    for _ in sample.market.blocks(start, start + 20 * SECOND_NS):
        pass
    times = 20 / (process_time() - began)

    record_property("times_real_time", times)
    assert times > 20
