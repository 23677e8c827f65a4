"""A position is protected when live orders at the venue cover exactly its shares — looked up there,
not believed. (Design: trigger 5.7, 6.3; reliability 3.10.)
"""

from decimal import Decimal

from execution.brokers.port import BrokerError, BrokerOrder
from execution.domain import bracket
from execution.domain import orders as domain
from execution.failpoints import reach
from execution.hub import legs
from execution.hub.desk import LIVE, MS, SECOND, Desk, shown
from execution.hub.waiting import as_planned, stands
from execution.models import Order, Trade
from execution.services import journal, moves, trades, venue_state
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T

DUST_USD = Decimal(200)
HARD_CLOSE_NS = 10 * SECOND
LOOK_AGAIN_NS = SECOND
LOOK_SOON_NS = LOOK_AGAIN_NS // 4
OCO_TRIES_MAX = 2


def protect(desk: Desk, trade: Trade) -> str | None:
    """Verify or restore the protection of an open trade.

    Returns: None when it is protected or will be; a word when the position must be closed instead.
    """
    parent = _parent(trade)
    if parent is not None:
        try:
            seen = desk.broker.order(str(parent.broker_id))
        except BrokerError as exc:
            desk.unsettled.add(trade.pk)
            desk.note_trade(trade, "order", f"cannot verify protection: {exc}", level="warning")
            return _too_late(desk, trade)
        if seen is not None:
            _take_over(desk, parent, seen)
            trade.refresh_from_db()
            if trade.held <= 0:
                return None
            if legs.covers(seen, trade.held):
                return _placed(desk, trade, parent, seen)
    return _restore(desk, trade, parent)


def covered_here(desk: Desk, trade: Trade) -> bool:
    """Do our own rows say that it is protected? Cheap; decides only whether to look."""
    return as_planned(trade, desk.live_orders(trade, "tp", "o", "sl"))


def is_gone(desk: Desk, trade: Trade) -> bool:
    """Do our own rows say that legs are missing, not only that they are misplaced?"""
    return not stands(desk.live_orders(trade, "tp", "o", "sl"), trade.held)


def reanchor(desk: Desk, trade: Trade) -> None:
    """Move both legs to the planned distances from the real fill price; never a wider stop."""
    if trade.reanchored:
        return
    fill = trade.entry_value / trade.filled_quantity
    Trade.objects.filter(pk=trade.pk).update(reanchored=True)
    legs = bracket.reanchored(fill, _planned(trade), trade.exit_parameters)
    if legs is None:
        return
    target, stop = legs
    done = [
        move_leg(desk, trade, ("tp", "o"), limit=target),
        move_leg(desk, trade, ("sl",), stop=stop),
    ]
    if done[0]:
        trade.take_profit = target
    if done[1]:
        trade.stop_loss = stop
    trade.version += 1
    trade.save(update_fields=["take_profit", "stop_loss", "version"])
    desk.note_trade(
        trade,
        "order",
        f"legs moved to the fill at {fill:.4f}",
        target=str(trade.take_profit),
        stop=str(trade.stop_loss),
    )


def _planned(trade: Trade) -> bracket.Bracket:
    plan = trade.exit_parameters["plan"]
    return bracket.Bracket(
        limit=trade.limit,
        take_profit=trade.take_profit,
        stop_loss=trade.stop_loss,
        take_profit_percent=plan["take_profit_percent"],
        stop_loss_percent=plan["stop_loss_percent"],
    )


def _legs_at(trade: Trade, fill: Decimal) -> tuple[Decimal, Decimal]:
    """Return take-profit and stop-loss at the planned percentages from the fill."""
    plan = trade.exit_parameters["plan"]
    return bracket.legs(fill, plan["take_profit_percent"], plan["stop_loss_percent"])


