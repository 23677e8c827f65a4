"""What the hub assigns to a shard, as it comes in `shards.assign`."""

from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from shards.letters import Range, pattern
from signals.messages import WatchedPosition
from signals.session import Session


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter set that counts from bucket `from_k` on."""

    version: int
    values: dict[str, Any]
    from_k: int


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters of which run; numbered, so that the same one is known again.

    A shard may hold several. `as_of`: the newest number that the hub had given out to anybody;
    `keep`: the shard's others, which go on (what is not named is dropped). `from_k`: the first
    bucket whose report is owed; earlier ones may be told again. `speed`: of the market's clock
    against the host's.
    """

    run: str
    day: date
    open_ns: int
    close_ns: int
    assignment: int
    shard: int
    ranges: list[Range]
    parameters_version: int
    parameters: dict[str, Any]
    lockstep: bool = False
    record_dir: str | None = None
    quotes: str = "all"
    watch: list[WatchedPosition] = []
    as_of: int = 0
    keep: list[int] = []
    from_k: int = 0
    speed: float = 1.0
    coming: Coming | None = None

    @property
    def session(self) -> Session:
        """The session of the run's day."""
        return Session(self.day, self.open_ns, self.close_ns)

    @property
    def channels(self) -> dict[str, list[str]]:
        """What to subscribe: the relay's patterns per channel."""
        patterns = [pattern(one) for one in self.ranges]
        quotes = patterns if self.quotes == "all" else []
        return {"trades": patterns, "quotes": quotes, "statuses": patterns, "lulds": patterns}

    def record_path(self, epoch: int) -> Path | None:
        """Where closed buckets are recorded, None when they are not."""
        if not self.record_dir:
            return None
        return Path(self.record_dir) / f"buckets-{self.shard}-{epoch}-{self.assignment}.rows"


def assignment_of(payload: dict[str, Any]) -> Assignment:
    """Return the typed assignment.

    Raises:
        ValueError: a field is missing or of another type.
    """
    try:
        return msgspec.convert(payload, Assignment)
    except msgspec.ValidationError as exc:
        raise ValueError(f"not an assignment: {exc}") from exc
