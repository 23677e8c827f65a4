"""How an engine is written down after a close, and how another one goes on from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from shards import detector
from shards.state import RING, STORED_ROW, EngineState
from signals.candidates import State
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from shards.engine import Engine

_DERIVED = ("source", "ao", "x")  # undefined before the rings began


def state_of(engine: "Engine") -> EngineState:
    """Return the engine's state after its newest closed bucket."""
    k = engine.closed_k
    order = engine.symbols.ordered()
    order = order[order < engine.table.size]
    table = engine.table.pack(order)
    waiting = engine.book.open.waiting()["row"]  # will be fed, and counted, again
    table["seen"] -= np.bincount(waiting, minlength=engine.table.size)[order]
    rows = np.empty(order.size, STORED_ROW)
    rows["name"] = engine.table["name"][order]
    for name in RING.names or ():
        rows[name] = engine.rings.row(name, k)[order]
    minute = None
    if (k + 1) % detector.MINUTE == 0:
        minute = engine.minutes.row("close", k // detector.MINUTE)[order].copy()
    return EngineState(
        k=k, table=table, quotes=engine.quotes[order], rows=rows, minute_closes=minute,
        first_later_offset=engine.intake.first_waiting_offset(),
        position=engine.intake.position, cut_ns=(k + 1) * BUCKET_NS + engine.grace_ns,
    )  # fmt: skip


def restore(
    engine: "Engine",
    newest: EngineState,
    history: Mapping[int, np.ndarray],
    minutes: Mapping[int, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Put a fresh engine behind bucket `newest.k`; see `Engine.restore`."""
    named = _Lookup(engine)
    rows = named(newest.table["name"])
    engine.grow()
    own = rows >= 0
    engine.table.unpack(rows[own], newest.table[own])
    engine.quotes[rows[own]] = newest.quotes[own]
    buckets = {**history, newest.k: newest.rows}
    _distrust_holes(engine, newest.k, buckets, named)
    for k, stored in buckets.items():
        if newest.k - engine.rings.depth < k <= newest.k:
            _restore_bucket(engine, k, stored, named)
    for minute, (names, closes) in minutes.items():
        at = named(names)
        engine.minutes.row("close", minute)[at[at >= 0]] = closes[at >= 0]
    engine.begin(newest.k + 1)
    engine.intake.resumed_position = engine.intake.position = newest.position
    engine.intake.resumed_cut_ns = newest.cut_ns
    engine.intake.resumed_end_ns = (newest.k + 1) * BUCKET_NS


def _distrust_holes(
    engine: "Engine", k: int, buckets: Mapping[int, np.ndarray], named: "_Lookup"
) -> None:
    """Begin the rings anew behind the newest bucket that was not kept, where it matters."""
    table = engine.table
    whole = np.ones(table.size, np.bool_)
    since = np.full(table.size, k + 1, np.int64)
    reach = max(k - engine.settings.reach, engine.session.first_k)
    for j in range(k, reach - 1, -1):
        kept = np.zeros(table.size, np.bool_)
        if j in buckets:
            at = named(buckets[j]["name"])
            kept[at[at >= 0]] = True
        whole &= kept
        since[whole] = j
    ring_k = table["ring_k"]
    broken = (ring_k >= 0) & (since > np.maximum(ring_k, reach))
    ring_k[broken] = since[broken]
    table["state"][broken] = State.WARMUP


def _restore_bucket(engine: "Engine", k: int, stored: np.ndarray, named: "_Lookup") -> None:
    at = named(stored["name"])
    stored, at = stored[at >= 0], at[at >= 0]
    for name in RING.names or ():
        engine.rings.row(name, k)[at] = stored[name]
    before = at[k < engine.table["ring_k"][at]]
    for name in _DERIVED:
        engine.rings.row(name, k)[before] = np.nan


def rows_named(engine: "Engine", names: np.ndarray) -> np.ndarray:
    """Return the row of each name; negative for symbols of other ranges."""
    words = np.ascontiguousarray(names, "S16").view(">u8").reshape(-1, 2).astype(np.uint64)
    return engine.symbols.rows_of(words[:, 0].copy(), words[:, 1].copy())


class _Lookup:
    """`rows_named`, remembered: bucket after bucket has the same names."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._names, self._rows = b"", np.empty(0, np.int64)

    def __call__(self, names: np.ndarray) -> np.ndarray:
        packed = names.tobytes()
        if packed != self._names:
            self._names, self._rows = packed, rows_named(self._engine, names)
        return self._rows
