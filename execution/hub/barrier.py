"""When a lock-step stop is complete, and in which order its news is worked off. Pure.

A stop is complete when every grant's shard has acknowledged it and every trade update that the
venue has counted is here. The order — trade updates by sequence, exit signals by (time, symbol,
id), due timers, rounds by k — does not depend on which of them arrived first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from execution.brokers.port import TradeUpdate
from signals.messages import ExitSignal


@dataclass
class Barrier:
    """Collects the news of one stop after another."""

    grants: dict[int, int] = field(default_factory=dict)  # number -> its shard
    stop: int | None = None
    updates_wanted: int = 0
    updates_seen: int = 0
    _done: dict[int, int] = field(default_factory=dict)  # grant -> newest stop acknowledged
    _updates: dict[int, TradeUpdate] = field(default_factory=dict)
    _unnumbered: list[TradeUpdate] = field(default_factory=list)
    _signals: dict[str, ExitSignal] = field(default_factory=dict)

    def open(self, stop: int, updates: int) -> None:
        """The venue stands at `stop` and has sent `updates` trade updates in all."""
        self.stop, self.updates_wanted = stop, updates

    def done(self, grant: int, stop: int) -> None:
        self._done[grant] = max(stop, self._done.get(grant, -1))

    def expect(self, grants: dict[int, int]) -> None:
        """Wait for these from now on; what others acknowledged is forgotten."""
        self.grants = grants
        self._done = {grant: stop for grant, stop in self._done.items() if grant in grants}

    def update(self, update: TradeUpdate) -> None:
        """Keep one trade update; the venue's number decides its place, a copy changes nothing."""
        number = update.raw.get("sequence")
        if not isinstance(number, int):
            self._unnumbered.append(update)
            self.updates_seen += 1
            return
        self._updates[number] = update
        self.updates_seen = max(self.updates_seen, number)

    def forgive_updates(self) -> None:
        """What the stream lost was read from the venue instead."""
        self.updates_seen = max(self.updates_seen, self.updates_wanted)

    def signal(self, signal: ExitSignal) -> None:
        self._signals.setdefault(signal.signal_id, signal)

    @property
    def shards_missing(self) -> list[int]:
        stop = self.stop
        late = {
            shard
            for grant, shard in self.grants.items()
            if stop is None or self._done.get(grant, -1) < stop
        }
        return sorted(late)

    @property
    def updates_missing(self) -> int:
        return max(0, self.updates_wanted - self.updates_seen)

    @property
    def complete(self) -> bool:
        return self.stop is not None and not self.shards_missing and not self.updates_missing

    @property
    def has_news(self) -> bool:
        return bool(self._updates or self._unnumbered or self._signals)

    def take_updates(self) -> list[TradeUpdate]:
        """Return and forget the updates so far, in the venue's order."""
        numbered = [self._updates[number] for number in sorted(self._updates)]
        taken = numbered + self._unnumbered
        self._updates, self._unnumbered = {}, []
        return taken

    def take_signals(self) -> list[ExitSignal]:
        """Return and forget the exit signals so far, oldest first."""
        taken = in_order(self._signals.values())
        self._signals = {}
        return taken

    def missing(self) -> str:
        """Say what a stop waits for, for people."""
        parts = []
        if self.shards_missing:
            parts.append(f"shards {', '.join(map(str, self.shards_missing))}")
        if self.updates_missing:
            parts.append(f"{self.updates_missing} trade updates")
        return " and ".join(parts)


def in_order(signals: Iterable[ExitSignal]) -> list[ExitSignal]:
    """Return exit signals in their canonical order."""
    return sorted(signals, key=lambda s: (s.ts_ns, s.symbol, s.signal_id))
