"""The order journal: intent, attempt, answer, event — each committed before the next begins.

An attempt without an outcome is unknown by definition: a crash anywhere leaves an order to look
up, never one to send twice (reliability 3.2–3.5, 3.1). What the broker says is stored raw in the
transaction of its effect, and a second copy of it changes nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from execution import selectors
from execution.brokers.port import (
    Broker,
    BrokerOrder,
    NameTaken,
    OutcomeUnknown,
    Refused,
)
from execution.domain import bracket, echo, limits
from execution.domain.limits import Denial, DenyCode
from execution.errors import NotSent
from execution.failpoints import reach
from execution.models import Order, OrderAttempt, Trade
from execution.services import activity, external, lease, moves, order_state, venue_state
from execution.services.again import again_on_deadlock
from execution.services.moves import OrderEvent as E
from execution.services.moves import OrderStatus as Status

MESSAGE_MAX = 300
#: An order that is so much older than our only attempt is not ours; no two clocks differ so much.
OLDER_NS = 5_000_000_000


# --- intents and attempts ------------------------------------------------------------------------


@again_on_deadlock
def intend(
    trade: Trade, *, purpose: str, client_order_id: str, epoch: int, now_ns: int, **fields: Any
) -> Order:
    """Write down that we want an order, before anything is sent; the same id again returns it.

    Raises:
        LeaseLost: another hub may write now.
    """
    with transaction.atomic():
        _may_write(purpose, epoch)
        order, _ = Order.objects.get_or_create(
            run_id=trade.run_id,
            client_order_id=client_order_id,
            defaults={
                "trade": trade,
                "purpose": purpose,
                "symbol": trade.symbol,
                "status": Status.INTENT,
                "fence_epoch": epoch,
                "created_ns": now_ns,
                **fields,
            },
        )
    reach("journal.after_intent")
    return order


def submit(
    order: Order,
    broker: Broker,
    *,
    epoch: int,
    now_ns: int,
    last_look: Callable[[], Denial | None] = lambda: None,
) -> Order:
    """Send an intended order once; for one that was sent already this is a no-op.

    Two commits around the socket: the attempt before, its outcome after. The fence is asked once
    more between the two: a hub that was paused there and replaced does not send, nor one that was
    paused for so long that the order was given up, or that an entry should not leave any more.

    Args: last_look: the limit that holds it back by now; asked right before the socket.
    Raises:
        LeaseLost: another hub may write now; nothing was sent.
    """
    with transaction.atomic():
        _may_write(order.purpose, epoch)
        claimed = Order.objects.filter(pk=order.pk, status=Status.INTENT).update(
            status=Status.SENDING, sent_ns=now_ns, fence_epoch=epoch
        )
        if claimed:
            attempt = OrderAttempt.objects.create(
                order=order, kind="submit", n=1, fence_epoch=epoch, sent_ns=now_ns
            )
    order.refresh_from_db()
    if not claimed:
        return order
    reach("journal.after_attempt")

    def send() -> BrokerOrder:
        _guard_send(order.purpose, epoch)
        _guard_fate(order)
        if (denial := last_look()) is not None:
            raise NotSent(denial)
        reach("journal.before_send")
        answer = _post(order, broker)
        reach("journal.after_answer")
        return answer

    return settle(order, attempt, send, now_ns)


def deny(
    order: Order, *, status: Status, reason: str, now_ns: int, denial: Denial | None = None
) -> bool:
    """Close an intent that was never sent; False when it is no longer an intent.

    Args: denial: the limit it broke, kept as figures beside the reason.
    """
    return bool(
        Order.objects.filter(pk=order.pk, status=Status.INTENT).update(
            status=status, reason=reason[:200], terminal_ns=now_ns, **_figures(denial)
        )
    )


def denied_as(denial: Denial) -> Status:
    """Return what an entry ends as that a limit holds back."""
    return Status.EXPIRED_LOCAL if denial.code is DenyCode.SIGNAL_AGE else Status.DENIED


def _figures(denial: Denial | None) -> dict[str, Any]:
    if denial is None:
        return {}
    return {
        "denied_code": denial.code,
        "denied_value": denial.value,
        "denied_limit": denial.limit,
    }


def cancel(order: Order, broker: Broker, *, epoch: int, now_ns: int) -> str:
    """Ask for a cancel and return the outcome; only the venue's event makes it canceled."""
    attempt = _attempt(order, "cancel", epoch, now_ns)
    Order.objects.filter(pk=order.pk).update(cancel_requested_ns=now_ns)

    def send() -> None:
        _guard_send(order.purpose, epoch, takes_risk=False)
        broker.cancel(str(order.broker_id))

    return _request(attempt, send)[0]


