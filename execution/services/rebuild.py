"""The ledger, built a second time from the raw events alone: it must be the same to the byte.

Nothing of it stays: the second set of books lives inside a transaction that is rolled back.
"""

import hashlib
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from accounts import services as books
from accounts.domain.money import nearest
from accounts.models import Account
from execution.brokers import wire
from execution.models import BrokerEvent, Run
from execution.services import splits
from signals.session import day_of

TWIN = "twin-"


def compare(run: Run) -> tuple[str, str]:
    """Return the digests of a run's books as they are, and as its events make them."""
    account = Account.objects.get(run_id=run.pk, number=run.account_number)
    with transaction.atomic():
        twin = books.open_account(
            number=f"{TWIN}{account.number}"[:32],
            run_id=run.pk,
            cash=run.opening_cash,
            session_date=account.opened_on,
            ts_ns=run.open_ns,
        )
        _replay(run, twin)
        digests = digest(account), digest(twin)
        transaction.set_rollback(True)
    return digests


def digest(account: Account) -> str:
    """Return the SHA-256 of what fills, busts and splits amount to: by day, ledger and symbol, and
    the cash of every execution that stands.
    """
    rows = (
        account.postings.filter(entry__kind__in=("opening", "fill", "split", "reversal"))
        .values_list("session_date", "ledger", "symbol")
        .annotate(amount=Sum("amount_usd"), shares=Sum("quantity"))
    )
    lines = sorted(
        f"{day}|{name}|{symbol}|{amount:f}|{shares}"
        for day, name, symbol, amount, shares in rows
        if amount or shares
    )
    lines += sorted(f"{key}|{amount:f}" for key, amount in _cash_of(account).items() if amount)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _cash_of(account: Account) -> dict[str, Decimal]:
    """Return the cash of every execution; one that was taken back has none."""
    found: dict[str, Decimal] = {}
    of_fills = account.postings.filter(ledger="cash", entry__source_key__contains="fill:")
    for source, amount in of_fills.values_list("entry__source_key", "amount_usd"):
        key = source.removeprefix("reverse:")
        found[key] = found.get(key, Decimal(0)) + amount
    return found


def _replay(run: Run, twin: Account) -> None:
    events = BrokerEvent.objects.filter(run=run, order__isnull=False).select_related("order")
    for event in events.filter(key__startswith="split:"):
        splits.record(twin, event)
    taken_back = set(events.filter(key__startswith="bust:").values_list("key", flat=True))
    for event in (
        events.filter(key__startswith="fill:").exclude(event="void").order_by("ts_ns", "pk")
    ):
        execution_id = event.key.removeprefix("fill:")
        if f"bust:{execution_id}" in taken_back or event.order is None:
            continue
        price, quantity, side, ts_ns = _facts(event)
        books.record_fill(
            twin,
            execution_id=execution_id,
            order_ref=event.order.client_order_id[:64],
            symbol=event.order.symbol,
            side=side,
            quantity=quantity,
            price=price,
            ts_ns=ts_ns,
            session_date=day_of(ts_ns),
        )


def _facts(event: BrokerEvent) -> tuple[Decimal, int, str, int]:
    """Read an execution back from its raw event, whichever source told it."""
    raw = event.raw
    order = raw.get("order")
    side = str(order["side"]) if isinstance(order, dict) else str(raw["side"])
    stamp = raw.get("timestamp")
    ts_ns = wire.ns(stamp) if stamp else event.ts_ns
    return nearest(Decimal(str(raw["price"]))), int(Decimal(str(raw["qty"]))), side, ts_ns
