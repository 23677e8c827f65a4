"""What strikes a hub at a fail point: its end, the loss of its database or of Redis, a pause."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

KINDS = ("kill", "database", "redis")
PAUSE = "pause"  # only where a successor may come between the attempt and the socket


@dataclass(frozen=True)
class Blow:
    """`kind` happens when `point` is reached for the n-th time (since it was this blow's turn)."""

    point: str
    kind: str = "kill"
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.kind}@{self.point}"


@dataclass
class Blows:
    """Those that are planned. Args: in_turn: each waits until the one before it has struck."""

    planned: Iterable[Blow] = ()
    in_turn: bool = False
    struck: list[Blow] = field(default_factory=list)
    _seen: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.left = list(self.planned)
        self.left_by_day: list[Blow] = []

    def end(self) -> None:
        """Nothing strikes any more; `left_by_day` is what never came to it."""
        self.left_by_day, self.left = self.left, []

    def reach(self, point: str) -> Blow | None:
        """Count that a hub has come by; returns what strikes it there, if anything."""
        for blow in self.left[:1] if self.in_turn else list(self.left):
            if blow.point != point:
                continue
            self._seen[id(blow)] += 1
            if self._seen[id(blow)] >= blow.nth:
                self.left.remove(blow)
                self.struck.append(blow)
                return blow
        return None
