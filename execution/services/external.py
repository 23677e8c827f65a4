"""Orders at the broker that belong to no trade of the run: kept, named, and asked about.

They stay in the database, so that a restart forgets none; entries are locked until a person has
acknowledged them (`adoption`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from accounts import selectors as books
from accounts.models import Account
from execution.brokers.port import BrokerOrder, BrokerPosition, Shares
from execution.domain.orders import OrderName, parse_client_order_id
from execution.models import Difference, ExternalOrder, Run

THEIRS, NAMED, SHELTER = "theirs", "named", "shelter"


def name_of(run: Run, seen: str) -> OrderName | None:
    """Return what an order's name says when it is of our form, for this account; else None."""
    name = parse_client_order_id(seen)
    ours = name is not None and name.account == run.account_number.lower()[-4:].rjust(4, "0")
    return name if ours else None


def note_order(run: Run, seen: BrokerOrder, *, now_ns: int, locks: bool) -> bool:
    """Keep an order that is none of ours; True when it is new, or locks entries from now on."""
    sheltering = ExternalOrder.objects.filter(
        run=run, kind=SHELTER, client_order_id=seen.client_order_id, broker_id=None
    )
    if sheltering.exists():
        return False  # our own, whose answer is lost: it is looked up by its name
    row, made = ExternalOrder.objects.get_or_create(
        run=run,
        broker_id=seen.id,
        defaults={
            "client_order_id": seen.client_order_id[:128],
            "kind": NAMED if name_of(run, seen.client_order_id) else THEIRS,
            "locks": locks,
            "symbol": seen.symbol,
            "side": seen.side.value,
            "type": seen.type,
            "quantity": Decimal(seen.quantity),
            "limit": seen.limit_price,
            "stop": seen.stop_price,
            "status": seen.status,
            "created_ns": now_ns,
        },
    )
    if made:
        return True
    strangers = ExternalOrder.objects.filter(pk=row.pk).exclude(kind=SHELTER)
    strangers.update(status=seen.status)
    unlocked = strangers.filter(locks=False, difference=None)
    return locks and bool(unlocked.update(locks=True))


def knows(run_id: str, broker_id: str) -> bool:
    """Is this one of the orders that are not the run's?"""
    return ExternalOrder.objects.filter(run_id=run_id, broker_id=broker_id).exists()


def is_settled(run_id: str, broker_id: str) -> bool:
    """Has a person acknowledged this order as none of ours?"""
    rows = ExternalOrder.objects.filter(run_id=run_id, broker_id=broker_id)
    return rows.filter(difference__isnull=False).exists()


def locking(run: Run) -> list[ExternalOrder]:
    """Return the orders that keep entries locked, oldest first."""
    return list(ExternalOrder.objects.locking(run.pk).order_by("pk"))


def lines(rows: Iterable[ExternalOrder]) -> list[str]:
    """Return one sentence per order."""
    return [f"{row.symbol}: {described(row)}" for row in rows]


def described(row: ExternalOrder) -> str:
    """Return what an order is, for people."""
    whose = {
        NAMED: "an order named as ours that is unknown here (another run, or an older database)",
        SHELTER: "our stop for shares that are not ours",
    }.get(row.kind, "an order that is not ours")
    price = row.limit if row.limit is not None else row.stop
    at = "" if price is None else f" at {price:.2f}"
    return f"{whose}: {row.side} {row.quantity.normalize():f}{at}, {row.client_order_id}"


def slots_of_others(run: Run) -> set[int]:
    """Return the slots of the run's day whose names are used at the broker by another run."""
    named = ExternalOrder.objects.filter(run=run, kind=NAMED)
    names = [name_of(run, one) for one in named.values_list("client_order_id", flat=True)]
    return {name.slot for name in names if name is not None and name.day == run.day}


def shares(run: Run) -> dict[str, int]:
    """Return the shares in the books that no order of ours bought, signed, by symbol."""
    account = Account.objects.filter(run_id=run.pk, number=run.account_number).first()
    return {} if account is None else books.adopted_shares(account)


def fractions(run: Run) -> dict[str, Decimal]:
    """Return the parts of a share that a person has acknowledged, by symbol; no books hold them."""
    found: dict[str, Decimal] = {}
    booked = Difference.objects.filter(run=run, outcome="booked")
    for body in booked.order_by("pk").values_list("body", flat=True):
        for symbol, part in body.get("fractions", {}).items():
            found[symbol] = found.get(symbol, Decimal(0)) + Decimal(part)
    return {symbol: part for symbol, part in found.items() if part}


def all_shares(run: Run) -> dict[str, Shares]:
    """Return the shares that a person has acknowledged as none of ours, fractions too."""
    known: dict[str, Shares] = dict(shares(run))
    for symbol, part in fractions(run).items():
        known[symbol] = known.get(symbol, 0) + part
    return known


def known_parts_left_out(run: Run, positions: Sequence[BrokerPosition]) -> list[BrokerPosition]:
    """Return positions less the fractions that are acknowledged: what the books should say."""
    known = fractions(run)
    there = {p.symbol for p in positions}
    gone = [
        BrokerPosition(
            symbol=symbol,
            quantity=whole(-part),
            available=0,
            average_price=Decimal(0),
            market_value=Decimal(0),
        )
        for symbol, part in known.items()
        if symbol not in there
    ]
    left = [replace(p, quantity=whole(p.quantity - known.get(p.symbol, 0))) for p in positions]
    return left + gone


def whole(shares: Shares) -> Shares:
    """Return an int when it is one."""
    return int(shares) if shares == int(shares) else shares
