"""The candidate state machine: one small life per symbol, stepped once per closed bucket.

Births need all of T1–T9 of the design (trigger.md section 3); afterwards a candidate lives while
its oscillator stays above the exit magnitude. The machine looks at market data only: a trade of
ours changes nothing here (the hub keeps its own cool-down), so candidates are the same in every
mode. Near misses are reported, but leave the state untouched.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from signals.oscillator import TIE_BPS

BUCKET_S = 5


class State(IntEnum):
    """Where a symbol stands."""

    WARMUP = 0
    IDLE = 1
    ARMED = 2
    CANDIDATE = 3
    COOLING = 4
    SUSPENDED = 5


_WARMUP, _IDLE, _ARMED, _CANDIDATE, _COOLING, _SUSPENDED = (int(state) for state in State)


class Reason(IntEnum):
    """Why a candidacy ended; 0 is none. The lower one is told when several hold."""

    NONE = 0
    HALT = 1
    GAP = 2
    REVISED = 3
    MAGNITUDE = 4
    AGE = 5

    @property
    def word(self) -> str:
        """The word that the hub is told."""
        return self.name.lower()


#: Every allowed change of state (staying put apart); the tests walk it cell by cell.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WARMUP: frozenset({State.IDLE, State.ARMED, State.CANDIDATE, State.SUSPENDED}),
    State.IDLE: frozenset({State.ARMED, State.CANDIDATE, State.WARMUP, State.SUSPENDED}),
    State.ARMED: frozenset({State.IDLE, State.CANDIDATE, State.WARMUP, State.SUSPENDED}),
    State.CANDIDATE: frozenset({State.COOLING, State.SUSPENDED, State.WARMUP}),
    State.COOLING: frozenset(
        {State.IDLE, State.ARMED, State.CANDIDATE, State.SUSPENDED, State.WARMUP}
    ),
    State.SUSPENDED: frozenset({State.WARMUP}),
}


class Thresholds(NamedTuple):
    """The parameters of the machine, typed."""

    history: int
    min_magnitude: float
    exit_magnitude: float
    min_z: float
    accel_rate: float
    min_flat: int
    ratio: float
    min_volume: float
    min_dollars: float
    surge: float
    max_burst: int
    max_jump: float
    min_trades: int
    max_synthetic: float
    cooldown: int  # buckets
    reopen_cooldown: int  # buckets
    margin: float  # shadow_margin


def thresholds_of(parameters: Mapping[str, object]) -> Thresholds:
    """Return the thresholds that the parameters ask for; seconds round up to whole buckets."""

    def number(name: str) -> float:
        return float(str(parameters[name]))

    return Thresholds(
        history=int(number("aoHistoryBuckets")),
        min_magnitude=number("ao_min_magnitude_bps"),
        exit_magnitude=number("ao_exit_magnitude_bps"),
        min_z=number("ao_min_z"),
        accel_rate=number("ao_accel_rate"),
        min_flat=int(number("min_5s_flatline_ao_buckets")),
        ratio=number("flatline_ratio"),
        min_volume=number("min_cumulative_ao_volume"),
        min_dollars=number("min_cumulative_ao_dollars"),
        surge=number("vol_surge_multiplier"),
        max_burst=int(number("max_burst_buckets")),
        max_jump=number("max_jump_share"),
        min_trades=int(number("min_burst_trades")),
        max_synthetic=number("max_synthetic_share"),
        cooldown=-(-int(number("candidate_cooldown_s")) // BUCKET_S),
        reopen_cooldown=-(-int(number("reopen_cooldown_s")) // BUCKET_S),
        margin=number("shadow_margin"),
    )


class Evidence(NamedTuple):
    """What a birth is judged by; NaN means unknown and passes nothing."""

    x: float
    z: float
    accel: float
    flat_length: int
    volume: int  # CV
    dollars: float  # CD
    surge: float
    burst_length: int
    jump_share: float
    trades: int
    synthetic_share: float


def passes(evidence: Evidence, limits: Thresholds, margin: float = 1.0) -> bool:
    """Tell whether a symbol meets T2–T9 (T1, warmth, is the caller's), or the given share of each.

    A floor is met at margin x floor and a ceiling at ceiling / margin; shares never exceed 1.
    Plain enough for the shard to compile it as it stands.
    """
    e, p, m = evidence, limits, margin
    return (
        e.x > 0
        and e.x >= m * p.min_magnitude
        and e.z >= m * p.min_z
        and e.accel >= m * p.accel_rate
        and e.flat_length >= m * p.min_flat
        and e.volume >= m * p.min_volume
        and e.dollars >= m * p.min_dollars
        and e.surge >= m * p.surge
        and 1 <= e.burst_length <= p.max_burst / m
        and e.jump_share <= min(p.max_jump / m, 1.0)
        and e.trades >= m * p.min_trades
        and e.synthetic_share <= min(p.max_synthetic / m, 1.0)
    )


def rested(
    state: int, over: bool, warm: bool, suspended: bool, restarted: bool, quiet: bool
) -> int:
    """Return a symbol's state in a bucket before births and ends are looked at.

    Args: over: the wait of COOLING and WARMUP is; warm: the rings are full enough; suspended:
        halted, or waiting for the reopening print; restarted: the rings began anew in this bucket;
        quiet: a flat base lies directly behind (informational).
    Plain enough for the shard to compile it as it stands.
    """
    if state == _CANDIDATE:
        return _CANDIDATE
    if suspended:
        return _SUSPENDED
    if state == _SUSPENDED:
        return _WARMUP  # one bucket at least
    new = _WARMUP if restarted else int(state)
    if new == _COOLING and over:
        new = _IDLE
    if new == _WARMUP and warm and over:
        new = _IDLE
    if not warm and new in (_IDLE, _ARMED):
        return _WARMUP
    if new in (_IDLE, _ARMED):
        return _ARMED if quiet else _IDLE
    return new


def endings(
    k: int,
    *,
    x: np.ndarray,
    born_k: np.ndarray,
    halted: np.ndarray,
    gap: np.ndarray,
    revised: np.ndarray,
    limits: Thresholds,
) -> np.ndarray:
    """Return a Reason per living candidate, NONE for those that live on. An unknown x ends it."""
    reasons = np.zeros(x.size, np.uint8)
    reasons[k - born_k > limits.history] = Reason.AGE
    reasons[~(x > limits.exit_magnitude + TIE_BPS)] = Reason.MAGNITUDE
    reasons[revised] = Reason.REVISED
    reasons[gap] = Reason.GAP
    reasons[halted] = Reason.HALT
    return reasons


def candidate_id(day: str, symbol: str, b: int) -> str:
    """Return the identity of a candidacy: one burst of one symbol on one day."""
    return f"{day}-{symbol}-{b}"
