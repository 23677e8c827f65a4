"""Watching active trades: which print crossed a stop or a target. A hint to the hub, no order.

Only price-eligible prints of open buckets count, in the order in which they arrive; a sold-last
print only when it is the newest so far; a repeated delivery counts once. A signal goes out at the
first print at or through the level and when `exit_confirm_prints` of them stand in a row, at most
twice per bucket and level, and goes on once per bucket while prints stay beyond.
"""

from dataclasses import dataclass, field

from signals.messages import WatchedPosition

Key = tuple[int, int, int]  # ts_ns, id, exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One price-eligible print of a watched symbol; price USD, exchange as its character code."""

    k: int
    ts_ns: int
    id: int
    exchange: int
    price: float
    size: int
    conditions: int
    sold_last: bool

    @property
    def key(self) -> Key:
        """The order of prints inside a symbol."""
        return self.ts_ns, self.id, self.exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A print at or through a level of a watched position."""

    position: WatchedPosition
    kind: str  # stop | target
    threshold: float
    prior: Print | None
    trigger: Print
    prints_through: int

    @property
    def signal_id(self) -> str:
        """The same for the same print, whoever sees it: so a repeated signal is known."""
        p, t = self.position, self.trigger
        return f"{p.position_id}.{p.version}.{self.kind}.{t.ts_ns}.{t.id}.{chr(t.exchange)}"


@dataclass(slots=True)
class _Level:
    through: int = 0
    told_k: int = -1
    told: int = 0  # signals in bucket told_k


@dataclass(slots=True)
class _Watch:
    position: WatchedPosition
    stop: _Level = field(default_factory=_Level)
    target: _Level = field(default_factory=_Level)


class ExitWatch:
    """The positions that this shard watches, by symbol."""

    def __init__(self, confirm_prints: int) -> None:
        self.confirm_prints = confirm_prints
        self._watches: dict[str, dict[str, _Watch]] = {}
        self._last: dict[str, Print] = {}

    @property
    def symbols(self) -> frozenset[str]:
        """Symbols with at least one watched position."""
        return frozenset(self._watches)

    @property
    def positions(self) -> list[WatchedPosition]:
        """Every watched position."""
        return [w.position for each in self._watches.values() for w in each.values()]

    def watch(self, position: WatchedPosition) -> None:
        """Watch a position, or its newer version; an older version changes nothing."""
        watched = self._watches.setdefault(position.symbol, {})
        known = watched.get(position.position_id)
        if known is None or known.position.version < position.version:
            watched[position.position_id] = _Watch(position)

    def release(self, position_id: str) -> None:
        """Stop watching a position; unknown ones are fine."""
        for symbol, watched in list(self._watches.items()):
            watched.pop(position_id, None)
            if not watched:
                del self._watches[symbol]
                self._last.pop(symbol, None)

    def see(self, symbol: str, one: Print) -> list[Crossing]:
        """Look at one price-eligible print; return the crossings to tell the hub."""
        prior = self._last.get(symbol)
        if prior is not None and (one.key == prior.key or (one.sold_last and one.key < prior.key)):
            return []
        self._last[symbol] = one
        told = []
        for watched in self._watches.get(symbol, {}).values():
            p = watched.position
            if one.ts_ns < p.opened_ts_ns:
                continue
            for kind, level, threshold, beyond in (
                ("stop", watched.stop, p.stop, one.price <= p.stop),
                ("target", watched.target, p.target, one.price >= p.target),
            ):
                level.through = level.through + 1 if beyond else 0
                if beyond and self._tells(level, one.k):
                    told.append(
                        Crossing(
                            position=p, kind=kind, threshold=threshold, prior=prior, trigger=one,
                            prints_through=level.through,
                        )
                    )  # fmt: skip
        return told

    def _tells(self, level: _Level, k: int) -> bool:
        if k > level.told_k:
            level.told_k, level.told = k, 1
            return True
        if level.through == self.confirm_prints and level.told < 2:
            level.told += 1
            return True
        return False
