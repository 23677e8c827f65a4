"""Who may write orders: a lease on the database's own clock, with a fencing epoch.

Taking it raises the epoch; every write of an intent or attempt checks the epoch inside its own
transaction, so a hub that was paused and replaced can no longer write. (Reliability 3.9; fail-over
needs an explicit command, see DESIGN 11.)
"""

from datetime import timedelta

from django.db import transaction
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now

from execution.errors import LeaseLost
from execution.models import Lease

HUB = "hub"
TTL = timedelta(seconds=10)
RENEW_EVERY_S = 2.0


#: What a request may take, and a little more: an entry leaves only when so much lease is left.
SEND_MARGIN = timedelta(seconds=6)


def _expiry() -> ExpressionWrapper:
    return _in(TTL)


def take(holder: str, *, name: str = HUB, force: bool = False) -> int:
    """Take the lease when it is free, expired or already ours, and return the new epoch.

    Args: force: take it from a living holder (the standby's explicit command).
    Raises:
        LeaseLost: somebody else holds it; the message says who.
    """
    Lease.objects.get_or_create(
        name=name, defaults={"expires_at": _long_ago(), "epoch": 0, "holder": ""}
    )
    free = Lease.objects.filter(name=name)
    if not force:
        free = free.filter(Q(expires_at__lte=Now()) | Q(holder=holder) | Q(holder=""))
    with transaction.atomic():
        taken = free.update(epoch=F("epoch") + 1, holder=holder, expires_at=_expiry())
        lease = Lease.objects.get(name=name)
    if not taken:
        raise LeaseLost(f"the hub's lease is held by {lease.holder}")
    return lease.epoch


def renew(epoch: int, *, name: str = HUB) -> None:
    """Keep the lease for another TTL.

    Raises:
        LeaseLost: the epoch is no longer ours.
    """
    if not Lease.objects.filter(name=name, epoch=epoch).update(expires_at=_expiry()):
        raise LeaseLost(f"epoch {epoch} of the lease is over")


def release(epoch: int, *, name: str = HUB) -> None:
    """Give the lease back, so that the next hub need not wait for its end."""
    Lease.objects.filter(name=name, epoch=epoch).update(holder="", expires_at=Now())


def fence(epoch: int, *, name: str = HUB) -> None:
    """Refuse to go on unless the epoch still holds the lease; call inside the write's transaction.

    The UPDATE locks the row until that transaction ends, so a take-over waits for it.

    Raises:
        LeaseLost: another epoch holds it, or ours has run out.
    """
    held = Lease.objects.filter(name=name, epoch=epoch, expires_at__gt=Now())
    if not held.update(epoch=F("epoch")):
        raise LeaseLost(f"epoch {epoch} may not write: the lease is over")


def may_send(epoch: int, *, left: timedelta, name: str = HUB) -> bool:
    """Ask once more, right before a socket write, whether the lease is ours for so long.

    A hub may have been paused since its attempt was committed; meanwhile another took over and
    declared that attempt dead.

    Returns: False when the epoch is ours but too short a time is left of it.
    Raises:
        LeaseLost: another epoch has begun: nothing may be sent, nothing may be written.
    """
    ours = Lease.objects.filter(name=name, epoch=epoch)
    if ours.filter(expires_at__gt=_in(left)).exists():
        return True
    if not ours.exists():
        raise LeaseLost(f"epoch {epoch} is over: nothing was sent")
    return False


def _in(span: timedelta) -> ExpressionWrapper:
    return ExpressionWrapper(
        Now() + Value(span, output_field=DurationField()), output_field=DateTimeField()
    )


def _long_ago() -> ExpressionWrapper:
    return ExpressionWrapper(
        Now() - Value(TTL, output_field=DurationField()), output_field=DateTimeField()
    )
