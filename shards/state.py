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
        ("halted", "u1"),
        ("revised_k", "<i8"),
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
    **dict.fromkeys(("first_k", "fresh_k", "ring_k", "revised_k", "born_k", "b"), -1),
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
STORED_ROW = np.dtype([("name", "S16"), *((name, RING[name]) for name in RING.names or ())])


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
