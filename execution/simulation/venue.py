"""The venue as the hub meets it: requests that go wrong by the plan, events late or lost.

It also watches what arrives, as an auditor at the venue's door would.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any, TypeVar

from execution.brokers import wire
from execution.brokers.memory import MemoryBroker
from execution.brokers.port import (
    BrokerError,
    BrokerOrder,
    MarketClock,
    OutcomeUnknown,
    Refused,
    TradeUpdate,
)
from execution.venue.engine import VenueEngine
from execution.venue.faults import FaultPlan, FaultyStream

T = TypeVar("T")
MS = 1_000_000
MINUTE = 60_000 * MS
GIVEN_UP_S = 4.0  # as the adapter of a real venue does


class Late:
    """Requests that reach the venue after their sender has given up; nobody hears the answer."""

    def __init__(self) -> None:
        self._calls: list[tuple[int, Callable[[], Any]]] = []

    def add(self, at_ns: int, call: Callable[[], Any]) -> None:
        self._calls.append((at_ns, call))
        self._calls.sort(key=lambda one: one[0])

    def due_ns(self) -> int | None:
        return self._calls[0][0] if self._calls else None

    def arrive(self, now_ns: int) -> None:
        """Make those that are due."""
        while self._calls and self._calls[0][0] <= now_ns:
            _, call = self._calls.pop(0)
            with suppress(BrokerError):
                call()


class AnswerKept(BaseException):
    """The venue has the order; its answer is on the way for long."""

    def __init__(self, answer: BrokerOrder) -> None:
        super().__init__(answer.client_order_id)
        self.answer = answer


class FaultyBroker(MemoryBroker):
    """The port, through a network and a venue that misbehave.

    `posts` counts the orders that reached the venue by their name, `requests` all that were made by
    the minute; `at_send` is asked at each order.
    `wait` passes the seconds until a request without an answer is given up, `late` has those that
    arrive later. `keeps_answers`: the answer to an order does not come back, `AnswerKept` carries
    it.
    """

    keeps_answers = False

    def __init__(
        self,
        engine: VenueEngine,
        now_ns: Callable[[], int],
        at_send: Callable[[str], None],
        posts: Counter[str],
        requests: Counter[int],
        wait: Callable[[float], None],
        late: Late,
    ) -> None:
        super().__init__(engine, now_ns)
        self._at_send, self._wait, self._late = at_send, wait, late
        self.posts, self.requests = posts, requests

    def _meet(self, method: str, path: str, call: Callable[[], T]) -> T:
        """Make a call, or what the plan makes of it.

        Raises:
            Refused, OutcomeUnknown: as the adapter of a real venue would.
        """
        self.requests[self.now_ns() // MINUTE] += 1
        rule = self.engine.faults.request(method, path, self.now_ns())
        fault = rule.do if rule is not None else ""
        if fault == "http_429":
            raise Refused("too many requests.", status=429)
        if rule is not None and fault == "lose_request":
            self._wait(min(rule.seconds, GIVEN_UP_S))
        if fault in ("lose_request", "http_500", "http_503", "http_504"):
            raise OutcomeUnknown(fault)
        if rule is not None and fault == "execute_late":
            late_s = GIVEN_UP_S + rule.seconds
            self._late.add(self.now_ns() + int(late_s * 1000) * MS, call)
            self._wait(GIVEN_UP_S)
            raise OutcomeUnknown(fault)
        done = call()
        if rule is not None and fault == "execute_then_time_out":
            self._wait(min(rule.seconds, GIVEN_UP_S))
        if fault in ("execute_then_time_out", "execute_then_504", "bad_json"):
            raise OutcomeUnknown(fault)
        return done

    def _submit(self, **fields: Any) -> BrokerOrder:
        def post() -> BrokerOrder:
            self.posts[fields["client_order_id"]] += 1
            return MemoryBroker._submit(self, **fields)

        self._at_send(fields["client_order_id"])
        answer = self._meet("POST", "/v2/orders", post)
        if self.keeps_answers:
            raise AnswerKept(answer)
        return answer

    def replace(self, order_id: str, **changes: Any) -> BrokerOrder:
        call = super().replace
        return self._meet("PATCH", "/v2/orders", lambda: call(order_id, **changes))

    def cancel(self, order_id: str) -> None:
        call = super().cancel
        return self._meet("DELETE", "/v2/orders", lambda: call(order_id))

    def cancel_all(self) -> None:
        self._meet("DELETE", "/v2/orders", super().cancel_all)

    def close_all(self) -> None:
        self._meet("DELETE", "/v2/positions", super().close_all)

    def account(self) -> Any:
        return self._meet("GET", "/v2/account", super().account)

    def clock(self) -> MarketClock:
        session = self.engine.session  # the next day's times cost more than they are worth here
        told = MarketClock(
            ts_ns=self.now_ns(),
            is_open=session.open_ns <= self.now_ns() < session.close_ns,
            next_open_ns=session.open_ns,
            next_close_ns=session.close_ns,
        )
        return self._meet("GET", "/v2/clock", lambda: told)

    def positions(self) -> Any:
        return self._meet("GET", "/v2/positions", super().positions)

    def orders(self, *, status: str = "open", after_ns: int = 0) -> Any:
        call = super().orders
        return self._meet("GET", "/v2/orders", lambda: call(status=status, after_ns=after_ns))

    def order(self, order_id: str) -> BrokerOrder | None:
        call = super().order
        return self._meet("GET", "/v2/orders/", lambda: call(order_id))

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        call = super().order_by_client_id
        return self._meet("GET", "/v2/orders:", lambda: call(client_order_id))

    def fills(self, *, after_ns: int) -> Any:
        call = super().fills
        return self._meet("GET", "/v2/account/activities", lambda: call(after_ns=after_ns))

    def cash_activities(self, *, since: date) -> Any:
        call = super().cash_activities
        return self._meet("GET", "/v2/account/activities", lambda: call(since=since))


class Stream:
    """`trade_updates` with a delay, the plan's faults, and connections that end."""

    def __init__(self, engine: VenueEngine, rng: random.Random) -> None:
        self.engine = engine
        self._faulty = FaultyStream(engine.faults)
        self._rng = rng
        self._on_the_way: list[tuple[int, TradeUpdate]] = []

    @property
    def plan(self) -> FaultPlan:
        return self.engine.faults

    def send(self, now_ns: int, *, heard: bool) -> bool:
        """Put the venue's news on their way; False: the connection was cut.

        Args: heard: somebody listens; otherwise the news are gone, as there is no replay.
        """
        news = self.engine.take_updates()
        if not heard:
            return True
        sent, cut = self._faulty.pass_on(news, now_ns)
        if self.plan.healed:
            sent += self._faulty.flush()
        for row in sent:
            at = now_ns + self._rng.randrange(5, 250) * MS
            latest = self._on_the_way[-1][0] if self._on_the_way else 0
            self._on_the_way.append((max(at, latest), wire.trade_update(row)))
        return not cut

    def due_ns(self) -> int | None:
        return self._on_the_way[0][0] if self._on_the_way else None

    def arrived(self, now_ns: int) -> list[TradeUpdate]:
        """Return and forget what has arrived by now."""
        count = sum(at <= now_ns for at, _ in self._on_the_way)
        taken, self._on_the_way = self._on_the_way[:count], self._on_the_way[count:]
        return [update for _, update in taken]

    def lose(self) -> None:
        """The listener is gone, and with it what was on its way."""
        self._on_the_way.clear()
