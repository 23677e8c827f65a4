"""The way of a hub's tasks: through a Redis that may be away, to workers that may be slow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from execution.simulation.sender import Sender

if TYPE_CHECKING:
    from execution.simulation.world import World

MS = 1_000_000
ANSWER = "simulation.answer"  # to an order that a task sent some time ago
GO_ON = "simulation.go_on"  # a task that stood still while it sent
LOST_TASKS = 0.04
DOUBLED_TASKS = 0.04
LATE_TASKS = 0.06
LATE_MS = (50, 30_000)  # longer than an intent may wait, longer than many a hub lives
SLOW_ANSWERS = 0.1
SLOW_SENDERS = 0.15
STILL_MS = (50, 60_000)  # longer than an order may be without a fate


@dataclass(frozen=True)
class Task:
    """A task on its way: it may arrive when another hub leads."""

    due_ns: int
    name: str
    kwargs: dict[str, Any]


class Tasks:
    """Those of all the hubs of one day."""

    def __init__(self, world: "World") -> None:
        self.world, self.rng = world, world.rng
        self._late: list[Task] = []
        self._redis_back_ns = 0
        self._sender: Sender | None = None  # about to stand still
        self._standing: list[Sender] = []

    def due_ns(self) -> list[int]:
        """Return when those that take their time arrive."""
        return [task.due_ns for task in self._late]

    def lose_redis(self, why: str) -> None:
        """No task arrives for a while."""
        self.world.injected[why] += 1
        self._redis_back_ns = self.world.now_ns + self.rng.randrange(200, 8000) * MS

    def heal(self) -> None:
        self._redis_back_ns = 0

    def arrivals(self) -> tuple[int, ...] | None:
        """Return after how many nanoseconds a task arrives, each time; None: it cannot be sent."""
        injected = self.world.injected
        if self.world.healed:
            return (0,)
        if self.world.now_ns < self._redis_back_ns:
            injected["task not sent"] += 1
            return None
        draw = self.rng.random()
        if (draw := draw - LOST_TASKS) < 0:
            injected["task lost"] += 1
            return ()
        if (draw := draw - DOUBLED_TASKS) < 0:
            injected["task doubled"] += 1
            return (0, self._delay_ns() if self.rng.random() < 0.5 else 0)
        if draw - LATE_TASKS < 0:
            injected["task late"] += 1
            return (self._delay_ns(),)
        return (0,)

    def post(self, after_ns: int, name: str, kwargs: dict[str, Any]) -> None:
        """Let a task arrive later."""
        self._late.append(Task(self.world.now_ns + after_ns, name, kwargs))

    def arrived(self) -> list[Task]:
        """Hand over the late tasks that are due."""
        now_ns = self.world.now_ns
        due = [task for task in self._late if task.due_ns <= now_ns]
        self._late = [task for task in self._late if task.due_ns > now_ns]
        return due

    # --- tasks that send entries ------------------------------------------------------------------
    def answers(self) -> int:
        """Return how many nanoseconds the answer to an entry is on its way."""
        slow = self._sender is None and self.rng.random() < SLOW_ANSWERS
        if self.world.healed or not slow:
            return 0
        self.world.injected["slow answer"] += 1
        return self._delay_ns()

    def send(self, work: Callable[[], None]) -> None:
        """Let a task send an entry; it may stand still between its attempt and its socket."""
        if self.world.healed or self.rng.random() >= SLOW_SENDERS:
            work()
            return
        self._sender = sender = Sender(work, self.world.hub)
        try:
            sender.go_on()
        finally:
            self._sender = None
        if not sender.through:
            self.world.injected["sender stood still"] += 1
            self._standing.append(sender)
            self.post(self._delay_ns(STILL_MS), GO_ON, {"go_on": lambda: self._go_on(sender)})

    def stand_still(self) -> None:
        """An attempt is made: whoever is to stand still does it now."""
        if self._sender is not None:
            sender, self._sender = self._sender, None
            sender.stand_still()

    def end(self) -> None:
        """The day is over."""
        for sender in self._standing:
            sender.end()

    def _go_on(self, sender: Sender) -> None:
        """Let it go on, if its process still lives."""
        self._standing.remove(sender)
        if sender.process is self.world.hub:
            sender.go_on()
        else:
            sender.end()

    def _delay_ns(self, between_ms: tuple[int, int] = LATE_MS) -> int:
        first, last = between_ms
        return int(first * (last / first) ** self.rng.random()) * MS
