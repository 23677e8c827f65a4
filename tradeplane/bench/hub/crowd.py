"""A crowd made up: rounds in which thousands of names burst at once, as the shards report them.

Numbers are drawn around the worked example of the trigger's design, so that every gate has
something to say: some names pass nearly all of them, most do not.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np

from signals.messages import Candidate, Gravity, IndexBucket, Quote, Report, SessionState
from signals.session import BUCKET_NS, Session, regular_session

SHARDS = 26  # as many as the design allows: a report is at most a megabyte
UNIVERSE = 11_000
HISTORY = 36  # buckets that ride on a candidate
MINUTES = 60  # one-minute returns that do
QUOTE_AGE_NS = 100_000_000
GRACE_NS = 750_000_000
DAY = date(2026, 3, 2)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def session() -> Session:
    """Return the session of the made-up day."""
    return regular_session(DAY)


def universe() -> list[str]:
    """Return 11,000 names, as many for each first letter."""
    tails = [a + b + c for a in "ABCDEFGH" for b in LETTERS for c in "AEIOU"]
    return sorted(LETTERS[i % 26] + tails[i // 26] for i in range(UNIVERSE))


def candidates(
    symbols: Sequence[str], k: int, rng: np.random.Generator, born: int
) -> list[Candidate]:
    """Return one candidate of bucket k for each symbol.

    Args: born: the bucket in which their bursts began; the same names go on from round to round.
    """
    count = len(symbols)
    price = np.round(rng.uniform(6, 300, count), 2)
    step = rng.normal(0, 4e-4, (count, HISTORY))
    closes = np.round(
        price[:, None] * np.exp(np.cumsum(step, axis=1) - step.sum(axis=1)[:, None]), 4
    )
    x = rng.gamma(4.0, 4.0, count)
    draws = {
        "z": rng.gamma(5.0, 0.9, count), "accel": rng.normal(3.0, 2.0, count),
        "surge": rng.gamma(3.0, 1.5, count), "sigma": rng.gamma(6.0, 4.0, count),
        "spread": rng.gamma(3.0, 4.0, count) / 2e4, "stretch": rng.normal(0.006, 0.008, count),
    }  # fmt: skip
    volumes = rng.integers(0, 9_000, (count, HISTORY))
    returns = rng.normal(0, draws["sigma"][:, None], (count, MINUTES))
    osc = np.cumsum(rng.normal(0, 2.0, (count, HISTORY)), axis=1)
    return [
        _candidate(symbol, k, born, i, price, closes, x, draws, volumes, returns, osc)
        for i, symbol in enumerate(symbols)
    ]


def _candidate(
    symbol: str,
    k: int,
    born: int,
    i: int,
    price: np.ndarray,
    closes: np.ndarray,
    x: np.ndarray,
    draws: dict[str, np.ndarray],
    volumes: np.ndarray,
    returns: np.ndarray,
    osc: np.ndarray,
) -> Candidate:
    close, bars = float(closes[i, -1]), closes[i]
    half = max(float(price[i] * draws["spread"][i]), 0.005)
    end_ns = (k + 1) * BUCKET_NS
    vwap = close / (1 + float(draws["stretch"][i]))
    shares = volumes[i]
    return Candidate(
        candidate_id=f"{DAY}-{symbol}-{born}",
        symbol=symbol, k=k, state="CANDIDATE", shadow=False, born_k=born + 1, b=born, flat_len=14,
        x=float(x[i]), z=float(draws["z"][i]), accel=float(draws["accel"][i]),
        ao=float(osc[i, -1]) / 1e3, ac=float(x[i]) * close / 1e4, slow_mean=close * 0.997,
        surge=float(draws["surge"][i]), cum_volume=int(shares[-4:].sum()) + 5_000,
        cum_dollars=float(close * (shares[-4:].sum() + 5_000)), jump_share=0.4, burst_trades=60,
        sigma5_bps=float(draws["sigma"][i]) / 3.46, sigma1m_bps=float(draws["sigma"][i]),
        noise_gain=0.73, close=close, base_close=float(bars[-5]),
        volume_1m=int(shares[-12:].sum()), volume_5m=int(shares.sum() * 60 / HISTORY),
        dollar_volume_1m=float(close * shares[-12:].sum()), synthetic_share=0.1,
        returns_1m_bps=returns[i].tolist(),
        window={
            "k0": [k - HISTORY + 1], "o": bars.tolist(), "h": (bars * 1.0004).tolist(),
            "l": (bars * 0.9996).tolist(), "c": bars.tolist(), "vwap": (bars * 1.0001).tolist(),
            "v": shares.tolist(), "n": (shares // 90).tolist(), "synthetic": [0] * HISTORY,
            "x": osc[i].tolist(), "ao": (osc[i] / 1e3).tolist(),
        },
        session=SessionState(
            vwap=vwap, vwap_sd=close * 0.006, cum_volume=900_000, trades=8_000, open=close * 0.98,
            high=close * 1.01, low=close * 0.97, vwap_5min_ago=vwap * 0.9995,
        ),
        quote=Quote(
            bid=round(close - half, 2), ask=round(close + half, 2), bid_size=800, ask_size=1_200,
            ts_ns=end_ns + GRACE_NS - QUOTE_AGE_NS, median_spread_bps_60s=2e4 * half / close,
        ),
        luld_up=close * 1.09, luld_down=close * 0.91, last_price=close,
        last_ts_ns=end_ns - QUOTE_AGE_NS,
    )  # fmt: skip


def reports(
    run: str, k: int, found: Sequence[Candidate], seq: int, shards: int = SHARDS
) -> list[Report]:
    """Return the reports of bucket k: the candidates by first letter, like the shards' names."""
    share = -(-len(LETTERS) // shards)
    by_shard: dict[int, list[Candidate]] = {n: [] for n in range(1, shards + 1)}
    for one in found:
        by_shard[min(LETTERS.index(one.symbol[0]) // share + 1, shards)].append(one)
    return [
        Report(
            run=run, shard=shard, epoch=1, seq=seq, k=k, stop=None, params_version=1,
            assignment=shard,
            n_symbols=UNIVERSE // shards, n_fresh=UNIVERSE // shards // 3, prints=k, late_prints=0,
            feed_lag_ms=2.0, gravity=Gravity(n=300, n_up2=390, w=3_000_000, w_up2=4_000_000),
            candidates=inside, births=len(inside), index=_index(k) if shard == 1 else [],
        )
        for shard, inside in by_shard.items()
    ]  # fmt: skip


def _index(k: int) -> list[IndexBucket]:
    wave = 1 + 0.0008 * float(np.sin(k / 40.0)) + 2e-6 * (k % 4_000)
    return [
        IndexBucket(
            symbol=name, k=k, close=level * wave, mid=level * wave, ts_ns=(k + 1) * BUCKET_NS
        )
        for name, level in (("IWM", 210.0), ("QQQ", 480.0), ("SPY", 560.0))
    ]
