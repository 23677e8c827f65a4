"""What the shard tells the hub, from the engine's arrays: candidates, breadth, exit signals."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shards import conditions, detector, packing
from shards.exits import Crossing
from signals import candidates as life
from signals import oscillator
from signals.messages import Candidate, ExitSignal, Mark, Quote, SessionState
from signals.window import Window

if TYPE_CHECKING:
    from shards.engine import Engine

SPREAD_BUCKETS = 12
LATE_BUCKETS = 12
SIGMA_MINUTES = 30
RETURN_MINUTES = 60
MOST_REVISED = 50
ROUND_LOT = 100  # shares; `quote_size_unit` auto counts shares, as the venue's stream does now
_OF_TABLE = (
    "born_k", "close", "last_ns", "luld_up", "luld_down", "halted", "pauses", "resumed_ns",
)  # fmt: skip
_OF_SESSION = (
    "value", "shares", "anchor_micro", "square", "volume", "trades", "open", "high", "low",
)  # fmt: skip


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def candidate_id(engine: "Engine", row: int) -> str:
    """Return the id of the row's candidacy, living or just ended."""
    return life.candidate_id(engine.day, engine.symbols.names[row], int(engine.table["b"][row]))


def minute_returns(engine: "Engine", k: int, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the last `count` one-minute log returns in bps, (count, n), NaN where unknown."""
    last = (k + 1) // detector.MINUTE - 1
    closes = engine.minutes.window("close", last, count + 1, rows)
    ends = (np.arange(last - count, last + 1) * detector.MINUTE + detector.MINUTE - 1)[:, None]
    closes = np.where(ends >= engine.table["ring_k"][rows], closes, np.nan)
    return oscillator.log_returns_bps(closes)


def candidates(engine: "Engine", k: int, taken: detector.Step) -> list[Candidate]:
    """Return the candidates and near misses of bucket k, by symbol."""
    chosen = np.concatenate((taken.alive, taken.shadows))
    if not chosen.size:
        return []
    told = _told(engine, k, taken.found[chosen])
    count = taken.alive.size
    made = [_candidate(engine, k, told, at, shadow=at >= count) for at in range(chosen.size)]
    return sorted(made, key=lambda one: one.symbol)


class _Told(NamedTuple):
    """All that is said of the told symbols: one element per symbol.

    Read column by column: a look into an array costs more than what it finds there.
    """

    found: dict[str, list[Any]]  # the columns of FOUND
    table: dict[str, list[Any]]
    every: dict[str, list[float]]
    sigma1m: list[float]
    recent: dict[str, list[int]]  # the columns of RECENT
    windows: list[Window]
    returns: list[list[float]]  # bps of the minutes that are known
    sessions: list[SessionState]
    quotes: list[Quote | None]
    flags: list[list[str]]


def _told(engine: "Engine", k: int, found: np.ndarray) -> _Told:
    """Read the arrays once for all symbols that are told."""
    rows, every, rings = found["row"], engine.features, engine.rings.view()
    assert every is not None  # noqa: S101 - a close computed them
    recent = np.empty(rows.size, packing.RECENT)
    packing.recent_sums(k, detector.MINUTE, detector.GRAVITY_BUCKETS, rows, rings, recent)
    returns = minute_returns(engine, k, rows, RETURN_MINUTES)
    return _Told(
        found={name: found[name].tolist() for name in found.dtype.names or ()},
        table={name: engine.table[name][rows].tolist() for name in _OF_TABLE},
        every={name: getattr(every, name)[rows].tolist() for name in ("ao", "value", "slow_mean")},
        sigma1m=oscillator.minute_noise_bps(returns[-SIGMA_MINUTES:], found["sigma5"]).tolist(),
        recent={name: recent[name].tolist() for name in packing.RECENT.names or ()},
        windows=packing.windows(k, rows, engine.settings.limits.history, rings),
        returns=_known(returns),
        sessions=_sessions(engine, rows, recent),
        quotes=quotes(engine, k, rows),
        flags=flags(engine, k, rows),
    )  # fmt: skip


def _known(columns: np.ndarray) -> list[list[float]]:
    """Return what is not NaN of each column, in its order."""
    known = ~np.isnan(columns.T)
    values, ends = columns.T[known].tolist(), known.sum(axis=1).cumsum().tolist()
    return [values[first:end] for first, end in zip([0, *ends], ends, strict=False)]


def _candidate(engine: "Engine", k: int, told: _Told, at: int, *, shadow: bool) -> Candidate:
    e, t, every = told.found, told.table, told.every
    row, b = e["row"][at], e["b"][at]
    symbol = engine.symbols.names[row]
    return Candidate(
        candidate_id=life.candidate_id(engine.day, symbol, b),
        symbol=symbol,
        k=k,
        state=life.State.CANDIDATE.name,
        shadow=shadow,
        born_k=k if shadow else t["born_k"][at],
        b=b,
        flat_len=e["flat_length"][at],
        x=e["x"][at],
        z=e["z"][at],
        accel=e["accel"][at],
        ao=every["ao"][at],
        ac=every["value"][at],
        slow_mean=every["slow_mean"][at],
        surge=e["surge"][at],
        cum_volume=e["volume"][at],
        cum_dollars=e["dollars"][at],
        jump_share=_or_none(e["jump_share"][at]),
        burst_trades=e["trades"][at],
        sigma5_bps=e["sigma5"][at],
        sigma1m_bps=told.sigma1m[at],
        noise_gain=oscillator.noise_gain(engine.settings.curve),
        close=t["close"][at],
        base_close=e["base_close"][at],
        volume_1m=told.recent["volume_1m"][at],
        volume_5m=told.recent["volume_5m"][at],
        dollar_volume_1m=told.recent["value_1m"][at] / 1e6,
        synthetic_share=e["synthetic_share"][at],
        returns_1m_bps=told.returns[at],
        window=told.windows[at],
        session=told.sessions[at],
        quote=told.quotes[at],
        luld_up=_or_none(t["luld_up"][at]),
        luld_down=_or_none(t["luld_down"][at]),
        halted=bool(t["halted"][at]),
        pauses_today=t["pauses"][at],
        resumed_ts_ns=t["resumed_ns"][at] if t["resumed_ns"][at] >= 0 else None,
        last_price=t["close"][at],
        last_ts_ns=t["last_ns"][at],
        flags=told.flags[at],
    )


def _sessions(engine: "Engine", rows: np.ndarray, recent: np.ndarray) -> list[SessionState]:
    """Return the session sums of symbols as of the newest closed bucket.

    Args: recent: RECENT, what the last five minutes added.
    """
    columns = [engine.table[name][rows].tolist() for name in _OF_SESSION]
    columns += [recent[name].tolist() for name in ("value_5m", "shares_5m")]
    return list(map(_session, *columns))


def _session(
    value: int, shares: int, anchor: int, square: float, volume: int, trades: int,
    first: float, high: float, low: float, value_5m: int, shares_5m: int,
) -> SessionState:  # fmt: skip
    """Sum up with whole numbers as long as there are any."""
    deviation = None
    if shares:
        away = value / shares - anchor
        deviation = math.sqrt(max(square / shares - away * away, 0.0)) / 1e6
    old_value, old_shares = value - value_5m, shares - shares_5m
    return SessionState(
        vwap=value / shares / 1e6 if shares else None,
        vwap_sd=deviation,
        cum_volume=volume,
        trades=trades,
        open=_or_none(first),
        high=_or_none(high),
        low=_or_none(low),
        vwap_5min_ago=old_value / old_shares / 1e6 if old_shares > 0 else None,
    )


def quotes(engine: "Engine", k: int, rows: np.ndarray) -> list[Quote | None]:
    """Return the NBBO of symbols as of bucket k's end plus grace; None before the first quote."""
    spreads = engine.rings.window("spread_bps", k, SPREAD_BUCKETS, rows)
    unit = ROUND_LOT if engine.parameters["quote_size_unit"] == "round_lots" else 1
    states = engine.quotes[rows]
    columns = [states[name].tolist() for name in ("ts_ns", "bid", "ask", "bid_size", "ask_size")]
    return [
        Quote(
            bid=bid, ask=ask, bid_size=bid_size * unit, ask_size=ask_size * unit, ts_ns=ts_ns,
            median_spread_bps_60s=_or_none(spread),
        )
        if ts_ns
        else None
        for ts_ns, bid, ask, bid_size, ask_size, spread in zip(
            *columns, _medians(spreads), strict=True
        )
    ]  # fmt: skip


def _medians(columns: np.ndarray) -> list[float]:
    """Return the median of each column's known values, NaN where there is none."""
    ordered = np.sort(columns, axis=0)  # NaN goes last
    known = (~np.isnan(columns)).sum(axis=0)
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(columns) - 1)
    middle = np.take_along_axis(ordered, np.stack((low, high)), axis=0)
    medians: list[float] = np.where(known > 0, (middle[0] + middle[1]) / 2, np.nan).tolist()
    return medians