def replace(
    order: Order,
    broker: Broker,
    *,
    epoch: int,
    now_ns: int,
    limit: Decimal | None = None,
    stop: Decimal | None = None,
) -> str:
    """PATCH a working order and return the outcome; on success it answers to a new broker id.

    Its row then has the prices that the venue answered; without an answer those that were asked
    for, until the venue shows others.
    """
    attempt = _attempt(order, "replace", epoch, now_ns)

    def send() -> BrokerOrder:
        _guard_send(order.purpose, epoch, takes_risk=False)
        return broker.replace(str(order.broker_id), limit=limit, stop=stop)

    outcome, answer = _request(attempt, send)
    if outcome != "refused":
        with transaction.atomic():
            locked = venue_state.locked(order)
            locked.replace_requested_ns = now_ns
            locked.limit = limit if limit is not None else locked.limit
            locked.stop = stop if stop is not None else locked.stop
            if answer is not None:
                order_state.follow_replacement(locked, answer)
            locked.save()
    order.refresh_from_db()
    return outcome


def _may_write(purpose: str, epoch: int) -> None:
    """Fence a write: an entry needs a lease that lasts; what takes risk away, that nobody took it.

    A hub that was slow (a broker that did not answer) must still get out of its positions.
    """
    if purpose == "e":
        lease.fence(epoch)
    else:
        lease.renew(epoch)


def _guard_fate(order: Order) -> None:
    """Its slot may be another entry's by now.

    Raises:
        Refused: it was looked up while it stood still, and given up; nothing was sent.
    """
    if not Order.objects.filter(pk=order.pk, status=Status.SENDING).exists():
        raise Refused("given up before it was sent")


def _guard_send(purpose: str, epoch: int, *, takes_risk: bool = True) -> None:
    """The last look before a socket write; see `lease.may_send`.

    Raises:
        NotSent: an entry whose lease is too short, or the kill switch was turned since the look at
            the limits; it certainly never left.
        LeaseLost: another hub may write now.
    """
    if purpose == "e" and takes_risk and (level := selectors.kill_level()) != "none":
        raise NotSent(limits.kill_switch(level))
    if not lease.may_send(epoch, left=lease.SEND_MARGIN) and purpose == "e" and takes_risk:
        raise NotSent(limits.lease_ends())


def _attempt(order: Order, kind: str, epoch: int, now_ns: int) -> OrderAttempt:
    with transaction.atomic():
        lease.renew(epoch)
        last = order.attempts.filter(kind=kind).aggregate(last=Max("n"))["last"] or 0
        return OrderAttempt.objects.create(
            order=order, kind=kind, n=last + 1, fence_epoch=epoch, sent_ns=now_ns
        )


def _request(attempt: OrderAttempt, call: Callable[[], Any]) -> tuple[str, Any]:
    """Make one cancel or replace and record how it ended; these are safe to ask again."""
    answer, outcome, message = None, "confirmed", ""
    try:
        answer = call()
    except Refused as exc:
        outcome, message = "refused", str(exc)
    except OutcomeUnknown as exc:
        outcome, message = "unknown", str(exc)
    _close_attempt(attempt, outcome, message, answer)
    return outcome, answer


