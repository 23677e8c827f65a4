"""What the engine holds per symbol and per bucket, as record types, and its state for a restart."""

from typing import NamedTuple

import numpy as np

from shards.kernels import QUOTE_STATE

#: Per symbol: session sums, halts, and the candidate's life.
STATE = np.dtype(
    [
        ("name", "S16"),
        ("first_k", "<i8"),  # bucket of the first price-eligible print; -1 none yet
        ("fresh_k", "<i8"),  # newest bucket with one
        ("ring_k", "<i8"),  # where the oscillator's rings began
        ("restart", "u1"),  # they begin (anew) at the next price-eligible print ...
        ("reopen_k", "<i8"),  # ... in this bucket or a later one
        ("close", "<f8"),
        ("last_ns", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("value", "<i8"),
        ("shares", "<i8"),
        ("square", "<f8"),
        ("anchor_micro", "<i8"),
        ("luld_up", "<f8"),
        ("luld_down", "<f8"),
        ("halted", "u1"),  # 1 the symbol, 2 the whole market
        ("pauses", "<i8"),
        ("resumed_ns", "<i8"),  # -1: never halted
        ("revised_k", "<i8"),
        ("gap_k", "<i8"),  # newest bucket in which frames were lost
        ("late_k", "<i8"),  # newest bucket in which too many prints were late
        ("minute_seen", "<i8"),  # prints, and late ones, when the minute began
        ("minute_late", "<i8"),
        ("state", "u1"),
        ("until_k", "<i8"),
        ("born_k", "<i8"),
        ("b", "<i8"),
        ("flat_len", "<i8"),
        ("sigma5", "<f8"),
        ("seen", "<i8"),
        ("late", "<i8"),
    ]
)
STATE_DEFAULTS: dict[str, float] = {
    **dict.fromkeys(
        (
            "first_k",
            "fresh_k",
            "ring_k",
            "revised_k",
            "gap_k",
            "late_k",
            "born_k",
            "b",
            "resumed_ns",
        ),
        -1,
    ),
    **dict.fromkeys(("close", "open", "high", "low", "luld_up", "luld_down"), np.nan),
    "sigma5": np.nan,
    "restart": 1,
}
#: Per bucket and symbol. `source` is what feeds the oscillator; `calm` is the surge's volume.
RING = np.dtype(
    [
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("calm", "<i8"),
        ("value", "<i8"),
        ("shares", "<i8"),
        ("mid", "<f8"),
        ("spread_bps", "<f8"),
        ("source", "<f8"),
        ("ao", "<f8"),
        ("x", "<f8"),
        ("synthetic", "u1"),
    ]
)
MINUTES = np.dtype([("close", "<f8")])
#: What a close finds out about one of the symbols that it weighs.
FOUND = np.dtype(
    [
        ("row", "<i8"),
        ("verdict", "<i8"),  # of `closing`
        ("b", "<i8"),  # the burst's first bucket
        ("length", "<i8"),
        ("flat_length", "<i8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("dollars", "<f8"),
        ("x", "<f8"),
        ("z", "<f8"),
        ("accel", "<f8"),
        ("surge", "<f8"),
        ("jump_share", "<f8"),
        ("synthetic_share", "<f8"),
        ("sigma5", "<f8"),
        ("base_close", "<f8"),
    ]
)
STORED_ROW = np.dtype([("name", "S16"), *((name, RING[name]) for name in RING.names or ())])


class Table(NamedTuple):
    """The arrays of STATE, (symbols,) each, as the kernels take them."""

    first_k: np.ndarray
    fresh_k: np.ndarray
    ring_k: np.ndarray
    restart: np.ndarray
    reopen_k: np.ndarray
    close: np.ndarray
    last_ns: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    volume: np.ndarray
    trades: np.ndarray
    value: np.ndarray
    shares: np.ndarray
    square: np.ndarray
    anchor_micro: np.ndarray
    luld_up: np.ndarray
    luld_down: np.ndarray
    halted: np.ndarray
    revised_k: np.ndarray
    state: np.ndarray
    until_k: np.ndarray
    born_k: np.ndarray
    b: np.ndarray
    flat_len: np.ndarray
    sigma5: np.ndarray
    seen: np.ndarray
    late: np.ndarray


class RingArrays(NamedTuple):
    """The arrays of RING, (depth, symbols) each, as the kernels take them."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    trades: np.ndarray
    calm: np.ndarray
    value: np.ndarray
    shares: np.ndarray
    mid: np.ndarray
    spread_bps: np.ndarray
    source: np.ndarray
    ao: np.ndarray
    x: np.ndarray
    synthetic: np.ndarray


class Every(NamedTuple):
    """Of every symbol in the bucket that closes, (symbols,) each."""

    ao: np.ndarray
    value: np.ndarray  # AC or what the mode asks for, USD
    slow_mean: np.ndarray
    x: np.ndarray
    accel: np.ndarray
    surge: np.ndarray
    synthetic_share: np.ndarray
    warm: np.ndarray
    quiet: np.ndarray
    near: np.ndarray  # alive, or near enough in the cheap features to be weighed

    @staticmethod
    def empty(size: int) -> "Every":
        """Return room for so many symbols."""
        kinds = [np.float64] * 7 + [np.bool_] * 3
        return Every(*(np.zeros(size, kind) for kind in kinds))


class Rule(NamedTuple):
    """The parameters of detection as the kernels take them; buckets, bps, shares."""

    mode: int  # of `closing`: which curve
    fast: int
    slow: int
    smooth: int
    lookback: int
    by_ratio: bool
    history: int
    min_flat: int
    quiet_bps: float
    max_synthetic: float
    floor: float
    warm: int
    sigma_window: int
    burst_reach: int
    noise_gain: float
    near_x: float
    near_accel: float
    near_surge: float
    near_synthetic: float


class EngineState(NamedTuple):
    """All that a restart after bucket k needs, sorted by symbol.

    table: STATE records; quotes: QUOTE_STATE records; rows: STORED_ROW of bucket k;
    minute_closes: (n,) USD when bucket k ends a clock minute. Frames before `position` were
    counted; of those from `first_later_offset` on, something was still undecided (event time
    after `cut_ns` for quotes and statuses, bucket after k for prints).
    """

    k: int
    table: np.ndarray
    quotes: np.ndarray
    rows: np.ndarray
    minute_closes: np.ndarray | None
    first_later_offset: int
    position: int
    cut_ns: int

    @staticmethod
    def empty(k: int) -> "EngineState":
        """Return the state of a shard that saw no symbol until bucket k."""
        return EngineState(
            k, np.empty(0, STATE), np.empty(0, QUOTE_STATE), np.empty(0, STORED_ROW), None, 0, 0, 0
        )
