"""The journal of stops for shares that are not ours: intent, attempt, answer, each committed.

They belong to no trade, so they have rows of their own; the rules are those of every other order:
an attempt without an answer is looked up by its name, and never sent again blindly.
"""

from decimal import Decimal

from django.db import transaction

from execution.brokers.port import Broker, BrokerOrder, OutcomeUnknown, Refused
from execution.models import ExternalOrder, Run
from execution.services import lease
from execution.services.external import SHELTER
from execution.services.moves import OrderStatus as Status

ABSENT_AFTER_NS = 30_000_000_000
ABSENT_READS = 2
OPEN = (str(Status.SENDING), str(Status.UNKNOWN))


def newest(run: Run, name: str) -> ExternalOrder | None:
    """Return the newest order of a name or of its successors."""
    rows = ExternalOrder.objects.filter(run=run, kind=SHELTER, client_order_id__startswith=name)
    return rows.order_by("-pk").first()


def next_name(last: ExternalOrder | None, name: str) -> str | None:
    """Return the name to send by; None when there was one that is, or may be, there.

    What certainly never came may be tried again, under another name.
    """
    if last is None:
        return name
    if last.status == Status.INTENT:
        return last.client_order_id
    if last.status not in (Status.ABANDONED, Status.REFUSED):
        return None
    tries = ExternalOrder.objects.filter(
        run=last.run, kind=SHELTER, client_order_id__startswith=name
    )
    return f"{name}-{tries.count() + 1}"


def intend(
    run: Run,
    *,
    name: str,
    symbol: str,
    quantity: int,
    target: Decimal,
    stop: Decimal,
    epoch: int,
    now_ns: int,
) -> ExternalOrder:
    """Write down that we want an OCO for shares that are not ours. Args: prices in USD.

    Raises:
        LeaseLost: another hub may write now.
    """
    with transaction.atomic():
        lease.renew(epoch)
        row, _ = ExternalOrder.objects.get_or_create(
            run=run,
            client_order_id=name,
            kind=SHELTER,
            defaults={
                "symbol": symbol,
                "side": "sell",
                "type": "limit",
                "quantity": Decimal(quantity),
                "limit": target,
                "stop": stop,
                "status": Status.INTENT,
                "fence_epoch": epoch,
                "created_ns": now_ns,
            },
        )
    return row


def send(row: ExternalOrder, broker: Broker, *, tif: str, epoch: int, now_ns: int) -> ExternalOrder:
    """Send an intended order once; for one that was sent already this is a no-op.

    Raises:
        LeaseLost: another hub may write now; nothing was sent.
    """
    with transaction.atomic():
        lease.renew(epoch)
        intent = ExternalOrder.objects.filter(pk=row.pk, status=Status.INTENT)
        claimed = intent.update(status=Status.SENDING, sent_ns=now_ns, fence_epoch=epoch)
    row.refresh_from_db()
    if not claimed or row.limit is None or row.stop is None:
        return row
    lease.may_send(epoch, left=lease.SEND_MARGIN)
    try:
        answer = broker.submit_oco(
            client_order_id=row.client_order_id,
            symbol=row.symbol,
            quantity=int(row.quantity),
            take_profit=row.limit,
            stop_loss=row.stop,
            time_in_force=tif,
        )
    except Refused as exc:
        _close(row, Status.REFUSED, str(exc))
    except OutcomeUnknown as exc:
        _close(row, Status.UNKNOWN, str(exc))
    else:
        _placed(row, answer, now_ns)
    return row


def look_up(run: Run, broker: Broker, *, now_ns: int) -> None:
    """Ask what became of those without an answer.

    Raises:
        BrokerError: a look-up failed, which says nothing about the order.
    """
    lost = ExternalOrder.objects.filter(run=run, kind=SHELTER, status__in=OPEN)
    for row in lost.order_by("pk"):
        _look_up(row, broker, now_ns)


def _look_up(row: ExternalOrder, broker: Broker, now_ns: int) -> None:
    """Adopt it, or give it up: absent twice, long after the send, it never was."""
    found = broker.order_by_client_id(row.client_order_id)
    if found is not None:
        _placed(row, found, now_ns)
        return
    row.absent += now_ns - (row.sent_ns or 0) >= ABSENT_AFTER_NS
    row.status = Status.ABANDONED if row.absent >= ABSENT_READS else Status.UNKNOWN
    row.save(update_fields=["absent", "status"])


def _placed(row: ExternalOrder, seen: BrokerOrder, now_ns: int) -> None:
    """Keep the ids of the order and of its stop: their news are known as ours."""
    with transaction.atomic():
        row.broker_id = seen.id
        _close(row, Status.WORKING)
        for leg in seen.legs:
            ExternalOrder.objects.get_or_create(
                run=row.run,
                broker_id=leg.id,
                defaults={
                    "client_order_id": leg.client_order_id,
                    "kind": SHELTER,
                    "symbol": row.symbol,
                    "side": leg.side.value,
                    "type": leg.type,
                    "quantity": Decimal(leg.quantity),
                    "stop": leg.stop_price,
                    "status": Status.WORKING,
                    "fence_epoch": row.fence_epoch,
                    "created_ns": now_ns,
                    "sent_ns": row.sent_ns,
                },
            )


def _close(row: ExternalOrder, status: Status, reason: str = "") -> None:
    row.status, row.reason = status, reason[:200]
    row.save(update_fields=["status", "reason", "broker_id"])
