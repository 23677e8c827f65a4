"""A hub's order desk on a database and an in-memory venue; the test moves time."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from accounts import services as books
from execution.brokers.alpaca import AlpacaBroker
from execution.domain.rounds import RoundInput
from execution.hub.desk import Desk
from execution.hub.resolver import Resolver
from execution.hub.trader import Trader
from execution.models import Order, Round, RoundState, Run, Trade
from execution.services import lease, rounds
from execution.services.entries import SendFacts, submit_entry
from execution.venue.faults import FaultPlan, Rule
from execution.venue.orders import VenueOrder
from signals.messages import Candidate
from signals.session import Session
from tests.fakes.venue_broker import MS, InMemoryVenue
from tests.unit.domain_builders import (
    CLOSE_NS,
    DAY,
    END_NS,
    GRACE_NS,
    OPEN_NS,
    K,
    a_candidate,
    a_quote,
    a_round,
    some_parameters,
)

START_NS = END_NS + GRACE_NS


class Died(BaseException):
    """A process is gone, behind the socket."""


@dataclass
class Bench:
    """One run with everything an entry needs; `fire()` makes a trade of the worked example."""

    venue: InMemoryVenue
    broker: AlpacaBroker
    run: Run
    epoch: int
    desk: Desk
    trader: Trader
    parameters: dict[str, Any] = field(default_factory=some_parameters)
    mono_s: float = 0.0
    doubt: str = ""  # why the hub locks entries

    @classmethod
    def make(cls, *rules: Rule, **parameters: Any) -> "Bench":
        session, plan = Session(DAY, OPEN_NS, CLOSE_NS), FaultPlan(rules=rules)
        venue = InMemoryVenue(session, ("ABCD", "SPY"), START_NS, plan)
        venue.quote("20.04", "20.06")
        broker = venue.broker()
        account = broker.account()
        values = some_parameters(**parameters)
        run = Run.objects.create(
            id="run-1",
            account_number=account.number,
            day=DAY,
            open_ns=OPEN_NS,
            close_ns=CLOSE_NS,
            lockstep=True,
            parameters_version=1,
            parameters={"1": values},
            universe=["ABCD"],
            assignments={"1": [["", ""]]},
            opening_cash=account.cash,
        )
        books.open_account(
            number=account.number,
            run_id=run.pk,
            cash=account.cash,
            session_date=DAY,
            ts_ns=OPEN_NS,
        )
        epoch = lease.take("test")
        desk = Desk(run=run, broker=broker, epoch=epoch, now_ns=lambda: venue.now_ns)
        resolver = Resolver(backoff_s=(0.5, 1.0, 2.0), absent_after_s=3.0)
        bench = cls(venue, broker, run, epoch, desk, Trader(desk=desk, resolver=resolver), values)
        bench.trader.mono = lambda: bench.mono_s
        return bench

    def restart(self) -> None:
        """A new hub process: nothing in memory survives, the lease is taken anew."""
        self.epoch = lease.take("test")
        self.run = Run.objects.get(pk=self.run.pk)
        self.desk = Desk(
            run=self.run,
            broker=self.venue.broker(),
            epoch=self.epoch,
            now_ns=lambda: self.venue.now_ns,
        )
        self.trader = Trader(
            desk=self.desk, resolver=Resolver(backoff_s=(0.5, 1.0, 2.0), absent_after_s=3.0)
        )
        self.trader.mono = lambda: self.mono_s

    def close_round(self, k: int = K, **changes: Any) -> Round:
        """Store round k with the worked candidate, as the coordinator would."""
        inputs = a_round(
            changes.pop("candidate", None) or self.candidate(k),
            run=self.run.pk,
            k=k,
            now_ns=self.venue.now_ns,
            account=self.broker.account(),
            account_as_of_ns=self.venue.now_ns,
            **changes,
        )
        return Round.objects.create(
            run=self.run,
            k=k,
            state=RoundState.CLOSED,
            closed_ns=self.venue.now_ns,
            params_version=1,
            inputs=packed(inputs),
        )

    def candidate(self, k: int) -> Candidate:
        return a_candidate(
            k=k,
            last_price=20.05,
            last_ts_ns=self.venue.now_ns - 200 * MS,
            quote=a_quote(ts_ns=self.venue.now_ns - 140 * MS),
        )

    def decide(self, k: int = K, **changes: Any) -> list[int]:
        self.close_round(k, **changes)
        return rounds.decide_round(run_id=self.run.pk, k=k, epoch=self.epoch)

    def facts(self, **changes: Any) -> SendFacts:
        base: dict[str, Any] = {
            "now_ns": self.venue.now_ns,
            "epoch": self.epoch,
            "lease_left_ms": 9000.0,
            "reconciled_ns": self.venue.now_ns,
            "api_calls_left": 150,
            "account_mode": "paper",
            "doubt": lambda: self.doubt,
            "late_ns": self.desk.late_ns,
        }
        return SendFacts(**{**base, **changes})

    def send(self, order_id: int, **changes: Any) -> Order:
        return submit_entry(order_id=order_id, broker=self.broker, facts=self.facts(**changes))

    def send_and_die(self, order_id: int) -> None:
        """The venue gets the entry; the process that sent it hears of no answer, and is gone."""
        submit = self.broker.submit_bracket

        def die(**fields: Any) -> Any:
            submit(**fields)
            raise Died

        self.broker.submit_bracket = die  # type: ignore[method-assign]
        try:
            with pytest.raises(Died):
                self.send(order_id)
        finally:
            self.broker.submit_bracket = submit  # type: ignore[method-assign]

    def fire(self) -> Trade:
        """Decide the worked round and send its entry."""
        (order_id,) = self.decide()
        self.send(order_id)
        self.trader.settle()
        return self.trade()

    def open(self) -> Trade:
        """Fire, fill, protect, and let the re-anchored legs arrive."""
        self.fire()
        self.step(150)
        self.step(150)
        return self.trade()

    def close_at_target(self) -> Trade:
        """Open a trade and let it reach its take-profit."""
        target = self.open().take_profit
        self.venue.quote(str(target), str(target + Decimal("0.02")))
        self.step(0)
        self.step(500)
        return self.trade()

    def step(self, ms: int) -> None:
        """Let market time pass, then do what the hub does at a stop."""
        self.venue.advance(ms)
        self.news()

    def news(self) -> None:
        for update in self.venue.updates():
            self.trader.apply(update)
        self.trader.settle()

    def process_time(self, seconds: float) -> None:
        self.mono_s += seconds
        self.trader.settle()

    def trade(self) -> Trade:
        return Trade.objects.order_by("-pk")[0]

    def entry(self) -> Order:
        return Order.objects.get(purpose="e", trade=self.trade())

    def venue_orders(self) -> list[VenueOrder]:
        """Return every order that the venue has, past its requests."""
        return list(self.venue.engine.orders.values())

    def held_at_venue(self) -> int:
        return sum(p.quantity for p in self.broker.positions())


def packed(inputs: RoundInput) -> bytes:
    return msgspec.msgpack.encode(inputs)


__all__ = ["MS", "START_NS", "Bench"]
