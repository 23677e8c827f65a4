"""A synthetic whole market that stands in for a tape: same header, same blocks, made as asked for.

Every minute of the day is a pure function of (seed, day, number of symbols, minute): playing from
any time gives the same bytes for the same minute, and playing needs no memory of what was before.
"""

from collections.abc import Iterator
from datetime import date, time
from pathlib import Path

import numpy as np

from execution.venue.synthetic import encoding, facts, plan, prices, prints, rare, universe
from execution.venue.synthetic.draws import mix
from execution.venue.synthetic.plan import Planted
from relay.tape import Block, TapeHeader
from signals.session import CLOSE, new_york_ns, regular_session

SECOND_NS = 1_000_000_000
MINUTE_S = 60
MINUTE_NS = MINUTE_S * SECOND_NS
LIVE = time(9, 55)  # from here the market is paced; before, it is warm-up
WARM_UP_S = 780  # oscillator and noise need 12 minutes of buckets
CLOSING_S = 5  # closing prints come after the bell
IDS_PER_MINUTE = 10_000_000
_SPAWN, _PRINTS, _AFTER = 21, 22, 23
SETTLED_NS = 30 * MINUTE_NS  # an acceleration is over
SOON_NS = MINUTE_NS + plan.CALM_S * SECOND_NS
CALM_BOOST = 0.8
_EVENTS = 1 << 14

NAME = np.dtype(
    [
        ("price", "<f8"),
        ("spread", "<f8"),
        ("depth", "<f8"),
        ("volume", "<f8"),
        ("odd", "<f8"),
        ("hundred", "<f8"),
        ("lots", "<f8"),
        ("tape", "<i8"),
    ]
)


