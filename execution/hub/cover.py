"""Short by accident: in a fast market both exits of a bracket may fill. Buy back to flat, at once.

Entries are paused with the reason until a person resets the kill switch: what we believed of the
venue's groups was wrong once. (Design: reliability row 71, alpaca 3.4.)
"""

from execution.domain import orders as domain
from execution.failpoints import reach
from execution.hub.desk import SECOND, Desk
from execution.models import Order, Trade
from execution.services import journal, runs, venue_state
from execution.services.moves import OrderStatus as Status

COVER = "c"
AGAIN_NS = 2 * SECOND
COVERS_MAX = 20


def buy_back(desk: Desk, trade: Trade) -> None:
    """Take the next step to flat for a trade that sold more than it had; safe to repeat.

    Raises:
        BrokerError: the venue did not answer; asked again later.
    """
    _pause(desk, trade)
    desk.cancel_sells(trade)
    desk.unsettled.add(trade.pk)
    if live := desk.live_orders(trade, COVER):
        _ask(desk, live)
        return
    if _too_soon(desk, trade):
        return
    position = desk.position(trade.symbol)
    shares = int(min(-trade.held, -position.quantity if position else 0))
    if shares <= 0:
        desk.fills_missing = True  # the venue is not short: we have not heard of everything
        return
    reach("cover.before_buy")
    order = journal.submit(
        _intend(desk, trade, shares), desk.broker, epoch=desk.epoch, now_ns=desk.now_ns()
    )
    level = "alarm" if order.status == Status.REFUSED else "warning"
    text = f"buying back {shares} shares: {order.status}"
    desk.note_trade(trade, "exit", text, level=level, shares=shares, order=order.client_order_id)


def _ask(desk: Desk, covers: list[Order]) -> None:
    """Ask what became of one that is not heard of: a market order takes no seconds."""
    for order in covers:
        if order.broker_id is None or desk.now_ns() < (order.sent_ns or 0) + AGAIN_NS:
            continue  # without an id it is the resolver's
        seen = desk.broker.order(order.broker_id)
        if seen is not None:
            applied = venue_state.take_over(order, seen, now_ns=desk.now_ns())
            desk.fills_missing |= applied.fills_missing


def at_it(desk: Desk, trade: Trade) -> bool:
    """Is a short position being bought back, or about to be?"""
    if desk.live_orders(trade, COVER):
        return True
    return trade.held < 0 and trade.orders.filter(purpose=COVER).count() < COVERS_MAX


def _pause(desk: Desk, trade: Trade) -> None:
    if trade.orders.filter(purpose=COVER).exists():
        return
    text = f"{trade.symbol} is short {-trade.held}: both exits filled"
    desk.note("exit", text, level="alarm", symbol=trade.symbol, trade=trade.pk, slot=trade.slot)
    runs.pause_entries(reason=text, actor="hub")


def _too_soon(desk: Desk, trade: Trade) -> bool:
    """An attempt that was refused is not repeated at once, nor for ever."""
    tried = trade.orders.filter(purpose=COVER)
    recent = tried.filter(created_ns__gt=desk.now_ns() - AGAIN_NS).exists()
    return recent or tried.count() >= COVERS_MAX


def _intend(desk: Desk, trade: Trade, shares: int) -> Order:
    seq = trade.orders.filter(purpose=COVER).count() + 1
    return journal.intend(
        trade,
        purpose=COVER,
        client_order_id=domain.client_order_id(
            trade.account_number, trade.day, trade.slot, trade.try_no, f"{COVER}{seq}"
        ),
        epoch=desk.epoch,
        now_ns=desk.now_ns(),
        side="buy",
        type="market",
        quantity=shares,
        time_in_force="day",
    )
