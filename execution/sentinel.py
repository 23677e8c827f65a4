"""The sentinel: on another host, with its own copy of the keys, it sees that the day ends flat.

It knows neither strategy nor database. Some minutes before the broker's own close it looks whether
anything is held; what the hub has not left by then it closes itself. And at any time it closes all
when shares have had no stop for some seconds and the hub is silent: nobody else will protect them.
(Reliability 3.13, I3, row 80.)

An answer that does not come, or that it cannot read, changes nothing of what it knew: the times of
the last clock that it read go on, shares that had no stop have none, and near the close what it
cannot see counts as held. Only a clock that was never read leaves it without a time to act at.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from execution import kill_file, way_out
from execution.brokers.port import Broker, BrokerOrder, MarketClock, Shares

T = TypeVar("T")
SECOND = 1_000_000_000
FLAT_WITHIN_S = 20.0
HUB_SILENT_S = 15.0
#: What a leg of a group is once it can no longer sell; a waiting stop is `held`.
ENDED = ("canceled", "expired", "rejected", "replaced", "filled", "done_for_day", "stopped")


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When it acts, minutes before the close: with a silent hub, and whatever the hub says.

    Args: naked_s: so long shares may be without a stop while the hub is silent; 0: for ever.
    """

    silent_min: float = 3.0
    whatever_min: float = 2.0
    naked_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look found.

    Args: left: positions and orders, None when the broker does not say; hub_age_s: since the hub's
        last sign of life, None for never; naked_s: how long some shares have been without a stop,
        None when all have one.
    """

    now_ns: int
    close_ns: int
    is_open: bool
    left: tuple[str, ...] | None
    hub_age_s: float | None
    naked_s: float | None = None


def must_act(look: Look, watch: Watch) -> str:
    """Return why everything must be closed now; "" when it must not."""
    if look.left == () or not look.is_open:
        return ""
    left_min = (look.close_ns - look.now_ns) / (60 * SECOND)
    if left_min <= watch.whatever_min:
        return f"{watch.whatever_min:g} minutes to the close"
    silent = look.hub_age_s is None or look.hub_age_s > HUB_SILENT_S
    if silent and left_min <= watch.silent_min:
        return f"{watch.silent_min:g} minutes to the close and the hub is silent"
    if silent and watch.naked_s and look.naked_s is not None and look.naked_s >= watch.naked_s:
        return f"shares without a stop for {watch.naked_s:g} s and the hub is silent"
    return ""


def naked(broker: Broker) -> list[str]:
    """Return the symbols of whole shares held that no stop at the venue covers.

    A fraction of a share cannot have one like ours, and is not ours.

    Raises:
        BrokerError: the venue does not say.
    """
    covered: dict[str, Shares] = {}
    for order in broker.orders(status="open"):
        for one in (order, *order.legs):
            if one.side == "sell" and one.stop_price is not None and one.status not in ENDED:
                covered[one.symbol] = covered.get(one.symbol, 0) + _leaves(one)
    held = {p.symbol: int(p.quantity) for p in broker.positions() if int(p.quantity)}
    return sorted(
        symbol for symbol, shares in held.items() if shares < 0 or covered.get(symbol, 0) < shares
    )


def _leaves(order: BrokerOrder) -> Shares:
    return order.quantity - order.filled_quantity


@dataclass(kw_only=True)
class Sentinel:
    """Args: hub_age_s: asks how old the hub's newest sign of life is; say: one line per change."""

    broker: Broker
    say: Callable[[str], None]
    hub_age_s: Callable[[], float | None] = lambda: None
    watch: Watch = Watch()
    mono: Callable[[], float] = time.monotonic
    _said: str = ""
    _naked_at: float | None = None
    _clock: MarketClock | None = None
    _clock_at: float = 0.0
    _unsaid: bool = False  # the newest look lacks an answer

    def look(self) -> Look | None:
        """Look once; None when nobody knows what time it is at the market."""
        self._unsaid = False
        clock = self._ask(self.broker.clock)
        if clock is not None:
            self._clock, self._clock_at = clock, self.mono()
        if self._clock is None:
            return None
        bare = self._ask(lambda: naked(self.broker))
        left = self._ask(lambda: way_out.positions_and_orders(self.broker))
        now_ns = self._clock.ts_ns + int((self.mono() - self._clock_at) * SECOND)
        opened = self._clock.is_open or now_ns >= self._clock.next_open_ns
        return Look(
            now_ns=now_ns,
            close_ns=self._clock.next_close_ns,
            is_open=opened and now_ns < self._clock.next_close_ns,
            left=None if left is None else tuple(left),
            hub_age_s=self.hub_age_s(),
            naked_s=self._naked_for(bare),
        )

    def _ask(self, ask: Callable[[], T]) -> T | None:
        """Ask the broker something; None, and a line about it, when there is no answer."""
        return way_out.answer_of(ask, self._miss)

    def _miss(self, text: str) -> None:
        self._unsaid = True
        self._tell(f"the broker does not answer: {text}")

    def _naked_for(self, bare: list[str] | None) -> float | None:
        """Return for how long there have been shares without a stop; it begins anew after none.

        Args: bare: their symbols; None: nobody says, and it is as it was.
        """
        now = self.mono()
        if bare == []:
            self._naked_at = None
        elif bare and self._naked_at is None:
            self._naked_at = now
            self._tell(f"without a stop: {', '.join(bare)}")
        return None if self._naked_at is None else now - self._naked_at

    def step(self) -> bool:
        """Look, and act when it is time; True when it acted."""
        if kill_file.read()["level"] == "flatten":
            return self._leave("the kill switch of this host says flatten")
        look = self.look()
        if look is None:
            return False
        why = must_act(look, self.watch)
        if why:
            return self._leave(why)
        if look.left is None or self._unsaid:
            return False  # that has its line already
        minutes = max(0.0, (look.close_ns - look.now_ns) / (60 * SECOND))
        held = f"{len(look.left)} positions and orders" if look.left else "flat"
        state = f"open, {minutes:.0f} min to the close" if look.is_open else "closed"
        self._tell(f"watching: {held}; the market is {state}", key=f"{held}{look.is_open}")
        return False

    def _leave(self, why: str) -> bool:
        left = way_out.what_is_left(self.broker)
        if left == []:
            self._tell(f"{why}: flat")
            return False
        self._tell(f"{why}: closing everything")
        outcome = way_out.leave(self.broker, within_s=FLAT_WITHIN_S)
        if outcome.flat:
            self._tell(f"flat after {outcome.seconds:.1f} s")
        else:
            left = outcome.left or ["the broker does not say"]
            self._tell(f"NOT FLAT after {outcome.seconds:.1f} s: {', '.join(left)}")
        return True

    def _tell(self, line: str, *, key: str = "") -> None:
        if (key or line) != self._said:
            self._said = key or line
            self.say(line)