class SyntheticMarket:
    """A US market day of invented names and prices with the statistics of real ones.

    Args:
        seed: the same seed, day and number of symbols give the same bytes.
        symbols: how many names, the largest first.
        start_ns: where `blocks()` starts without an argument; 09:42 New York when None.
        planted_per_hour: accelerations whose list is `planted`; `impulses` are the market's own.
        close: the session's end in New York; 13:00 on a half day.
    Raises:
        ValueError: an impossible number of symbols or a negative rate.
    """

    def __init__(
        self,
        *,
        seed: int,
        day: date,
        symbols: int = 11_000,
        start_ns: int | None = None,
        planted_per_hour: float = 30.0,
        close: time = CLOSE,
    ) -> None:
        if seed < 0 or planted_per_hour < 0:
            raise ValueError("seed and planted_per_hour must not be negative")
        self.seed = seed
        self.session = regular_session(day, close=close)
        self.live_ns = new_york_ns(day, LIVE)  # warm-up before, paced from here
        self.start_ns = self.live_ns - WARM_UP_S * SECOND_NS if start_ns is None else start_ns
        self.path = Path(f"synthetic-{seed}")  # where a tape has its file name
        self.universe = universe.build(seed, symbols)
        session_s = (self.session.close_ns - self.session.open_ns) // SECOND_NS
        self.minutes = session_s // MINUTE_S
        open_ns = self.session.open_ns
        self.planted: list[Planted] = plan.plant(
            seed, self.universe, open_ns, session_s, planted_per_hour
        )
        self.universe = plan.in_play(self.universe, self.planted)
        self.halts = plan.halts(
            seed, self.universe, open_ns, session_s, [p.symbol for p in self.planted]
        )
        busy = [*(p.symbol for p in self.planted), *(h.symbol for h in self.halts)]
        self.impulses: list[Planted] = plan.impulses(
            seed, self.universe, open_ns, session_s, [*busy, *universe.INDEX_SYMBOLS]
        )
        self.header = TapeHeader(
            feed="sip",
            day=day,
            channels=("trades", "quotes", "statuses", "lulds"),
            symbols=self.universe.symbols,
            source="synthetic",
        )
        self._levels = prices.MinuteLevels(seed, self.universe, self.minutes)
        self._constants = _Constants(self)

    def blocks(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Block]:
        """Yield the frames received in [start_ns, end_ns), one second a block, to the close."""
        first_ns = self.start_ns if start_ns is None else start_ns
        # a frame received at a full minute holds the last prints of the minute before
        first = max(0, (first_ns - self.session.open_ns - 1) // MINUTE_NS)
        for minute in range(first, self.minutes + 1):
            minute_ns = self.session.open_ns + minute * MINUTE_NS
            if end_ns is not None and minute_ns >= end_ns:
                return
            for block in _Minute(self, self._constants, minute).blocks():
                trimmed = block.within(first_ns, end_ns)
                if trimmed.recv_ns.size:
                    yield trimmed

    def assets(self) -> list[dict[str, object]]:
        """Return one row per name for an assets API: what a listing says, and the opening price."""
        u = self.universe
        return [
            {
                "symbol": symbol,
                "name": f"{symbol} Synthetic {'ETF' if etf else 'Common Stock'}",
                "exchange": exchange,
                "etf": bool(etf),
                "price": float(price),
                "volume": int(volume),
                "tradable": "." not in symbol,
            }
            for symbol, exchange, etf, price, volume in zip(
                u.symbols, u.exchanges, u.etf, u.price, u.volume, strict=True
            )
        ]

    def write_planted(self, path: Path) -> None:
        """Write the list of planted accelerations as CSV."""
        plan.write_csv(self.planted, path)


class _Constants:
    """Tables for the kernels that hold for the whole day."""

    def __init__(self, market: SyntheticMarket) -> None:
        u = market.universe
        self.names = _names(u)
        self.index = {symbol: i for i, symbol in enumerate(u.symbols)}
        self.tape = self.names["tape"].astype(np.uint8)
        self.symbols = encoding.encoded(list(u.symbols))
        self.condition_lists, self.rare = encoding.condition_lists()
        self.conditions = encoding.encoded(self.condition_lists)
        self.lists_per_tape = len(self.condition_lists) // len(encoding.TAPES)
        self.exchanges = _exchange_tables()
        self.rate, self.cluster = _clusters(u.trades / universe.SESSION_S)
        self.refresh = _refresh(u.trades)
        self.shape = prices.day_shape(market.minutes)
        self.planted = [(self.index[p.symbol], p) for p in market.planted]
        self.moves = self.planted + [(self.index[p.symbol], p) for p in market.impulses]
        self.move_starts = np.array([p.start_ns for _, p in self.moves], np.int64)
        self.move_names = np.array([i for i, _ in self.moves], np.int64)
        self.remainders = np.array([plan.remainder(p) for _, p in self.moves])
        self.halts = [(self.index[h.symbol], h) for h in market.halts]
        count, open_ns = len(u.symbols), market.session.open_ns
        self.halted = np.zeros((2, count), np.int64)
        for i, halt in self.halts:
            self.halted[:, i] = halt.start_ns, halt.end_ns
        self.calm = np.full((2, count), -1, np.int64)
        for i, p in self.planted:
            start_s = (p.start_ns - open_ns) // SECOND_NS
            self.calm[:, i] = start_s - plan.CALM_S, start_s + int(p.duration_s)
        self.calm_names = {i for i, _ in self.planted}
        self.bands = rare.Bands(u, market.minutes * MINUTE_S)


def _names(u: universe.Universe) -> np.ndarray:
    """Return what the print kernel must know of each name, (n,) NAME."""
    names = np.zeros(len(u.symbols), NAME)
    for field in ("price", "spread", "depth", "volume"):
        names[field] = getattr(u, field)
    names["tape"] = u.tape.astype(np.int64) - ord("A")
    log_price = np.log(u.price)
    low, high, at_100, slope = facts.ODD_LOT_MODEL
    odd = np.clip(at_100 + slope * (log_price - np.log(100.0)), low, high)
    low, high, at_1, slope = facts.HUNDRED_MODEL
    hundred = (1 - odd) * np.clip(at_1 + slope * log_price, low, high)
    rest = 1 - odd - hundred
    lots = np.maximum((u.print_size - 27 * odd - 100 * hundred) / (100 * rest), 2.4)
    names["odd"], names["hundred"] = odd, hundred
    names["lots"] = np.log(lots) - 0.9**2 / 2
    return names


def _exchange_tables() -> tuple[np.ndarray, np.ndarray]:
    width = max(len(table) for table in facts.EXCHANGES.values())
    shares, letters = np.ones((3, width)), np.zeros((3, width), np.uint8)
    for row, table in enumerate(facts.EXCHANGES.values()):
        part = np.array([share for _, share in table])
        shares[row, : len(table)] = np.cumsum(part / part.sum())
        letters[row, : len(table)] = [ord(letter) for letter, _ in table]
        letters[row, len(table) :] = letters[row, 1]
    return shares, letters


def _clusters(prints_per_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return clusters per second, and (mean of small, mean of large, share of large) by name.

    Two geometric sizes whose mean and second moment give the measured Fano factor.
    """
    a, b, low, high = facts.CLUSTER_MODEL
    mean = np.clip(a * prints_per_s**b, low, high)
    a, b, low, high = facts.FANO_MODEL
    fano = np.clip(a * prints_per_s**b, low, high)
    small = 1 + 0.6 * (mean - 1)
    large = (fano * mean - (2 * small**2 - small)) / (2 * (mean - small))
    large = np.maximum(large, 2 * small)
    share = (mean - small) / (large - small)
    return prints_per_s / mean, np.array([small, large, share])


def _refresh(trades: np.ndarray) -> np.ndarray:
    """Return (period, phase) of quote refreshes in seconds, (2, n)."""
    period = np.zeros(trades.size, np.int64)
    for least, seconds in reversed(facts.REFRESH):
        period[trades >= least] = seconds
    return np.array([period, (np.arange(trades.size) * 31) % period])


class _Minute:
    """One minute in the making; `blocks()` gives its seconds in order."""

    def __init__(self, market: SyntheticMarket, constants: _Constants, minute: int) -> None:
        self._market, self._constants, self._minute = market, constants, minute
        self._start_ns = market.session.open_ns + minute * MINUTE_NS
        count = len(market.universe.symbols)
        self._book = np.full((2, count), -1, np.int64)
        self._pending = np.empty(0, prints.EVENT)
        self._later: list[rare.Timed] = []
        self._next_id = minute * IDS_PER_MINUTE + 1
        self._grid = self._make_grid()
        shape = constants.shape[min(minute, market.minutes - 1)]
        own = prices.own_activity(market.seed, minute, count)
        self._rate = constants.rate * own * shape
        self._common = _common_factors(market.seed, minute)
        self._widen = 1.0 + 1.5 * float(np.exp(-minute / 6.0))
        self._room = _EVENTS

    def blocks(self) -> Iterator[Block]:
        if self._minute == self._market.minutes:
            yield self._auction(prints.CLOSING, CLOSING_S)
            return
        self._later = [
            timed
            for _, halt in self._constants.halts
            for timed in rare.statuses(halt, self._tape_of(halt.symbol))
            if 0 <= timed[0] - self._start_ns < MINUTE_NS
        ]
        if self._minute == 0:
            self._pending = self._auction_events(prints.OPENING, MINUTE_S - 1)
        for second in range(MINUTE_S):
            yield self._second(second)

    def _tape_of(self, symbol: str) -> str:
        return chr(self._market.universe.tape[self._constants.index[symbol]])

    # --- prices ---------------------------------------------------------------------------
    def _make_grid(self) -> np.ndarray:
        """Return log returns since the open, (n, 61) f4, with what is planted."""
        market, constants, minute = self._market, self._constants, self._minute
        levels = market._levels
        grid = np.empty((levels.levels.shape[1], MINUTE_S + 1), np.float32)
        last = min(minute, market.minutes - 1)
        per_second = MINUTE_S**-0.5
        own_sd = market.universe.day_sd * levels.own_sd[last] * per_second
        market_sd = float(levels.market_sd[last]) * per_second
        pair = levels.levels[[minute, min(minute + 1, market.minutes)]]
        calm = constants.calm
        prices.bridge(
            market.seed, minute, pair, market.universe.beta, own_sd, market_sd,
            calm[0], calm[1], prices.VARIANCE, grid,
        )  # fmt: skip
        self._add_moves(grid)
        seconds = np.arange(MINUTE_S + 1)
        for i, halt in constants.halts:
            if halt.start_ns - plan.RUN_S * SECOND_NS < self._start_ns + MINUTE_NS:
                grid[i] += plan.run(halt, seconds + self._since(halt.start_ns))
        return grid

    def _add_moves(self, grid: np.ndarray) -> None:
        """Add accelerations: the recent ones second by second, of old ones what stays."""
        c, seconds = self._constants, np.arange(MINUTE_S + 1)
        age_ns = self._start_ns - c.move_starts
        old = age_ns >= SETTLED_NS
        stays = np.zeros(grid.shape[0])
        np.add.at(stays, c.move_names[old], c.remainders[old])
        grid += stays[:, None].astype(np.float32)
        self._moves = [c.moves[m] for m in np.flatnonzero(~old & (age_ns > -SOON_NS))]
        for i, move in self._moves:
            if move.start_ns < self._start_ns + MINUTE_NS:
                grid[i] += plan.climb(move, seconds + self._since(move.start_ns))

    def _since(self, ts_ns: int) -> float:
        return (self._start_ns - ts_ns) / SECOND_NS

    # --- one second -----------------------------------------------------------------------
    def _second(self, second: int) -> Block:
        start_ns = self._start_ns + second * SECOND_NS
        stream = self._stream(_SPAWN, second)
        boost, tilt = self._boost_and_tilt(second)
        fresh = self._spawn(stream, start_ns, second, boost, tilt)
        events = np.concatenate([self._pending, fresh, self._reopenings(start_ns)])
        now = events["at"] < start_ns + SECOND_NS
        self._pending = events[~now]
        messages = self._messages(second, start_ns)
        block, rows = self._render(second, events[now], messages)
        rng = np.random.default_rng([self._market.seed, _AFTER, self._minute, second])
        c = self._constants
        self._later += rare.afterthoughts(
            rng, rows, self._market.universe.symbols, c.tape, c.condition_lists, c.lists_per_tape
        )
        return block

    def _stream(self, purpose: int, second: int) -> np.ndarray:
        index = self._minute * 64 + second
        return np.array([mix(self._market.seed, purpose, index)], np.uint64)

    def _spawn(
        self, stream: np.ndarray, start_ns: int, second: int, boost: np.ndarray, tilt: np.ndarray
    ) -> np.ndarray:
        c, seed = self._constants, stream[0]
        while True:
            out = np.empty(self._room, prints.EVENT)
            stream[0] = seed
            count = prints.spawn(
                stream, start_ns, self._start_ns + MINUTE_NS, self._minute * MINUTE_S + second,
                self._rate, float(self._common[second]), boost, tilt, c.cluster, c.refresh, out,
            )  # fmt: skip
            if count != prints.TOO_MANY:
                return out[:count]
            self._room *= 2

    def _boost_and_tilt(self, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) intensity factors and buying probabilities of this second."""
        grid, start_ns = self._grid, self._start_ns + second * SECOND_NS
        drift = (grid[:, second + 1] - grid[:, second]) / self._constants.names["spread"]
        tilt = 0.5 + np.clip(0.5 * drift, -0.3, 0.3)
        boost = np.ones(tilt.size)
        for i, move in self._moves:
            since = (start_ns - move.start_ns) / SECOND_NS
            if since < 0:
                boost[i] *= CALM_BOOST if i in self._constants.calm_names else 1.0
            elif since < move.duration_s + 5 * plan.BUSY_S:
                boost[i] *= _moving_boost(move, since)
                if since < move.duration_s:
                    tilt[i] = 0.85 if move.size_bps > 0 else 0.15
        for i, halt in self._constants.halts:
            if halt.start_ns <= start_ns < halt.end_ns:
                boost[i] = 0.0
            elif halt.pause and -plan.RUN_S <= (start_ns - halt.start_ns) / SECOND_NS < 0:
                boost[i], tilt[i] = 12.0, 0.85 if halt.up else 0.15
        return boost, tilt

    def _reopenings(self, start_ns: int) -> np.ndarray:
        due = [i for i, h in self._constants.halts if start_ns <= h.end_ns < start_ns + SECOND_NS]
        events = np.zeros(len(due), prints.EVENT)
        events["name"], events["kind"] = due, prints.REOPENING
        events["at"] = events["ts"] = start_ns + SECOND_NS // 20
        return events

    def _messages(self, second: int, start_ns: int) -> list[rare.Timed]:
        end_ns = start_ns + SECOND_NS
        due = [timed for timed in self._later if start_ns <= timed[0] < end_ns]
        self._later = [timed for timed in self._later if timed[0] >= end_ns]
        c, at_s = self._constants, self._minute * MINUTE_S + second
        reopened = [i for i, h in c.halts if start_ns <= h.end_ns < end_ns]
        for i in [*reopened, *c.bands.due(at_s).tolist()]:
            at = start_ns + 100_000_000 + (i * 7919) % 890_000_000
            if not c.halted[0, i] <= at < c.halted[1, i]:
                indicator = "E" if i in reopened else "B"
                due.append(c.bands.message(i, self._reference(i), at, at_s, indicator))
        return due

    def _reference(self, i: int) -> float:
        """Return the mean price of the last five minutes, USD; after a reopening the new one."""
        levels = self._market._levels.levels[max(0, self._minute - 4) : self._minute + 1, i]
        level = float(levels.mean())
        for j, halt in self._constants.halts:
            if i == j and self._since(halt.end_ns) > -MINUTE_S:
                level += float(plan.run(halt, np.array([1e9]))[0])
        return float(self._market.universe.price[i]) * float(np.exp(level))

    # --- rendering ------------------------------------------------------------------------
    def _render(
        self, second: int, events: np.ndarray, messages: list[rare.Timed]
    ) -> tuple[Block, np.ndarray]:
        c = self._constants
        extra = np.zeros(len(messages), prints.EVENT)
        extra["at"] = [at for at, _ in messages]
        extra["name"], extra["kind"] = np.arange(len(messages)), prints.MESSAGE
        events = np.concatenate([extra, events])
        events = events[np.argsort(events["at"], kind="stable")]
        rows = np.empty(prints.ROWS_PER_EVENT * events.size, prints.ROW)
        count, self._next_id = prints.quote_and_print(
            self._stream(_PRINTS, second), events, c.names, self._grid, self._start_ns,
            self._widen, c.halted, self._book, c.exchanges, c.rare, self._next_id, rows,
        )  # fmt: skip
        rows = rows[:count]
        blob = encoding.texts([message for _, message in messages])
        windows = 10 * CLOSING_S + rows.size // encoding.MAX_MESSAGES + 1
        frames = np.empty((3, windows), np.int64)
        out = np.empty(encoding.BYTES_PER_ROW * rows.size + blob[0].size + 3 * windows, np.uint8)
        size, made = encoding.write_frames(
            rows, c.symbols, c.conditions, c.lists_per_tape, c.tape, blob, out, frames
        )
        recv_ns, starts, ends = frames[:, :made]
        block = Block(recv_ns=recv_ns, starts=starts, ends=ends, data=out[:size].tobytes())
        return block, rows

    # --- auctions -------------------------------------------------------------------------
    def _auction_events(self, kind: int, within_s: int) -> np.ndarray:
        """Return one auction print per name that has auctions, large names first."""
        u = self._market.universe
        names = np.flatnonzero(u.trades >= facts.AUCTION_TRADES)
        rng = np.random.default_rng([self._market.seed, 7, kind])
        slowness = np.clip(4.0 - np.log10(u.trades[names]), 0.2, 2.0)
        delay_s = np.minimum(slowness * rng.exponential(1.5, names.size) + 0.05, within_s - 0.05)
        events = np.zeros(names.size, prints.EVENT)
        events["name"], events["kind"] = names, kind
        events["at"] = events["ts"] = self._start_ns + (delay_s * 1e9).astype(np.int64)
        return events

    def _auction(self, kind: int, within_s: int) -> Block:
        return self._render(0, self._auction_events(kind, within_s), [])[0]


def _moving_boost(p: Planted, since_s: float) -> float:
    """Return the intensity factor of an accelerating name, `since_s` after its start."""
    if since_s < p.duration_s:
        return 1.0 + (p.volume_x - 1.0) * min(1.0, 0.4 + 2 * since_s / p.duration_s)
    return 1.0 + (p.volume_x - 1.0) * float(np.exp(-(since_s - p.duration_s) / plan.BUSY_S))


def _common_factors(seed: int, minute: int) -> np.ndarray:
    """Return the whole market's intensity factor of each second of a minute, mean 1, (60,)."""
    rng = np.random.default_rng([seed, 6, minute])
    minute_sd, five_sd, one_sd = facts.COMMON_SD
    log = minute_sd * rng.standard_normal() + np.zeros(MINUTE_S)
    log += five_sd * np.repeat(rng.standard_normal(12), 5)
    log += one_sd * rng.standard_normal(MINUTE_S)
    return np.exp(log - (minute_sd**2 + five_sd**2 + one_sd**2) / 2)
