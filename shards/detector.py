"""From closed buckets to candidates: features of every symbol, evidence of the few, their window.

Works on the shard's rings and columns; the rules are in `signals.oscillator` and
`signals.candidates`, the compiled loops in `closing`. The cheap features run over all symbols, the
rest over those that live or could be born. Choices that the design leaves open:

- Warm (T1): history + warm-up - 1 buckets since the rings began (73 with the defaults), at least
  fast + history for the surge's base and 62 for the noise.
- A synthetic bucket is a usable bucket of the noise: it is a return of 0, and `max_synthetic_share`
  keeps names that are mostly synthetic out.
- Burst and base are looked for in the last `aoHistoryBuckets` values of x; a candidate dies when
  older than that many buckets.
- Burst trades are the buckets' trade counts (volume-eligible prints).
- A print that counts as volume but sets no price, is no odd lot and is more than half of its
  bucket's volume, stays out of the surge.
- While x <= 0 there is no burst: the noise window then ends at the newest bucket.
- One-minute closes are those of whole clock minutes since the rings began.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from shards import closing
from shards.columns import Columns, Rings
from shards.state import FOUND, Every, Rule, Table
from signals import candidates as life
from signals import oscillator
from signals.candidates import State
from signals.parameters.catalogue import defaults

MINUTE = closing.MINUTE
MINUTES_KEPT = 64
GRAVITY_BUCKETS = closing.GRAVITY_BUCKETS
_MODES = ("accelerator", "awesome", "awesome_smoothed")  # as `closing` numbers them


@dataclass(frozen=True)
class Settings:
    """The parameters of detection, typed."""

    curve: oscillator.Curve
    limits: life.Thresholds
    lookback: int
    accel_mode: str
    sigma_window: int
    vol_floor: float

    @property
    def warm(self) -> int:
        """Buckets since the rings began until a symbol may become a candidate."""
        history = self.limits.history
        return max(
            history + self.curve.warm_up - 1,
            self.curve.fast + history,
            oscillator.MIN_RETURNS + 2,
        )

    @property
    def reach(self) -> int:
        """Buckets that a close looks back."""
        limits = self.limits
        return max(
            self.sigma_window + limits.history + 2,
            limits.history + limits.max_burst + 4,
            limits.history + self.curve.slow + self.curve.smooth + 2,
            self.curve.fast + limits.history + 1,
            GRAVITY_BUCKETS + 2,
        )

    @property
    def depth(self) -> int:
        """Buckets that the rings hold: a power of two."""
        return 1 << (self.reach - 1).bit_length()

    @cached_property
    def rule(self) -> Rule:
        """The same as the kernels take it."""
        limits, curve = self.limits, self.curve
        near = thresholds_near(limits)
        return Rule(
            mode=_MODES.index(curve.mode), fast=curve.fast, slow=curve.slow, smooth=curve.smooth,
            lookback=self.lookback, by_ratio=self.accel_mode == "ratio",
            history=limits.history, min_flat=limits.min_flat,
            quiet_bps=float(limits.ratio * limits.min_magnitude),
            max_synthetic=float(limits.max_synthetic),
            floor=max(self.vol_floor, float(np.finfo(np.float64).tiny)), warm=self.warm,
            sigma_window=self.sigma_window, burst_reach=limits.history + limits.max_burst + 2,
            noise_gain=oscillator.noise_gain(curve),
            near_x=near[0], near_accel=near[1], near_surge=near[2], near_synthetic=near[3],
        )  # fmt: skip


def settings_of(parameters: Mapping[str, object]) -> Settings:
    """Return the settings that the parameters ask for."""
    return Settings(
        curve=oscillator.curve_of(parameters),
        limits=life.thresholds_of(parameters),
        lookback=int(str(parameters["ao_accel_lookback"])),
        accel_mode=str(parameters["ao_accel_mode"]),
        sigma_window=int(str(parameters["sigma_window"])),
        vol_floor=float(str(parameters["vol_floor"])),
    )


def thresholds_near(limits: life.Thresholds) -> tuple[float, float, float, float]:
    """Return what x, accel, surge and the synthetic share must reach to be worth a look."""
    m = limits.margin
    return (
        m * limits.min_magnitude,
        m * limits.accel_rate,
        m * limits.surge,
        min(limits.max_synthetic / m, 1.0),
    )


class Step(NamedTuple):
    """What bucket k changed: positions into `found`, and endings as (row, Reason)."""

    found: np.ndarray  # FOUND of the weighed rows
    births: np.ndarray
    alive: np.ndarray
    shadows: np.ndarray
    endings: list[tuple[int, life.Reason]]


def step(
    rings: Rings, k: int, table: Columns, every: Every, settings: Settings, restarted: np.ndarray
) -> Step:
    """Advance every symbol's state by bucket k, whose raw columns are in the rings."""
    closing.look(
        k, table.size, table.view(Table), rings.view(), settings.rule, restarted, every,
        np.empty(table.size, np.int64),
    )  # fmt: skip
    ended = _end(k, table, every, settings.limits, restarted)
    rows = np.flatnonzero(every.near[: table.size])
    found = gather(rings, k, rows, table, every, settings)
    if rows.size == 0:
        return Step(found, rows, rows, rows, ended)
    verdict = found["verdict"]
    births = np.flatnonzero(verdict == closing.BORN)
    if births.size:
        _bear(k, table, found[births])
    alive = np.flatnonzero((verdict == closing.ALIVE) | (verdict == closing.BORN))
    return Step(found, births, alive, np.flatnonzero(verdict == closing.NEAR_MISS), ended)


