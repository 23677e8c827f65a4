"""What the shard tells the hub, from the engine's arrays: candidates, breadth, exit signals."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shards import conditions, detector
from shards.buckets import vwap_usd
from shards.exits import Crossing
from signals import candidates as life
from signals import oscillator
from signals.messages import Candidate, ExitSignal, Gravity, Quote, SessionState

if TYPE_CHECKING:
    from shards.engine import Engine

SPREAD_BUCKETS = 12
SIGMA_MINUTES = 30
RETURN_MINUTES = 60
_WINDOW = (
    ("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume"), ("n", "trades"),
    ("synthetic", "synthetic"), ("x", "x"), ("ao", "ao"),
)  # fmt: skip


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def candidate_id(engine: "Engine", row: int) -> str:
    """Return the id of the row's candidacy, living or just ended."""
    return life.candidate_id(engine.day, engine.symbols.names[row], int(engine.table["b"][row]))


def gravity(engine: "Engine", k: int, fresh: np.ndarray) -> Gravity:
    """Return the breadth sums of bucket k: symbols that traded in the last 60 s.

    Return over 60 buckets, weight the 5-minute dollar volume in whole USD, at most 5 million; a
    symbol younger than 60 buckets does not count.
    """
    table, rings = engine.table, engine.rings
    span = detector.GRAVITY_BUCKETS
    counted = fresh & (table["first_k"] <= k - span)
    if not counted.any():
        return Gravity()
    now, then = rings.row("close", k)[counted], rings.row("close", k - span)[counted]
    up2 = np.where(now > then, 2, np.where(now == then, 1, 0))
    dollars = rings.total("value", k, span)[counted] // 1_000_000
    weight = np.minimum(dollars, detector.GRAVITY_CAP_USD)
    return Gravity(
        n=int(up2.size), n_up2=int(up2.sum()), w=int(weight.sum()), w_up2=int((weight * up2).sum())
    )