def _close_attempt(
    attempt: OrderAttempt, outcome: str, message: str = "", answer: BrokerOrder | None = None
) -> None:
    OrderAttempt.objects.filter(pk=attempt.pk).answer(
        outcome=outcome,
        message=message[:MESSAGE_MAX],
        answer=None if answer is None else answer.raw,
        answered_at=datetime.now(UTC),
    )


def settle(
    order: Order, attempt: OrderAttempt, call: Callable[[], BrokerOrder], now_ns: int
) -> Order:
    """Make the call of an attempt and store how it ended; the order comes back fresh."""
    try:
        answer = call()
    except NotSent as exc:
        _hold_back(order, attempt, exc, now_ns)
    except Refused as exc:
        with transaction.atomic():
            _close_attempt(attempt, "refused", str(exc))
            locked = venue_state.locked(order)
            if locked.status in (Status.SENDING, Status.UNKNOWN):
                moves.move(locked, E.REFUSE, now_ns, reason=str(exc))
            locked.quarantined |= isinstance(exc, NameTaken)
            locked.save()
    except OutcomeUnknown as exc:
        with transaction.atomic():
            _close_attempt(attempt, "unknown", str(exc))
            locked = venue_state.locked(order)
            moves.move(locked, E.LOSE, now_ns, reason=str(exc))
            locked.save()
    else:
        _take(order, attempt, answer, now_ns)
    order.refresh_from_db()
    return order


def _hold_back(order: Order, attempt: OrderAttempt, why: NotSent, now_ns: int) -> None:
    """Store that a limit kept an entry from leaving: it is ours, and no refusal of the venue."""
    late = denied_as(why.denial) is Status.EXPIRED_LOCAL
    with transaction.atomic():
        _close_attempt(attempt, "refused", f"not sent: {why}")
        locked = venue_state.locked(order)
        if locked.status == Status.SENDING:
            moves.move(locked, E.EXPIRE_LOCALLY if late else E.DENY, now_ns, reason=str(why))
            for name, value in _figures(why.denial).items():
                setattr(locked, name, value)
        locked.save()


def is_anothers(order: Order, seen: BrokerOrder) -> bool:
    """Has somebody else an order of this name? It was there before we ever sent ours.

    By its age only an entry is told: a clock that is wrong keeps those off, exits it does not.
    """
    if external.knows(order.run_id, seen.id):
        return True
    since_ns = order.sent_ns or order.created_ns
    timed = order.purpose == "e" and seen.created_ns > 0
    return timed and seen.created_ns < since_ns - OLDER_NS


def _take(order: Order, attempt: OrderAttempt, answer: BrokerOrder, now_ns: int) -> None:
    """Adopt what the venue has under our name, unless it is older than our attempt."""
    if not is_anothers(order, answer):
        _adopt(order, attempt, answer, now_ns)
        return
    reason = f"the name belongs to an older order that is not ours ({answer.status})"
    with transaction.atomic():
        _close_attempt(attempt, "refused", reason, answer)
        external.note_order(order.run, answer, now_ns=now_ns, locks=True)
        locked = venue_state.locked(order)
        moves.move(locked, E.REFUSE, now_ns, reason=reason)
        locked.save()


@again_on_deadlock
def _adopt(order: Order, attempt: OrderAttempt, answer: BrokerOrder, now_ns: int) -> None:
    """Store the answer raw, the ids of the order and its legs, and what it says."""
    with transaction.atomic():
        _close_attempt(attempt, "confirmed", "", answer)
        locked = venue_state.locked(order)
        order_state.claim_id(locked, answer.id)
        locked.broker_id = locked.broker_id or answer.id
        _echo(locked, answer, now_ns)
        order_state.absorb_state(locked, answer, now_ns)
        locked.save()
        venue_state.adopt_legs(locked, answer, now_ns)
    reach("journal.after_store")


