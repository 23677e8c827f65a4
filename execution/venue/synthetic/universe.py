"""The names of a synthetic market: symbols, listing, price, volume, spread, noise. Pure, seeded."""

import string
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from execution.venue.synthetic import facts

TAPE_OF = {"NYSE": "A", "ARCA": "B", "AMEX": "B", "BATS": "B", "NASDAQ": "C"}
POINTS = 10_000  # price points of one dollar
TICK_POINTS = 100  # one cent; under one dollar a tick is one point
INDEX_SYMBOLS = ("SPY", "QQQ", "IWM", "VIXY")
SESSION_S = 23_400
QUIET_END = 1.6


@dataclass(frozen=True, kw_only=True)
class Universe:
    """All names, sorted by symbol; arrays are (n,) and share that order."""

    symbols: tuple[str, ...]
    exchanges: tuple[str, ...]  # listing, as the assets API names it
    tape: np.ndarray  # u1, ord of A, B, C
    etf: np.ndarray  # bool
    price: np.ndarray  # f8, USD at the open
    volume: np.ndarray  # f8, shares a day
    trades: np.ndarray  # f8, prints a day
    print_size: np.ndarray  # f8, mean shares of a print
    spread: np.ndarray  # f8, fraction of the price
    depth: np.ndarray  # f8, shares at the NBBO
    day_sd: np.ndarray  # f8, own standard deviation of a day's log return
    beta: np.ndarray  # f8, log return per log return of the market

    @property
    def dollars(self) -> np.ndarray:
        """USD volume of the day."""
        result: np.ndarray = self.price * self.volume
        return result

    def index(self, symbol: str) -> int:
        return self.symbols.index(symbol)


def build(seed: int, count: int) -> Universe:
    """Return the universe of `seed`: the `count` largest names of a market, named at random.

    Raises:
        ValueError: fewer than 8 symbols, or more than the alphabet can name.
    """
    if not 8 <= count <= 40_000:
        raise ValueError(f"a synthetic market has 8 to 40,000 symbols, not {count}")
    rng = np.random.default_rng([seed, 1])
    named = _named(count)
    volumes = _volumes(count)
    rank_of = _claim_ranks(named, volumes)
    free = np.setdiff1d(np.arange(count), list(rank_of.values()))
    fresh = _fresh_symbols(rng, count, named)
    # suffixed names (warrants, units) are the quiet ones
    quiet = np.array(["." in symbol for symbol in fresh]) if fresh else np.empty(0, bool)
    for symbol, rank in zip(
        [fresh[i] for i in np.argsort(rng.random(len(fresh)) + 0.6 * quiet)], free, strict=True
    ):
        rank_of[symbol] = int(rank)
    symbols = tuple(sorted(rank_of))
    ranks = np.array([rank_of[symbol] for symbol in symbols])
    price = _prices(rng, volumes)[ranks]
    etf, exchanges = _listings(rng, symbols)
    for i, symbol in enumerate(symbols):
        if symbol in named:
            exchanges[i], price[i] = named[symbol][0], float(named[symbol][1])
    return _complete(rng, symbols, tuple(exchanges), etf, price, volumes[ranks])