def gather(
    rings: Rings,
    k: int,
    rows: np.ndarray,
    table: Columns,
    every: Every,
    settings: Settings,
    *,
    latched: bool = True,
) -> np.ndarray:
    """Return the evidence (FOUND) of the given rows in bucket k.

    Args: latched: living candidates keep the burst and the noise that they were born with.
    """
    found = np.zeros(rows.size, FOUND)
    if rows.size:
        found["row"] = rows
        scratch = np.empty((2, settings.sigma_window + 1))
        closing.weigh(
            k, rows, table.view(Table), rings.view(), settings.rule, settings.limits, every,
            latched, scratch, found,
        )  # fmt: skip
    return found


def sigma5_bps(rings: Rings, b: int, row: int, table: Columns, settings: Settings) -> float:
    """Return the noise before bucket `b` of a row, NaN when unknown."""
    scratch = np.empty((2, settings.sigma_window + 1))
    return float(
        closing.noise_before(
            b, row, int(table["ring_k"][row]), rings.view().close, settings.rule, scratch
        )
    )


def _bear(k: int, table: Columns, born: np.ndarray) -> None:
    rows = born["row"]
    table["state"][rows] = State.CANDIDATE
    table["born_k"][rows] = k
    table["b"][rows] = born["b"]
    table["flat_len"][rows] = born["flat_length"]
    table["sigma5"][rows] = born["sigma5"]


def _end(
    k: int, table: Columns, every: Every, limits: life.Thresholds, restarted: np.ndarray
) -> list[tuple[int, life.Reason]]:
    """End the candidacies that must end in bucket k; return (row, reason) of each."""
    rows = np.flatnonzero(table["state"] == State.CANDIDATE)
    if rows.size == 0:
        return []
    halted = table["halted"] != 0
    reasons = life.endings(
        k,
        x=every.x[rows],
        born_k=table["born_k"][rows],
        halted=halted[rows],
        gap=(table["restart"][rows] != 0) | restarted[rows],
        revised=table["revised_k"][rows] >= table["b"][rows],
        limits=limits,
    )
    ended: list[tuple[int, life.Reason]] = []
    for row, reason in zip(rows.tolist(), map(life.Reason, reasons.tolist()), strict=True):
        if reason is life.Reason.NONE:
            continue
        ended.append((row, reason))
        every.near[row] = False
        fresh = bool(restarted[row]) and not halted[row]
        if reason in (life.Reason.HALT, life.Reason.GAP):
            table["state"][row] = State.WARMUP if fresh else State.SUSPENDED
        else:
            table["state"][row] = State.COOLING
            table["until_k"][row] = k + limits.cooldown
    return ended


def warm() -> None:
    """Compile the close's kernels, or load them from the cache."""
    settings = settings_of(defaults())
    closing.warm(settings.rule, settings.limits)
