"""A single symbol that says nothing while the venue knows newer trades of it.

Two halves, both pure: `Newest` notes while frames pass when each watched symbol traded last, and
`SymbolWatch` says whom to ask the venue about, and what the answers mean.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from relay.frames import TRADE
from relay.kernels import newest_times
from relay.symbols import symbol_key

PATIENCE_S = (5.0, 120.0)  # bounds of how long a symbol may be quiet before we ask
USUAL_GAPS = 8.0  # times its usual pause
BEHIND_NS = 1_000_000_000  # the venue's newest trade may be so much newer than ours
MATCHES = 3  # in a row, and all is well again
_SMOOTH = 0.2


class Newest:
    """When each of these symbols traded last, UTC ns; 0 for not yet."""

    def __init__(self, symbols: Iterable[str], before: "Newest | None" = None) -> None:
        keyed = sorted((symbol_key(symbol), symbol) for symbol in symbols)
        self._symbols = [symbol for _, symbol in keyed]
        words = np.array([key for key, _ in keyed], np.uint64).reshape(-1, 2)
        self._keys, self._keys2 = (np.ascontiguousarray(words[:, part]) for part in (0, 1))
        known = before.times() if before is not None else {}
        self._times = np.array([known.get(symbol, 0) for symbol in self._symbols], np.int64)

    def __bool__(self) -> bool:
        return bool(self._symbols)

    def note(self, spans: np.ndarray) -> None:
        """Take the messages of a batch."""
        newest_times(spans, TRADE, self._keys, self._keys2, self._times)

    def times(self) -> dict[str, int]:
        return dict(zip(self._symbols, self._times.tolist(), strict=True))


@dataclass
class _Followed:
    """`heard_s`: when a new trade was noticed (or we began); `usual_s`: between two of these.

    `seen_ns` is the newest trade we had, or when we began: what is newer we must have.
    """

    seen_ns: int
    heard_s: float
    usual_s: float = PATIENCE_S[1] / USUAL_GAPS
    asked_s: float = float("-inf")
    mute: bool = False
    matches: int = 0

    def patience_s(self) -> float:
        low, high = PATIENCE_S
        return min(high, max(low, USUAL_GAPS * self.usual_s))


@dataclass(frozen=True)
class Change:
    """A symbol is mute from now on, or no more; both newest trades, UTC ns."""

    symbol: str
    mute: bool
    seen_ns: int
    venue_ns: int


class SymbolWatch:
    """Judges watched symbols; times are arguments (process seconds, UTC ns)."""

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}

    @property
    def mute(self) -> list[str]:
        return sorted(symbol for symbol, one in self._followed.items() if one.mute)

    def note(self, newest: Mapping[str, int], *, now_s: float, now_ns: int) -> None:
        """Take what is watched now, with the newest trade of each."""
        self._followed = {s: one for s, one in self._followed.items() if s in newest}
        for symbol, seen_ns in newest.items():
            one = self._followed.setdefault(symbol, _Followed(seen_ns or now_ns, now_s))
            if seen_ns > one.seen_ns:
                one.usual_s += _SMOOTH * (now_s - one.heard_s - one.usual_s)
                one.seen_ns, one.heard_s = seen_ns, now_s

    def due(self, *, now_s: float, most: int) -> list[str]:
        """Return whom to ask about, the longest quiet first; the mute are asked about always."""
        quiet = [
            (now_s - one.heard_s, symbol)
            for symbol, one in self._followed.items()
            if one.mute or now_s - max(one.heard_s, one.asked_s) > one.patience_s()
        ]
        asked = [symbol for _, symbol in sorted(quiet, reverse=True)[:most]]
        for symbol in asked:
            self._followed[symbol].asked_s = now_s
        return asked

    def answered(self, venue: Mapping[str, int], asked: Iterable[str]) -> list[Change]:
        """Compare with what the venue says; return what changed."""
        changes = []
        for symbol in asked:
            one, venue_ns = self._followed.get(symbol), venue.get(symbol, 0)
            if one is None:
                continue
            if venue_ns > one.seen_ns + BEHIND_NS:
                one.matches = 0
                changes += [] if one.mute else [Change(symbol, True, one.seen_ns, venue_ns)]
                one.mute = True
            elif one.mute:
                one.matches += 1
                if one.matches >= MATCHES:
                    one.mute, one.matches = False, 0
                    changes.append(Change(symbol, False, one.seen_ns, venue_ns))
        return changes