def minute_returns(engine: "Engine", k: int, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the last `count` one-minute log returns in bps, (count, n), NaN where unknown."""
    last = (k + 1) // detector.MINUTE - 1
    closes = engine.minutes.window("close", last, count + 1, rows)
    ends = (np.arange(last - count, last + 1) * detector.MINUTE + detector.MINUTE - 1)[:, None]
    closes = np.where(ends >= engine.table["ring_k"][rows], closes, np.nan)
    return oscillator.log_returns_bps(closes)


def candidates(engine: "Engine", k: int, taken: detector.Step) -> list[Candidate]:
    """Return the candidates and near misses of bucket k, by symbol."""
    found = taken.found
    told = [(int(at), False) for at in taken.alive] + [(int(at), True) for at in taken.shadows]
    if not told:
        return []
    sigma1m = oscillator.minute_noise_bps(
        minute_returns(engine, k, found.rows, SIGMA_MINUTES), found.sigma5
    )
    past = _past(engine, k, found.rows[[at for at, _ in told]])
    made = [
        _candidate(engine, k, found, at, shadow, float(sigma1m[at]), past, column)
        for column, (at, shadow) in enumerate(told)
    ]
    return sorted(made, key=lambda one: one.symbol)


class _Past(NamedTuple):
    """What lies behind the told symbols; one element, or one list, per symbol."""

    windows: dict[str, list[list[Any]]]
    returns: np.ndarray  # (minutes, n) bps
    volume_1m: list[int]
    volume_5m: list[int]
    dollars_1m: list[int]  # micro-dollars
    value_5m: list[int]
    shares_5m: list[int]
    spread_bps: np.ndarray  # (buckets, n)


def _past(engine: "Engine", k: int, rows: np.ndarray) -> _Past:
    """Read the rings once for all symbols that are told."""
    rings, span, minute = engine.rings, detector.GRAVITY_BUCKETS, detector.MINUTE
    volume = rings.window("volume", k, span, rows)
    value = rings.window("value", k, span, rows)
    return _Past(
        windows(engine, k, rows, engine.settings.limits.history),
        minute_returns(engine, k, rows, RETURN_MINUTES),
        volume_1m=volume[-minute:].sum(axis=0).tolist(),
        volume_5m=volume.sum(axis=0).tolist(),
        dollars_1m=value[-minute:].sum(axis=0).tolist(),
        value_5m=value.sum(axis=0).tolist(),
        shares_5m=rings.window("shares", k, span, rows).sum(axis=0).tolist(),
        spread_bps=rings.window("spread_bps", k, SPREAD_BUCKETS, rows),
    )


def _candidate(
    engine: "Engine",
    k: int,
    found: detector.Found,
    at: int,
    shadow: bool,
    sigma1m: float,
    past: _Past,
    column: int,
) -> Candidate:
    row = int(found.rows[at])
    table, every = engine.table, engine.features
    assert every is not None  # noqa: S101 - a close computed them
    e = found.evidence
    symbol, b = engine.symbols.names[row], int(found.b[at])
    returns = past.returns[:, column]
    return Candidate(
        candidate_id=life.candidate_id(engine.day, symbol, b),
        symbol=symbol,
        k=k,
        state=life.State.CANDIDATE.name,
        shadow=shadow,
        born_k=k if shadow else int(table["born_k"][row]),
        b=b,
        flat_len=int(e.flat_length[at]),
        x=float(e.x[at]),
        z=float(e.z[at]),
        accel=float(e.accel[at]),
        ao=float(every.ao[row]),
        ac=float(every.value[row]),
        slow_mean=float(every.slow_mean[row]),
        surge=float(e.surge[at]),
        cum_volume=int(e.volume[at]),
        cum_dollars=float(e.dollars[at]),
        jump_share=_or_none(e.jump_share[at]),
        burst_trades=int(e.trades[at]),
        sigma5_bps=float(found.sigma5[at]),
        sigma1m_bps=sigma1m,
        noise_gain=oscillator.noise_gain(engine.settings.curve),
        close=float(table["close"][row]),
        base_close=float(found.base_close[at]),
        volume_1m=past.volume_1m[column],
        volume_5m=past.volume_5m[column],
        dollar_volume_1m=past.dollars_1m[column] / 1e6,
        synthetic_share=float(e.synthetic_share[at]),
        returns_1m_bps=returns[~np.isnan(returns)].tolist(),
        window={name: values[column] for name, values in past.windows.items()},
        session=session_state(engine, row, past.value_5m[column], past.shares_5m[column]),
        quote=quote(engine, row, past.spread_bps[:, column]),
        luld_up=_or_none(table["luld_up"][row]),
        luld_down=_or_none(table["luld_down"][row]),
        halted=bool(table["halted"][row]),
        last_price=float(table["close"][row]),
        last_ts_ns=int(table["last_ns"][row]),
        flags=["revised"] if table["revised_k"][row] > k - engine.settings.limits.history else [],
    )


def windows(engine: "Engine", k: int, rows: np.ndarray, count: int) -> dict[str, list[list[Any]]]:
    """Return the last `count` buckets of symbols, oldest first, one list per symbol and column."""

    def column(name: str) -> np.ndarray:
        return engine.rings.window(name, k, count, rows)

    filled = {short: column(name).T.tolist() for short, name in _WINDOW}
    vwap = vwap_usd(column("value"), column("shares"), column("close"))
    return {"k0": [[k - count + 1]] * rows.size, **filled, "vwap": vwap.T.tolist()}


def session_state(engine: "Engine", row: int, value_5m: int, shares_5m: int) -> SessionState:
    """Return the session sums of a symbol as of the newest closed bucket.

    Args: value_5m, shares_5m: what the last five minutes added.
    """
    table = engine.table
    value, shares = int(table["value"][row]), int(table["shares"][row])
    vwap = value / shares / 1e6 if shares else None
    deviation = None
    if shares:
        away = value / shares - int(table["anchor_micro"][row])
        spread = max(float(table["square"][row]) / shares - away * away, 0.0)
        deviation = float(np.sqrt(spread)) / 1e6
    old_value, old_shares = value - value_5m, shares - shares_5m
    return SessionState(
        vwap=vwap,
        vwap_sd=deviation,
        cum_volume=int(table["volume"][row]),
        trades=int(table["trades"][row]),
        open=_or_none(table["open"][row]),
        high=_or_none(table["high"][row]),
        low=_or_none(table["low"][row]),
        vwap_5min_ago=old_value / old_shares / 1e6 if old_shares > 0 else None,
    )


def quote(engine: "Engine", row: int, spreads: np.ndarray) -> Quote | None:
    """Return the NBBO of a symbol as of the bucket's end plus grace; None before the first quote.

    Args: spreads: (buckets,) bps, of the last minute, NaN where unknown.
    """
    state = engine.quote_state(row)
    if state["ts_ns"] == 0:
        return None
    known = spreads[~np.isnan(spreads)]
    return Quote(
        bid=float(state["bid"]),
        ask=float(state["ask"]),
        bid_size=int(state["bid_size"]),
        ask_size=int(state["ask_size"]),
        ts_ns=int(state["ts_ns"]),
        median_spread_bps_60s=float(np.median(known)) if known.size else None,
    )


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
        engine.rings,
        np.array([engine.closed_k + 1]),
        np.array([row]),
        engine.table["ring_k"],
        engine.settings.sigma_window,
    )
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
        sigma5_bps=_or_none(float(sigma5[0])),
        bid=None if newest is None else float(newest["bid"]),
        ask=None if newest is None else float(newest["ask"]),
        quote_ts_ns=None if newest is None else int(newest["ts_ns"]),
    )