def _named(count: int) -> dict[str, tuple[str, float, float]]:
    """Return the named symbols that a market of `count` names has room for."""
    all_named = facts.STOCKS | facts.ETFS
    order = sorted(all_named, key=lambda s: (s not in INDEX_SYMBOLS, -all_named[s][2], s))
    return {symbol: all_named[symbol] for symbol in order[: max(4, count // 3)]}


def _volumes(count: int) -> np.ndarray:
    """Return share volumes by rank, largest first: measured concentration, then quantiles."""
    ranks, shares = np.array(facts.TOP_VOLUME_SHARES).T
    top = min(count, int(ranks[-1]))
    cumulative = np.exp(np.interp(np.log(np.arange(1, top + 1)), np.log(ranks), np.log(shares)))
    volumes = np.diff(cumulative, prepend=0.0) * facts.TOTAL_VOLUME
    volumes = -np.sort(-volumes)
    if count > top:
        levels, values = np.array(facts.VOLUME_QUANTILES).T
        # funds and suffixed names make the quiet end longer than that of the measured stocks
        level = (1.0 - (np.arange(top, count) + 0.5) / count) ** QUIET_END
        rest = np.exp(np.interp(level, levels, np.log(values)))
        volumes = np.concatenate([volumes, np.minimum(rest, volumes[-1])])
    return volumes


def _claim_ranks(named: dict[str, tuple[str, float, float]], volumes: np.ndarray) -> dict[str, int]:
    """Give every named symbol the free rank whose volume is nearest to its own."""
    free = np.ones(volumes.size, np.bool_)
    ranks: dict[str, int] = {}
    for symbol in sorted(named, key=lambda s: (-named[s][2], s)):
        distance = np.abs(np.log(volumes / (named[symbol][2] * 1e6)))
        ranks[symbol] = int(np.argmin(np.where(free, distance, np.inf)))
        free[ranks[symbol]] = False
    return ranks


def letter_quotas(count: int) -> dict[str, int]:
    """Return how many of `count` symbols start with each letter (largest remainders)."""
    letters = list(facts.SYMBOLS_PER_LETTER)
    exact = np.array(list(facts.SYMBOLS_PER_LETTER.values()), float)
    exact *= count / exact.sum()
    quota = np.floor(exact).astype(int)
    for i in np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]:
        quota[i] += 1
    return dict(zip(letters, quota.tolist(), strict=True))


def _fresh_symbols(rng: np.random.Generator, count: int, named: Iterable[str]) -> list[str]:
    """Return invented symbols that fill the letters' quotas beside the named ones."""
    taken = set(named)
    short = count - len(taken)
    needed = {
        letter: max(0, quota - sum(symbol[0] == letter for symbol in taken))
        for letter, quota in letter_quotas(count).items()
    }
    while sum(needed.values()) > short:  # small markets: named ones exceed a letter's quota
        needed[max(needed, key=lambda letter: needed[letter])] -= 1
    fresh: list[str] = []
    for letter, quota in needed.items():
        while quota > 0:
            symbol = letter + _tail(rng)
            if symbol not in taken and not symbol.startswith(facts.TEST_PREFIXES):
                taken.add(symbol)
                fresh.append(symbol)
                quota -= 1
    return fresh


def _tail(rng: np.random.Generator) -> str:
    """Return what follows the first letter."""
    shares = np.cumsum(facts.LENGTH_SHARES)
    length = min(int(np.searchsorted(shares, rng.random() * shares[-1])), 4)
    suffixed = rng.random() < facts.SUFFIX_SHARE
    if suffixed:
        length = min(max(length, 2), 3)
    tail = "".join(string.ascii_uppercase[i] for i in rng.integers(0, 26, length))
    return tail + (facts.SUFFIXES[rng.integers(len(facts.SUFFIXES))] if suffixed else "")


def _prices(rng: np.random.Generator, volumes: np.ndarray) -> np.ndarray:
    """Return opening prices by volume rank, in whole ticks."""
    levels, values = np.array(facts.PRICE_QUANTILES).T
    rho, log_volume = facts.PRICE_VOLUME_CORRELATION, np.log(volumes)
    score = rho * (log_volume - log_volume.mean()) / log_volume.std()
    score += np.sqrt(1 - rho * rho) * rng.standard_normal(volumes.size)
    level = (np.argsort(np.argsort(score)) + 0.5) / volumes.size
    price = np.exp(np.interp(level, levels, np.log(values)))
    low, high = np.log(facts.CHEAP_PRICES)
    cheap = min(facts.CHEAP_RANKS, volumes.size)
    price[:cheap] = np.exp(rng.uniform(low, high, cheap))
    most = facts.MAX_UNNAMED_DOLLARS * rng.uniform(0.1, 1.0, volumes.size)
    price = np.minimum(price, most / volumes)
    result: np.ndarray = np.where(
        price < 1.0, np.maximum(np.round(price, 4), 0.01), np.round(price, 2)
    )
    return result


def _listings(rng: np.random.Generator, symbols: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Return which names are funds, and where each is listed."""
    draw, venue = rng.random(len(symbols)), rng.random(len(symbols))
    etf, exchanges = np.zeros(len(symbols), np.bool_), []
    for i, symbol in enumerate(symbols):
        root = symbol.split(".")[0]
        plain = root == symbol and len(root) in (3, 4)
        etf[i] = symbol in facts.ETFS or (
            symbol not in facts.STOCKS and plain and draw[i] < facts.ETF_SHARE / 0.8
        )
        if etf[i]:
            exchanges.append("ARCA" if venue[i] < 0.7 else "BATS" if venue[i] < 0.85 else "NASDAQ")
        elif len(root) <= 3:
            exchanges.append("NYSE" if venue[i] < 0.8 else "AMEX" if venue[i] < 0.9 else "NASDAQ")
        else:
            exchanges.append("NASDAQ")
    return etf, exchanges


def _model(model: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Return clip(a · x^b, low, high) for the model (a, b, low, high)."""
    a, b, low, high = model
    result: np.ndarray = np.clip(a * x**b, low, high)
    return result


def _complete(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    exchanges: tuple[str, ...],
    etf: np.ndarray,
    price: np.ndarray,
    volume: np.ndarray,
) -> Universe:
    print_size = np.minimum(_model(facts.SIZE_MODEL, price), np.maximum(volume, 1.0))
    billions = np.maximum(price * volume / 1e9, 1e-7)
    spread = _model(facts.SPREAD_MODEL, billions) * np.where(etf, facts.ETF_SPREAD_FACTOR, 1.0)
    tick_bps = np.where(price < 1.0, 1.0, 100.0) / price
    power, exponent = facts.DEPTH_MODEL
    beta = np.clip(rng.normal(1.0, 0.4, len(symbols)), 0.1, 2.2)
    day_sd = _model(facts.DAY_SD_MODEL, billions) * np.exp(0.25 * rng.standard_normal(beta.size))
    day_sd = np.where(etf, facts.ETF_DAY_SD, day_sd)
    for symbol, value in facts.ETF_BETAS.items():
        if symbol in symbols:
            i = symbols.index(symbol)
            beta[i] = value
            day_sd[i] = 0.0015 * max(1.0, abs(value))
    return Universe(
        symbols=symbols,
        exchanges=exchanges,
        tape=np.array([ord(TAPE_OF[name]) for name in exchanges], np.uint8),
        etf=etf,
        price=price,
        volume=volume,
        trades=volume / print_size,
        print_size=print_size,
        spread=spread / 1e4,
        depth=np.clip(volume * power * (tick_bps / 2.0) ** exponent, 100.0, 500_000.0),
        day_sd=day_sd,
        beta=beta,
    )
