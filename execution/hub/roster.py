"""Which shards live, by the hub's own clock: a heart-beat must change within the lease. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LEASE_S = 2.0
Beats = Mapping[int, Mapping[str, str]]


@dataclass
class _Seen:
    stamp: tuple[str, str]  # the life and the newest sign of it, by the shard's own time
    changed_at: float
    since: float  # lives without a pause since


@dataclass
class Roster:
    """Args: mono: the process clock. When nobody's heart-beat can be read, nobody dies of it."""

    mono: Callable[[], float]
    lease_s: float = LEASE_S
    _seen: dict[int, _Seen] = field(default_factory=dict)
    _blind: bool = False

    def look(self, beats: Beats) -> None:
        """Take in the newest heart-beats, all of them."""
        now = self.mono()
        if not beats:
            self._blind = True
            return
        for shard, beat in beats.items():
            stamp = (beat.get("epoch", ""), beat.get("alive") or beat.get("at", ""))
            seen = self._seen.get(shard)
            if seen is None or (not self._blind and now - seen.changed_at > self.lease_s):
                if seen is None or seen.stamp != stamp:
                    self._seen[shard] = _Seen(stamp, now, now)
            elif seen.stamp != stamp:
                seen.stamp, seen.changed_at = stamp, now
        if self._blind:
            self._blind = False
            for seen in self._seen.values():
                seen.changed_at = now

    @property
    def alive(self) -> set[int]:
        """The shards whose lease runs."""
        now = self.mono()
        return {
            shard
            for shard, seen in self._seen.items()
            if self._blind or now - seen.changed_at <= self.lease_s
        }

    def steady(self, for_s: float) -> set[int]:
        """Return the shards that have lived for so long without a pause."""
        now = self.mono()
        return {shard for shard in self.alive if now - self._seen[shard].since >= for_s}
