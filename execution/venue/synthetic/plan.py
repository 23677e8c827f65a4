"""What is planted in a synthetic day: accelerations to be found, pauses and halts. Pure, seeded.

An acceleration: calm before it, then the price climbs ever faster while many buy, then part of the
gain (or more) is given back, or the climb goes on: what follows tells nothing, on purpose. It comes
to a name that is in play today, one that moves as much as a stock with news: in a usual one a
target of some percent is out of reach, and a careful trigger turns it down for that.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from execution.venue.synthetic import facts
from execution.venue.synthetic.universe import SESSION_S, Universe
from signals.session import NEW_YORK

CALM_S = 110  # quiet before an acceleration
BUSY_S = 60  # activity fades after it, e-fold
RUN_S = 60  # a pause comes at the end of such a run
FIRST_LIVE_S = 1_505  # 09:55:05 and some seconds: what a newcomer sees first
#: It is in a lively name, which alone can reach a target of 3 % in time; quick, and no runaway.
FIRST_NOISE_BPS, FIRST_SIZE_BPS, FIRST_DURATION_S = (6.0, 12.0), (80.0, 100.0), (22.0, 28.0)
FIRST_S, LAST_S = 400, 600  # after the open, before the close
SECOND_NS = 1_000_000_000
BUCKETS_PER_DAY = SESSION_S / 5
IN_PLAY_BPS = (6.0, 8.0)  # standard deviation of a 5-second return: 4 to 5.5 % a day


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One acceleration: `size_bps` gained within `duration_s` from `start_ns`."""

    symbol: str
    start_ns: int
    duration_s: float
    size_bps: float
    volume_x: float  # trading rate as a multiple of the usual one
    noise_bps: float  # own standard deviation of a 5-second return
    kept: float  # part of the gain that stays in the end; above 1 the climb goes on


@dataclass(frozen=True, kw_only=True)
class Halt:
    """One stop of trading, `[start_ns, end_ns)`; a `pause` follows a run to the price band."""

    symbol: str
    start_ns: int
    end_ns: int
    pause: bool
    up: bool
    size_bps: float  # move of the run, before a news halt 0
    gap_bps: float  # move from the last price to the reopening


def plant(
    seed: int, universe: Universe, open_ns: int, session_s: int, per_hour: float
) -> list[Planted]:
    """Return the accelerations of the day by start time, each in a name of its own."""
    rng = np.random.default_rng([seed, 2])
    starts = _starts(rng, session_s, per_hour)
    able = _plantable(universe)
    names = rng.permutation(able)[: len(starts)]
    planted = [
        _acceleration(rng, universe, int(i), open_ns + int(at * SECOND_NS))
        for at, i in zip(starts, names, strict=False)
    ]
    free = sorted(set(able.tolist()) - set(names.tolist()))
    if planted and free:
        planted.append(_first_live(seed, universe, free, open_ns))
    return sorted(planted, key=lambda p: (p.start_ns, p.symbol))


def _first_live(seed: int, u: Universe, free: list[int], open_ns: int) -> Planted:
    """Return the acceleration that a newcomer sees first, in a lively one of the names `free`."""
    rng = np.random.default_rng([seed, 9])
    low, high = FIRST_NOISE_BPS
    lively = [i for i in free if low <= _noise_bps(u, i) <= high]
    i = int(rng.choice(lively)) if lively else max(free, key=lambda i: _noise_bps(u, i))
    start_ns = open_ns + int((FIRST_LIVE_S + rng.uniform(0, 8)) * SECOND_NS)
    found = _acceleration(rng, u, i, start_ns)
    duration_s = float(rng.uniform(*FIRST_DURATION_S))
    return replace(
        found,
        duration_s=round(duration_s, 3),
        size_bps=round(float(np.clip(found.size_bps, *FIRST_SIZE_BPS)), 3),
        volume_x=round(min(60.0, found.volume_x * found.duration_s / duration_s), 3),
    )