def _levels(trade: Trade) -> tuple[Decimal, Decimal]:
    """Return where take-profit and stop-loss of new orders go."""
    if trade.exit_parameters.get("split"):
        return trade.take_profit, trade.stop_loss  # as they were, in new shares
    target, stop = _legs_at(trade, trade.entry_value / trade.filled_quantity)
    if trade.first_stop is not None:
        stop = max(stop, trade.stop_loss)  # a stop that was raised does not fall again
    return target, stop


def move_leg(
    desk: Desk,
    trade: Trade,
    purposes: tuple[str, ...],
    *,
    limit: Decimal | None = None,
    stop: Decimal | None = None,
) -> bool:
    """PATCH one leg; a leg that is there already needs none, a refusal is asked once more.

    The old leg lives until the venue has taken the new price: never a cancel, then a new one.
    Returns: whether the plan is the new price now. One without an answer is where we wanted it
    until the venue shows it elsewhere; then it is moved like any that is misplaced.
    """
    if stop is not None:
        limit = bracket.stop_limit(stop, trade.exit_parameters)
    for order in desk.live_orders(trade, *purposes)[-1:]:
        if order.limit == limit and order.stop == stop:
            return True
        for _ in range(2):
            outcome = journal.replace(
                order, desk.broker, epoch=desk.epoch, now_ns=desk.now_ns(), limit=limit, stop=stop
            )
            if outcome != "refused":
                return True
    return False


def _parent(trade: Trade) -> Order | None:
    """Return the order whose legs should be protecting now: the newest OCO, else a full entry."""
    oco = trade.orders.filter(purpose="o", broker_id__isnull=False).order_by("-pk").first()
    if oco is not None and oco.status in moves.LIVE:
        return oco
    entry = trade.orders.get(purpose="e")
    return entry if entry.status == Status.FILLED and entry.broker_id else None


def _take_over(desk: Desk, parent: Order, seen: BrokerOrder) -> None:
    now = desk.now_ns()
    applied = venue_state.take_over(parent, seen, now_ns=now)
    desk.fills_missing |= applied.fills_missing
    for leg in seen.legs:
        row = venue_state.find(desk.run.pk, leg)
        if row is not None and row.pk != parent.pk:
            desk.fills_missing |= venue_state.take_over(row, leg, now_ns=now).fills_missing


def _placed(desk: Desk, trade: Trade, parent: Order, seen: BrokerOrder) -> str | None:
    """The legs cover the shares: are they where they should be? One that is not protects nothing.

    It is moved once; what is misplaced then is replaced by an OCO, and at last the position leaves.
    """
    wrong = legs.misplaced(seen, trade)
    if not wrong and not (legs.are_moving(seen) and trade.protect_tries):
        _protected(desk, trade)
        return None
    if legs.are_moving(seen):
        return _too_late(desk, trade)
    if trade.protect_tries:
        return _restore(desk, trade, parent)
    desk.note_trade(trade, "order", f"{'; '.join(wrong)}: moving it", level="alarm")
    Trade.objects.filter(pk=trade.pk).update(protect_tries=1)
    move_leg(desk, trade, ("tp", "o"), limit=trade.take_profit)
    move_leg(desk, trade, ("sl",), stop=trade.stop_loss)
    return None


def _protected(desk: Desk, trade: Trade) -> None:
    late = desk.late_ns(trade.naked_since_ns or desk.now_ns())
    trade = trades.note_protected(trade, desk.now_ns(), naked_ns=late)
    legs = f"{shown(trade.stop_loss)} / {shown(trade.take_profit)}"
    desk.note_trade(
        trade,
        "trade",
        f"{trade.held} shares protected at {legs}",
        shares=trade.held,
        naked_ms=late // MS,
        level="alarm" if late > 5 * SECOND else "info",
    )
    reanchor(desk, trade)