def flags(engine: "Engine", k: int, rows: np.ndarray) -> list[list[str]]:
    """Return the data-quality flags of symbols' evidence in bucket k (`signals.quality`)."""
    table, reach = engine.table, engine.settings.limits.history
    raised = [
        (name, (table[column][rows] > k - kept).tolist())
        for name, column, kept in (
            ("gap", "gap_k", reach), ("late_rate", "late_k", LATE_BUCKETS),
            ("revised", "revised_k", reach),
        )
    ]  # fmt: skip
    return [[name for name, of in raised if of[at]] for at in range(rows.size)]


def marks(engine: "Engine", k: int) -> list[Mark]:
    """Return the closed bucket of every symbol with a watched position, by symbol."""
    known = ((symbol, engine.symbols.row_of(symbol)) for symbol in sorted(engine.exits.symbols))
    told = [(s, r) for s, r in known if r is not None and engine.table["first_k"][r] >= 0]
    if not told:
        return []
    rows = np.array([row for _, row in told])
    returns = minute_returns(engine, k, rows, RETURN_MINUTES)
    nbbo = quotes(engine, k, rows)
    high, low, close = (engine.rings.row(name, k) for name in ("high", "low", "close"))
    return [
        Mark(
            symbol=symbol,
            k=k,
            high=float(high[row]),
            low=float(low[row]),
            close=float(close[row]),
            quote=nbbo[at],
            halted=bool(engine.table["halted"][row]),
            returns_1m_bps=returns[:, at][~np.isnan(returns[:, at])].tolist(),
            revised=engine.book.revised(row)[-MOST_REVISED:],
        )
        for at, (symbol, row) in enumerate(told)
    ]


