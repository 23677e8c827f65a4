"""Compares what we believe with what the broker says. The broker wins on facts, we win on intent.

A missing event is fetched and booked as the broker's own execution; an order or a position that is
not ours is reported and locks entries; nothing is ever invented (reliability 3.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from accounts import check as books_check
from accounts.models import Account
from execution.brokers.port import BrokerOrder, BrokerPosition
from execution.hub.desk import LIVE
from execution.hub.trader import Trader
from execution.hub.waiting import NO_ANSWER
from execution.models import Order, Trade
from execution.services import external, order_state, shelter, venue_state
from execution.services.moves import OrderStatus
from execution.services.trades import ENDED
from signals.session import day_of


@dataclass(kw_only=True)
class Findings:
    """What one comparison found; `differences` is empty when all agrees."""

    differences: list[str] = field(default_factory=list)
    adopted: int = 0  # orders whose state the venue knew better
    foreign: set[str] = field(default_factory=set)  # symbols with orders that are not ours
    cash: str = ""
    unexplained: bool = False  # something that the broker's activities may explain

    @property
    def clean(self) -> bool:
        return not self.differences


def reconcile(trader: Trader) -> Findings:
    """Read orders, positions and account once, take over what we missed, say what differs.

    Raises:
        BrokerError: a query failed; that never reads as "nothing there".
    """
    findings = Findings()
    shelter.look_up(trader.desk.run, trader.desk.broker, now_ns=trader.desk.now_ns())
    seen = trader.desk.broker.orders(status="open")
    known = _take_over(trader, seen, findings)
    _ask_about_the_rest(trader, known, findings)
    if findings.adopted:
        trader.desk.fills_missing = True
    told = trader.desk.fills_missing and trader.fetch_fills()
    _splits_first(trader)
    trader.settle()
    _compare(trader, findings)
    if findings.differences and not told and _brings_fills(trader):
        trader.settle()
        _compare(trader, findings)
    if findings.unexplained and trader.take_in_activities():
        trader.settle()
        _compare(trader, findings)
    _look_for_the_lost(trader)
    _locked_by_strangers(trader, findings)
    return findings


def _brings_fills(trader: Trader) -> bool:
    """Is there an execution that nobody told us of? Without one a second look sees the same."""
    before = trader.fills_booked
    return trader.fetch_fills() and trader.fills_booked > before


def _locked_by_strangers(trader: Trader, findings: Findings) -> None:
    """Orders that are not ours lock entries until a person has acknowledged them."""
    strangers = external.locking(trader.desk.run)
    findings.differences += external.lines(strangers)
    trader.foreign |= findings.foreign | {one.symbol for one in strangers}
    run = trader.desk.run
    trader.foreign |= external.shares(run).keys() | external.fractions(run).keys()


def _splits_first(trader: Trader) -> None:
    """A position that slept may have been split: no step is taken for shares that are no more."""
    if trader.desk.fills_missing:
        return
    slept = _slept(trader, trader.active_trades())
    if slept and _may_be_split(slept, trader.desk.broker.positions()):
        trader.take_in_activities()


def _slept(trader: Trader, busy: list[Trade]) -> list[Trade]:
    """Return the positions from before today: a split takes effect between two sessions."""
    now_ns = trader.desk.now_ns()
    return [one for one in busy if day_of(one.opened_ns or now_ns) < day_of(now_ns)]


def _may_be_split(slept: list[Trade], positions: list[BrokerPosition]) -> bool:
    there = {p.symbol: p.quantity for p in positions}
    return any(one.held > 0 and there.get(one.symbol, 0) not in (0, one.held) for one in slept)


def _look_for_the_lost(trader: Trader) -> None:
    """Ask about orders without an answer whose trade has ended: they may still be at the venue.

    Until that is known the gates keep entries locked; nothing else waits for it.
    """
    desk = trader.desk
    lost = Order.objects.filter(run=desk.run, status__in=NO_ANSWER, trade__state__in=ENDED)
    for order in lost.order_by("pk"):
        if order.status == OrderStatus.SENDING and trader.is_in_flight(order):
            continue
        trader.resolver.look(order, desk.broker, mono_s=trader.mono(), now_ns=desk.now_ns())


def _compare(trader: Trader, findings: Findings) -> None:
    """Note where cash and shares differ, in the books and in the slots."""
    positions = external.known_parts_left_out(trader.desk.run, trader.desk.broker.positions())
    account = trader.desk.broker.account()
    findings.cash = str(account.cash)
    run = trader.desk.run
    findings.differences = books_check.differences(
        Account.objects.get(run_id=run.pk, number=run.account_number),
        cash=account.cash,
        positions={p.symbol: p.quantity for p in positions},
    )
    findings.unexplained = any(line.startswith("cash:") for line in findings.differences)
    busy = trader.active_trades()
    findings.unexplained |= _may_be_split(_slept(trader, busy), positions)
    findings.differences += _against_trades(busy, positions, external.shares(run))


def _take_over(trader: Trader, seen: list[BrokerOrder], findings: Findings) -> set[int]:
    """Take over the state of every open order the venue has; returns which of ours they were."""
    known: set[int] = set()
    strangers: set[str] = set()
    for parent, order in ((top, leg) for top in seen for leg in (top, *top.legs)):
        ours = venue_state.find(trader.desk.run.pk, order)
        if ours is None:
            findings.foreign.add(order.symbol)
            if order is parent:
                strangers.add(parent.id)
            if parent.id in strangers:
                trader.note_stranger(order)
            continue
        known.add(ours.pk)
        is_link = ours.broker_id in (None, order.id) or order_state.is_living_link(ours, order)
        if not is_link:
            continue  # of its chain, but being left
        _absorb(trader, ours, order, findings)
    return known


def _ask_about_the_rest(trader: Trader, known: set[int], findings: Findings) -> None:
    """An order we believe live that is not open at the venue has ended there: ask how."""
    live = Order.objects.filter(run=trader.desk.run, status__in=LIVE, broker_id__isnull=False)
    for ours in live.exclude(pk__in=known).order_by("pk"):
        order = trader.desk.broker.order(str(ours.broker_id))
        if order is not None:
            _absorb(trader, ours, order, findings)


def _absorb(trader: Trader, ours: Order, order: BrokerOrder, findings: Findings) -> None:
    applied = venue_state.take_over(ours, order, now_ns=trader.desk.now_ns())
    trader.desk.fills_missing |= applied.fills_missing
    if applied.new or applied.fills_missing:
        trader.busy = True
        findings.adopted += int(applied.fills_missing)


def _against_trades(
    busy: list[Trade], positions: list[BrokerPosition], outside: Mapping[str, int]
) -> list[str]:
    """Shares that no slot of ours explains, or a slot without its shares.

    Args: outside: shares by symbol that a person has acknowledged as none of ours.
    """
    held = dict(outside)
    for trade in busy:
        held[trade.symbol] = held.get(trade.symbol, 0) + trade.held
    found = {p.symbol: p.quantity for p in positions if p.quantity}
    differing = [
        f"{symbol}: slots hold {held.get(symbol, 0)} shares, broker {found.get(symbol, 0)}"
        for symbol in sorted(held.keys() | found.keys())
        if held.get(symbol, 0) != found.get(symbol, 0)
    ]
    sold = [
        f"{symbol}: short {-n} shares"
        for symbol, n in sorted(found.items())
        if n < 0 and n != outside.get(symbol)
    ]
    return differing + sold