def _restore(desk: Desk, trade: Trade, parent: Order | None) -> str | None:
    """Attach an OCO for exactly the shares held; without success in time, close."""
    entry = trade.orders.get(purpose="e")
    legs_to_come = parent is not None and parent.purpose == "e" and trade.protect_tries == 0
    if entry.legs.exists() and not desk.live_orders(trade, "tp", "sl"):
        legs_to_come = False  # they have been
    if legs_to_come and _within(desk, trade):
        return None  # the legs of a full entry come alive by themselves; look again soon
    if _is_dust(trade) and not parent and desk.now_ns() >= (trade.exit_due_ns or 0):
        return "dust"  # when selling it has just failed, it needs a stop until the next attempt
    if trade.orders.filter(purpose="o", status=Status.UNKNOWN).exists():
        return _too_late(desk, trade)
    sell_failed = desk.now_ns() < (trade.exit_due_ns or 0)  # then a stop, however late
    if trade.protect_tries >= OCO_TRIES_MAX or (_too_late(desk, trade) and not sell_failed):
        return "unprotected"
    if _legs_in_the_way(desk, trade):
        return None
    return _attach_oco(desk, trade, entry)


def _is_dust(trade: Trade) -> bool:
    return trade.held * (trade.entry_value / trade.filled_quantity) < DUST_USD


def _legs_in_the_way(desk: Desk, trade: Trade) -> bool:
    """Cancel live sells that cover the wrong number of shares; an OCO needs them free."""
    return bool(desk.cancel_sells(trade))


def _attach_oco(desk: Desk, trade: Trade, entry: Order) -> str | None:
    reach("protect.before_oco")
    seq = trade.orders.filter(purpose="o").count() + 1
    target, stop = _levels(trade)
    order = journal.intend(
        trade,
        purpose="o",
        client_order_id=domain.client_order_id(
            trade.account_number, trade.day, trade.slot, trade.try_no, f"o{seq}"
        ),
        epoch=desk.epoch,
        now_ns=desk.now_ns(),
        side="sell",
        type="limit",
        quantity=trade.held,
        limit=target,
        take_profit=target,
        stop_loss=stop,
        time_in_force=entry.time_in_force,
    )
    Trade.objects.filter(pk=trade.pk).update(take_profit=target, stop_loss=stop, reanchored=True)
    order = journal.submit(order, desk.broker, epoch=desk.epoch, now_ns=desk.now_ns())
    Trade.objects.filter(pk=trade.pk).update(protect_tries=trade.protect_tries + 1)
    if order.status == Status.REFUSED:
        desk.note_trade(trade, "order", f"OCO refused: {order.reason}", level="alarm")
        trade.refresh_from_db()
        return "unprotected" if trade.protect_tries >= OCO_TRIES_MAX else protect(desk, trade)
    text = f"OCO for {trade.held} shares"
    desk.note_trade(trade, "order", text, target=str(target), stop=str(stop))
    if order.status == Status.UNKNOWN:
        desk.unsettled.add(trade.pk)
        return None
    trade.refresh_from_db()
    seen = desk.broker.order(str(order.broker_id))
    if seen is not None and legs.protects(seen, trade):
        _protected(desk, trade)
    return None


def _within(desk: Desk, trade: Trade) -> bool:
    deadline = int(trade.exit_parameters.get("protect_deadline_ms", 2000)) * MS
    return desk.late_ns(trade.naked_since_ns or desk.now_ns()) < deadline


def _too_late(desk: Desk, trade: Trade) -> str | None:
    late = desk.late_ns(trade.naked_since_ns or desk.now_ns())
    return "unprotected" if late >= HARD_CLOSE_NS else None


def wake_ns(trade: Trade, now_ns: int) -> int | None:
    """Return when an unprotected trade must be looked at again."""
    if trade.state != T.UNPROTECTED:
        return None
    late = now_ns - (trade.naked_since_ns or now_ns) >= HARD_CLOSE_NS
    return now_ns + (LOOK_AGAIN_NS if late else LOOK_SOON_NS)


__all__ = ["LIVE", "covered_here", "is_gone", "move_leg", "protect", "reanchor", "wake_ns"]