def exit_signal(engine: "Engine", crossing: Crossing) -> ExitSignal:
    """Return the message of a crossing, with the quote as of its print."""
    p, t = crossing.position, crossing.trigger
    row = engine.symbols.row_of(p.symbol)
    assert row is not None  # noqa: S101 - its print was booked
    newest = engine.intake.quotes.newest(row, t.ts_ns)
    held = engine.quote_state(row)
    if newest is None and 0 < held["ts_ns"] <= t.ts_ns:
        newest = held
    sigma5 = detector.sigma5_bps(
        engine.rings, engine.closed_k + 1, row, engine.table, engine.settings
    )  # fmt: skip
    return ExitSignal(
        run=engine.run,
        signal_id=crossing.signal_id,
        position_id=p.position_id,
        position_version=p.version,
        symbol=p.symbol,
        shard=engine.shard,
        epoch=engine.epoch,
        k=t.k,
        kind=crossing.kind,
        threshold=crossing.threshold,
        price=t.price,
        size=t.size,
        ts_ns=t.ts_ns,
        trade_id=t.id,
        exchange=chr(t.exchange) if t.exchange else "",
        conditions=conditions.unpack(t.conditions),
        prior_price=crossing.prior.price if crossing.prior else None,
        prior_ts_ns=crossing.prior.ts_ns if crossing.prior else None,
        prints_through=crossing.prints_through,
        sigma5_bps=_or_none(sigma5),
        bid=None if newest is None else float(newest["bid"]),
        ask=None if newest is None else float(newest["ask"]),
        quote_ts_ns=None if newest is None else int(newest["ts_ns"]),
    )
