"""Orders whose fate is unknown: looked up by client id with back-off, never sent again.

A 404 counts only when another read in the same moment succeeded, some time after the send, and
twice; then the order is abandoned, and a late appearance is still adopted (reliability 3.5).
"""

from dataclasses import dataclass, field

from execution.brokers.port import Broker, BrokerError
from execution.models import Order
from execution.services import journal

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
ABSENT_AFTER_S = 30.0
ABSENT_READS = 2


@dataclass
class _Case:
    since: float
    due: float
    tries: int = 0
    absent: int = 0


@dataclass(kw_only=True)
class Resolver:
    """On the process clock: a network's silence is not the market's. One entry per open case."""

    backoff_s: tuple[float, ...] = BACKOFF_S
    absent_after_s: float = ABSENT_AFTER_S
    _cases: dict[int, _Case] = field(default_factory=dict)

    def look(self, order: Order, broker: Broker, *, mono_s: float, now_ns: int) -> bool:
        """Ask about one order when its next look is due; True when its fate is known now."""
        case = self._cases.setdefault(order.pk, _Case(since=mono_s, due=mono_s))
        if mono_s < case.due:
            return False
        case.tries += 1
        case.due = mono_s + self.backoff_s[min(case.tries, len(self.backoff_s)) - 1]
        try:
            found = journal.look_up(order, broker, now_ns=now_ns)
            if not found:
                broker.account()  # another read in the same moment: the venue does answer
        except BrokerError:
            return False
        if found:
            self._cases.pop(order.pk, None)
            return True
        if mono_s - case.since >= self.absent_after_s:
            case.absent += 1
        if case.absent < ABSENT_READS:
            return False
        journal.abandon(order, now_ns=now_ns)
        self._cases.pop(order.pk, None)
        return True

    def next_due_s(self) -> float | None:
        """Return the monotonic time of the next look, None when nothing is open."""
        return min((case.due for case in self._cases.values()), default=None)

    @property
    def open(self) -> bool:
        return bool(self._cases)
