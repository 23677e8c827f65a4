"""Positions at the broker that no trade of ours explains: given a stop, kept, and asked about.

They may be the user's own, so nothing here closes them: what is without a stop gets an OCO at the
widest limits of the brackets, entries pause, and a person decides. (Design: trigger 9, case 47.)
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from execution.brokers.port import BrokerOrder, BrokerPosition, Shares
from execution.domain.bracket import legs
from execution.domain.prices import floor_tick
from execution.hub.desk import Desk, legs_of, shown
from execution.hub.legs import DEAD_LEGS
from execution.models import Trade
from execution.services import external, runs
from execution.services import shelter as shelters
from execution.services.moves import OrderStatus
from execution.services.trades import ENDED

MODES = ("shadow", "paper", "live")  # in the others no order is ours to send


def shelter(desk: Desk, parameters: Mapping[str, Any]) -> list[str]:
    """Protect every orphan that is not, pause entries, and return the orphans' symbols.

    Args: parameters: `sl_max`, `tp_max` and `bracket_tif` of the set that counts.
    Raises:
        BrokerError: the broker did not say what it holds.
    """
    orphans = [p for p in desk.broker.positions() if p.quantity > 0 and not _ours(desk, p.symbol)]
    if not orphans:
        return []
    working = desk.broker.orders(status="open")
    for position in orphans:
        _shelter(desk, position, working, parameters)
    known = external.all_shares(desk.run)
    names = ", ".join(p.symbol for p in orphans if p.quantity != known.get(p.symbol))
    text = f"held at the broker and bought by no trade of ours: {names}; close or keep it there"
    if names and runs.pause_entries(reason=text, actor="hub"):
        desk.note("reconcile", f"{text}: entries are paused", level="alarm")
    return [p.symbol for p in orphans]


def _ours(desk: Desk, symbol: str) -> bool:
    """Is there a trade in it, or was one today? Then a difference is ours to explain."""
    mine = Trade.objects.filter(account_number=desk.run.account_number, symbol=symbol)
    return mine.filter(Q(day=runs.day_of(desk.run)) | ~Q(state__in=ENDED)).exists()


def _shelter(
    desk: Desk,
    position: BrokerPosition,
    working: Sequence[BrokerOrder],
    parameters: Mapping[str, Any],
) -> None:
    naked = position.quantity - _with_a_stop(position.symbol, working)
    shares = int(min(naked, position.available))  # no group of orders takes a fraction
    if shares <= 0 or parameters["alpaca_trading_mode"] not in MODES:
        return
    around = floor_tick(position.current_price or position.average_price)
    target, stop = legs(around, parameters["tp_max"], parameters["sl_max"])
    name = _next_name(desk, _name(desk, position))
    if name is None:
        return  # it was given one today; whoever took it away meant it
    now_ns = desk.now_ns()
    row = shelters.intend(
        desk.run, name=name, symbol=position.symbol, quantity=shares, target=target, stop=stop,
        epoch=desk.epoch, now_ns=now_ns,
    )  # fmt: skip
    tif = str(parameters["bracket_tif"])
    row = shelters.send(row, desk.broker, tif=tif, epoch=desk.epoch, now_ns=now_ns)
    text = f"{shares} shares that are not ours protected at {shown(target)} and {shown(stop)}"
    if row.status != OrderStatus.WORKING:
        text = f"{shares} shares that are not ours have no stop ({row.status}): {row.reason}"
    desk.note("reconcile", f"{position.symbol}: {text}", level="alarm", symbol=position.symbol)


def _next_name(desk: Desk, name: str) -> str | None:
    """Return the name to order by; None when one of today is, or may be, at the broker."""
    name_now = shelters.next_name(shelters.newest(desk.run, name), name)
    if name_now is None or desk.broker.order_by_client_id(name_now) is None:
        return name_now
    return None  # another run's


def _with_a_stop(symbol: str, working: Sequence[BrokerOrder]) -> Shares:
    """Return how many shares live stops would sell."""
    sells = {leg.id: leg for order in working for leg in (order, *legs_of(order))}
    return sum(
        (
            leg.quantity - leg.filled_quantity
            for leg in sells.values()
            if leg.symbol == symbol
            and leg.side == "sell"
            and leg.stop_price is not None
            and leg.status not in DEAD_LEGS
        ),
        start=0,
    )


def _name(desk: Desk, position: BrokerPosition) -> str:
    """Return the order's name: once a day for what is held, whichever hub is the first."""
    what = f"{desk.run.account_number} {position.symbol} {position.quantity}"
    short = hashlib.sha256(what.encode()).hexdigest()[:12]
    return f"orphan-{runs.day_of(desk.run):%y%m%d}-{short}"