def _starts(rng: np.random.Generator, session_s: int, per_hour: float) -> list[float]:
    if per_hour <= 0:
        return []
    every = 3600.0 / per_hour
    slots = np.arange(FIRST_S, session_s - LAST_S, every)
    starts = [float(at + rng.uniform(0.1, 0.9) * every) for at in slots]
    return [at for at in starts if at < session_s - LAST_S]


def _plantable(u: Universe) -> np.ndarray:
    """Return names that could be traded: liquid, no fund, spread and price in the usual limits."""
    plain = np.array(["." not in symbol for symbol in u.symbols])
    spread_bps = np.maximum(u.spread, np.where(u.price < 1, 1e-4, 1e-2) / u.price) * 1e4
    busy = (u.trades > 9_000) & (u.trades < 150_000) & (u.dollars > 2e7)
    good = plain & ~u.etf & busy & (u.price > 6) & (u.price < 400) & (spread_bps < 14)
    return np.flatnonzero(good)


def in_play(universe: Universe, planted: Iterable[Planted]) -> Universe:
    """Return the universe in which the planted names move as much today as their plan says."""
    index = {symbol: i for i, symbol in enumerate(universe.symbols)}
    own = universe.day_sd.copy()
    for p in planted:
        i = index[p.symbol]
        day_sd = p.noise_bps * float(np.sqrt(BUCKETS_PER_DAY)) / 1e4
        common = universe.beta[i] * facts.MARKET_DAY_SD
        own[i] = max(own[i], np.sqrt(max(day_sd**2 - common**2, 0.0)))
    return replace(universe, day_sd=own)


def _noise_bps(u: Universe, i: int) -> float:
    """Return the standard deviation of a 5-second log return of name `i`."""
    day_sd = float(np.hypot(u.day_sd[i], u.beta[i] * facts.MARKET_DAY_SD))
    return day_sd * 1e4 / float(np.sqrt(BUCKETS_PER_DAY))


def _acceleration(rng: np.random.Generator, u: Universe, i: int, start_ns: int) -> Planted:
    noise_bps = max(_noise_bps(u, i), float(rng.uniform(*IN_PLAY_BPS)))
    duration_s = float(rng.uniform(25, 45))
    size_bps = float(np.clip(noise_bps * rng.uniform(17, 26), 105, 200))
    # enough shares and dollars for the usual minima within the climb
    per_second = u.volume[i] / SESSION_S
    wanted = max(15_000.0, 300_000.0 / u.price[i]) / (per_second * duration_s)
    volume_x = float(np.clip(max(rng.uniform(8, 16), 1.3 * wanted), 6, 60))
    kept = float(rng.uniform(-0.2, 1.6))
    return Planted(
        symbol=u.symbols[i],
        start_ns=start_ns,
        duration_s=round(duration_s, 3),
        size_bps=round(size_bps, 3),
        volume_x=round(volume_x, 3),
        noise_bps=round(noise_bps, 4),
        kept=round(kept, 4),
    )


def impulses(
    seed: int, universe: Universe, open_ns: int, session_s: int, taken: Iterable[str]
) -> list[Planted]:
    """Return the market's own sudden moves: any name, both ways, weak and strong, no calm before.

    They are what makes a detector's life hard; few of them deserve to be found.
    """
    rng = np.random.default_rng([seed, 8])
    u, hours = universe, session_s / 3600
    kept_out = set(taken)
    able = np.array([symbol not in kept_out for symbol in u.symbols]) & (u.trades > 300)
    names = np.flatnonzero(able)
    if not names.size:
        return []
    count = int(rng.poisson(facts.IMPULSES_PER_HOUR * hours * names.size / facts.IMPULSE_NAMES))
    found = []
    for i in rng.choice(names, count):
        noise_bps = _noise_bps(u, int(i))
        size_bps = noise_bps * facts.IMPULSE_NOISE * float(np.exp(0.6 * rng.standard_normal()))
        size_bps = float(np.clip(size_bps, 5, 600)) * (1 if rng.random() < 0.5 else -1)
        start_s = rng.uniform(0, session_s - 60)
        found.append(
            Planted(
                symbol=u.symbols[i],
                start_ns=open_ns + int(start_s * SECOND_NS),
                duration_s=float(rng.uniform(5, 60)),
                size_bps=size_bps,
                volume_x=float(1.5 + rng.exponential(6.0)),
                noise_bps=noise_bps,
                kept=float(rng.uniform(-0.5, 1.5)),
            )
        )
    return sorted(found, key=lambda p: (p.start_ns, p.symbol))