def _echo(order: Order, answer: BrokerOrder, now_ns: int) -> None:
    """Compare the venue's echo with what we asked for; a difference locks entries: people look."""
    found = echo.differences(_asked(order), _told(answer))
    planned = _legs_asked_for(order)
    if planned is not None:
        fresh = [leg for leg in answer.legs if leg.replaces is None]  # moved since: not the echo
        found += echo.misplaced(planned, [(leg.limit_price, leg.stop_price) for leg in fresh])
    if not found:
        return
    order.reason = f"echo differs: {'; '.join(found)}"[:200]
    order.quarantined = True
    text = f"{order.symbol}: the venue did not echo what was asked: {'; '.join(found)}"
    which = {"symbol": order.symbol, "trade": order.trade_id, "order": order.client_order_id}
    activity.note(order.run_id, "order", text, level="alarm", market_ns=now_ns, **which)


def _asked(order: Order) -> echo.Terms:
    return echo.Terms(
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        type=order.type,
        time_in_force=order.time_in_force,
        order_class=echo.CLASSES.get(order.purpose, ""),
        limit=order.take_profit if order.purpose == "o" else order.limit,
    )


def _told(answer: BrokerOrder) -> echo.Terms:
    return echo.Terms(
        symbol=answer.symbol,
        side=answer.side.value,
        quantity=answer.quantity,
        type=answer.type,
        time_in_force=answer.time_in_force,
        order_class=answer.order_class,
        limit=answer.limit_price,
    )


def _legs_asked_for(order: Order) -> echo.Legs | None:
    """Return where the legs of an order were asked for, None when it has none."""
    if order.take_profit is None or order.stop_loss is None:
        return None
    return echo.Legs(target=order.take_profit, stop=order.stop_loss, stop_limit=_stop_limit(order))


def _stop_limit(order: Order) -> Decimal | None:
    if order.stop_loss is None:
        return None
    return bracket.stop_limit(order.stop_loss, order.trade.exit_parameters)


def _there(price: Decimal | None) -> Decimal:
    """Return a price that a bracket cannot do without; an order without it never leaves."""
    if price is None:
        raise Refused("an order without both exits is not sent")
    return price


def _post(order: Order, broker: Broker) -> BrokerOrder:
    common: dict[str, Any] = {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "quantity": order.quantity,
    }
    stop_limit = _stop_limit(order)
    if order.purpose == "e":
        return broker.submit_bracket(
            **common,
            limit=order.limit,
            take_profit=_there(order.take_profit),
            stop_loss=_there(order.stop_loss),
            time_in_force=order.time_in_force,
            stop_limit=stop_limit,
        )
    if order.purpose == "o":
        return broker.submit_oco(
            **common,
            take_profit=_there(order.take_profit),
            stop_loss=_there(order.stop_loss),
            time_in_force=order.time_in_force,
            stop_limit=stop_limit,
        )
    if order.purpose == "c":
        return broker.submit_cover(**common)
    return broker.submit_sell(**common, limit=order.limit)


# --- looking up what became of it ----------------------------------------------------------------


def look_up(order: Order, broker: Broker, *, now_ns: int) -> bool:
    """Ask the venue for an order of unknown outcome; True when it knows the name.

    Then it is adopted, or refused when the name is that of an older order.

    Raises:
        BrokerError: the look-up itself failed, which says nothing about the order.
    """
    found = broker.order_by_client_id(order.client_order_id)
    if found is None:
        return False
    attempt = order.attempts.get(kind="submit", n=1)
    _take(order, attempt, found, now_ns)
    order.refresh_from_db()
    return True


def abandon(order: Order, *, now_ns: int) -> None:
    """Close an order that the venue conclusively never saw; a late appearance is still adopted."""
    with transaction.atomic():
        locked = venue_state.locked(order)
        if locked.status not in (Status.UNKNOWN, Status.SENDING):
            return
        if locked.status == Status.SENDING:
            moves.move(locked, E.LOSE, now_ns)
        moves.move(locked, E.ABANDON, now_ns, reason="the venue never saw it")
        locked.save()
        locked.attempts.filter(kind="submit").answer(outcome="abandoned")
    order.refresh_from_db()
