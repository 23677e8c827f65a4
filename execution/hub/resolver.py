"""Orders whose fate is unknown: looked up by client id with back-off, never sent again.

A 404 counts only when another read in the same moment succeeded, some time after the send, and
twice; then the order is abandoned, and a late appearance is still adopted (reliability 3.5).

A sell that seems lost leaves shares naked, so it need not wait as long: when the venue says that
its shares are free, nothing holds them, and one that came late after all would find them held or
sold and be refused there.
"""

from dataclasses import dataclass, field

from execution.brokers.port import Broker, BrokerError
from execution.failpoints import reach
from execution.models import Order
from execution.services import journal

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
ABSENT_AFTER_S = 30.0
SELL_ABSENT_AFTER_S = 5.0  # the longest a request may take, and one second
WAY_OUT_BACKOFF_MAX_S = 2.0
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

    def is_due(self, order: Order, mono_s: float) -> bool:
        """Would `look` ask now?"""
        case = self._cases.get(order.pk)
        return case is None or mono_s >= case.due

    def look(self, order: Order, broker: Broker, *, mono_s: float, now_ns: int) -> bool:
        """Ask about one order when its next look is due; True when its fate is known now."""
        case = self._cases.setdefault(order.pk, _Case(since=mono_s, due=mono_s))
        if mono_s < case.due:
            return False
        case.tries += 1
        pause = self.backoff_s[min(case.tries, len(self.backoff_s)) - 1]
        case.due = mono_s + (pause if order.purpose == "e" else min(pause, WAY_OUT_BACKOFF_MAX_S))
        free = False
        try:
            found = journal.look_up(order, broker, now_ns=now_ns)
            if not found:  # another read in the same moment: the venue does answer
                free = order.side == "sell" and _shares_free(order, broker)
                broker.account()
        except BrokerError:
            return False
        if found:
            self._cases.pop(order.pk, None)
            return True
        needed_s = min(SELL_ABSENT_AFTER_S, self.absent_after_s) if free else self.absent_after_s
        if mono_s - case.since >= needed_s:
            case.absent += 1
        reach("resolver.after_404")
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


def _shares_free(order: Order, broker: Broker) -> bool:
    """Does the venue say that no order holds the shares this one would sell?"""
    held = next((one for one in broker.positions() if one.symbol == order.symbol), None)
    return held is not None and held.available == held.quantity >= order.quantity