def halts(
    seed: int, universe: Universe, open_ns: int, session_s: int, taken: Iterable[str]
) -> list[Halt]:
    """Return the pauses and news halts of the day by start time, in names that are not `taken`."""
    rng = np.random.default_rng([seed, 3])
    u, hours = universe, session_s / 3600
    plain = np.array(["." not in symbol and symbol not in set(taken) for symbol in u.symbols])
    good = plain & ~u.etf & (u.price > 3) & (u.dollars > 2e6) & (u.dollars < 3e8)
    names = rng.permutation(np.flatnonzero(good))
    pauses = int(rng.poisson(facts.PAUSES_PER_HOUR * hours))
    news = int(rng.poisson(facts.NEWS_HALTS_PER_HOUR * hours))
    found = []
    for number, i in enumerate(names[: pauses + news]):
        pause, up = number < pauses, bool(rng.random() < 0.6)
        start = int(rng.uniform(FIRST_S, max(FIRST_S + 1, session_s - 2 * LAST_S)))
        length = facts.PAUSE_S if pause else int(rng.uniform(600, 1800))
        sign = 1 if up else -1
        found.append(
            Halt(
                symbol=u.symbols[i],
                start_ns=open_ns + start * SECOND_NS,
                end_ns=open_ns + min(start + length, session_s - 60) * SECOND_NS,
                pause=pause,
                up=up,
                size_bps=sign * 1010.0 if pause else 0.0,  # the band of most names is 10 %
                gap_bps=float(rng.normal(0, 150 if pause else 800)),
            )
        )
    return sorted(found, key=lambda halt: (halt.start_ns, halt.symbol))


def climb(p: Planted, seconds: np.ndarray) -> np.ndarray:
    """Return the log return of an acceleration at `seconds` after its start."""
    u = np.clip(seconds / p.duration_s, 0.0, 1.0)
    after = np.maximum(seconds - p.duration_s, 0.0)
    shape = u**1.4 * (1 + (p.kept - 1) * (1 - np.exp(-after / 150.0)))
    result: np.ndarray = np.log1p(p.size_bps / 1e4) * shape
    return result


def remainder(p: Planted) -> float:
    """Return the log return that stays when an acceleration is long over."""
    return float(np.log1p(p.size_bps / 1e4) * p.kept)


def run(h: Halt, seconds: np.ndarray) -> np.ndarray:
    """Return the log return of the run and the reopening gap at `seconds` after the halt began."""
    length = (h.end_ns - h.start_ns) / SECOND_NS
    towards = np.clip(1 + seconds / RUN_S, 0.0, 1.0) ** 1.5
    result: np.ndarray = (h.size_bps * towards + h.gap_bps * (seconds >= length)) / 1e4
    return result


def write_csv(planted: Iterable[Planted], path: Path) -> None:
    """Write the planted accelerations, one line each, oldest first."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["symbol", "start_ns", "start_new_york", "duration_s", "size_bps", "volume_x",
             "noise_bps", "kept"]
        )  # fmt: skip
        for p in planted:
            clock = datetime.fromtimestamp(p.start_ns / 1e9, UTC).astimezone(NEW_YORK)
            rows.writerow(
                [p.symbol, p.start_ns, f"{clock:%H:%M:%S}", p.duration_s, p.size_bps, p.volume_x,
                 p.noise_bps, p.kept]
            )  # fmt: skip
