"""Writes to the books. Each is one short transaction under the account's row lock, and a second
delivery of the same event changes nothing.

Call them inside the transaction that stores the event they book: fill, order and ledger move
together.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts.domain import ledger
from accounts.domain.ledger import Ledger
from accounts.domain.money import from_micros, to_micros
from accounts.errors import DayNotClosable, NotRecorded
from accounts.journal import Event, Recorded, booking_day, find, locked, require_same, write
from accounts.models import OF_FILLS, Account, DayClose, Fill, JournalEntry
from accounts.selectors import day_summary, standing_fills

Kind = JournalEntry.Kind
AGAINST = {
    Kind.OPENING: Ledger.OPENING,
    Kind.TRANSFER: Ledger.TRANSFERS,
    Kind.INCOME: Ledger.INCOME,
    Kind.FEE: Ledger.FEES,
    Kind.ADJUSTMENT: Ledger.EXTERNAL,
    Kind.SUSPENSE: Ledger.SUSPENSE,
}
SIGN = {"buy": 1, "sell": -1}


@transaction.atomic
def open_account(
    *,
    number: str,
    run_id: str,
    cash: Decimal,
    session_date: date,
    ts_ns: int,
    mode: str = Account.Mode.PAPER,
) -> Account:
    """Open the account of a run with its opening cash, or return the one that is open.

    Args:
        cash: the broker's balance at the start, USD; booked against opening equity once only.
    """
    account, created = Account.objects.get_or_create(
        run_id=run_id, number=number, defaults={"mode": mode, "opened_on": session_date}
    )
    if created and cash:
        record_cash(
            account,
            source_id="opening",
            kind=Kind.OPENING,
            amount=cash,
            ts_ns=ts_ns,
            session_date=session_date,
        )
    return account


@transaction.atomic
def record_fill(
    account: Account,
    *,
    execution_id: str,
    order_ref: str,
    symbol: str,
    side: str,
    quantity: int,
    price: Decimal,
    ts_ns: int,
    session_date: date,
    fee: Decimal = Decimal(0),
) -> Recorded:
    """Book one execution; whatever order executions arrive in, the books end the same.

    Args:
        side: "buy" or "sell"; quantity: whole shares, > 0; price: USD per share;
        ts_ns: venue time, which orders the lots; session_date: the execution's trading day. When
            that day is closed already, the entry is dated the day after the last closed one.
    Raises:
        ConflictingEntry: the execution id is in the books with other facts.
        ValueError: quantity or price is not positive, or the price is finer than a micro-dollar.
    """
    if quantity <= 0:
        raise ValueError(f"a fill of {quantity} shares")
    facts = ledger.Fill(
        execution_id=execution_id,
        symbol=symbol,
        quantity=SIGN[side] * quantity,
        price=to_micros(price),
        ts_ns=ts_ns,
        day=session_date,
        fee=to_micros(fee),
    )
    return _record_fill(account, facts, Kind.FILL, order_ref)


@transaction.atomic
def adopt_position(
    account: Account,
    *,
    source_id: str,
    symbol: str,
    quantity: int,
    price: Decimal,
    ts_ns: int,
    session_date: date,
    reason: str = "",
) -> Recorded:
    """Book shares that came or went without an order of ours, against external adjustment.

    Args: quantity: signed shares; price: of the execution, or the broker's average entry price,
        USD; reason: who says so, and why.
    """
    facts = ledger.Fill(
        execution_id=f"adopt:{source_id}",
        symbol=symbol,
        quantity=quantity,
        price=to_micros(price),
        ts_ns=ts_ns,
        day=session_date,
        source=Ledger.EXTERNAL,
    )
    return _record_fill(account, facts, Kind.ADOPTION, order_ref="", reason=reason)


@transaction.atomic
def record_split(
    account: Account,
    *,
    source_id: str,
    symbol: str,
    shares: int,
    ts_ns: int,
    session_date: date,
    reason: str,
) -> Recorded:
    """Book shares that came or went for no money, spread over the lots open at the time.

    Args: source_id: one per split; shares: the change of the position, signed; ts_ns: when it took
        effect: fills before it are in old shares, fills after it in new ones.
    Raises:
        ConflictingEntry: the source id is in the books with other facts.
        ValueError: no shares, or no reason given.
    """
    if not reason:
        raise ValueError("a split needs a reason")
    facts = ledger.Fill(
        execution_id=f"split:{source_id}",
        symbol=symbol,
        quantity=shares,
        price=0,
        ts_ns=ts_ns,
        day=session_date,
        source=Ledger.EXTERNAL,
        split=True,
    )
    return _record_fill(account, facts, Kind.SPLIT, order_ref="", reason=reason)


@transaction.atomic
def record_cash(
    account: Account,
    *,
    source_id: str,
    kind: str,
    amount: Decimal,
    ts_ns: int,
    session_date: date,
    reason: str = "",
) -> Recorded:
    """Book cash that came in (positive) or went out (negative) without a fill.

    Args:
        source_id: the broker's activity id, or one made before the money moves;
        kind: opening, transfer, income, fee, adjustment; anything unknown belongs in suspense.
    Raises:
        ConflictingEntry: the source id is in the books with other facts.
    """
    account = locked(account)
    kind = Kind(kind)
    event = Event(
        source_key=f"cash:{source_id}",
        kind=kind,
        occurred_ns=ts_ns,
        day=session_date,
        reason=reason,
    )
    postings = ledger.transfer_postings(
        to_micros(amount), AGAINST[kind], booked=booking_day(account, session_date)
    )
    known = find(account, event)
    if known is not None:
        cash = sum(leg.amount_usd for leg in known.postings.all() if leg.ledger == Ledger.CASH)
        require_same(known, {"amount": (cash, amount), "kind": (known.kind, kind)})
        return Recorded(known, created=False)
    return Recorded(write(account, event, postings), created=True)


@transaction.atomic
def reverse(account: Account, *, source_key: str, reason: str, ts_ns: int) -> Recorded:
    """Take an entry back out of the books by a second one (a bust, or our own mistake).

    Args: source_key: of the entry, e.g. `fill:<execution id>`; ts_ns: when it was reversed.
    Raises:
        NotRecorded: there is no such entry.
        ValueError: no reason given, or the entry is itself a reversal.
    """
    if not reason:
        raise ValueError("a reversal needs a reason")
    account = locked(account)
    entry = account.entries.filter(source_key=source_key).first()
    if entry is None:
        raise NotRecorded(f"{account}: nothing recorded under {source_key}")
    if entry.kind == Kind.REVERSAL:
        raise ValueError(f"{source_key} is a reversal: record the event again under a new id")
    event = Event(
        source_key=f"reverse:{source_key}",
        kind=Kind.REVERSAL,
        occurred_ns=ts_ns,
        day=entry.session_date,
        order_ref=entry.order_ref,
        reason=reason,
        reverses=entry,
    )
    known = find(account, event)
    if known is not None:
        return Recorded(known, created=False)
    booked = booking_day(account, entry.session_date)
    return Recorded(write(account, event, _undone(account, entry, booked)), created=True)


@transaction.atomic
def correct_fill(account: Account, *, previous_id: str, reason: str, **fill: Any) -> Recorded:
    """Replace one execution by another: the venue's bust of `previous_id`, then the new fill.

    Args: fill: the arguments of `record_fill`.
    """
    reverse(account, source_key=f"fill:{previous_id}", reason=reason, ts_ns=fill["ts_ns"])
    return record_fill(account, **fill)


@transaction.atomic
def close_day(account: Account, *, session_date: date) -> DayClose:
    """Close a trading day: from here on nothing is dated on it or before it.

    Raises:
        DayNotClosable: a later day is closed already.
    """
    account = locked(account)
    known: DayClose | None = account.day_closes.filter(session_date=session_date).first()
    if known is not None:
        return known
    if account.closed_through is not None and session_date <= account.closed_through:
        raise DayNotClosable(f"{account} is closed through {account.closed_through}")
    latest = account.postings.aggregate(latest=Max("session_date"))["latest"]
    if latest is not None and latest > session_date:
        raise DayNotClosable(f"{account} has postings on {latest}, after {session_date}")
    summary = day_summary(account, session_date)
    account.closed_through = session_date
    account.save(update_fields=["closed_through"])
    closed: DayClose = DayClose.objects.create(
        account=account,
        session_date=session_date,
        realized_usd=summary.realized,
        fees_usd=summary.fees,
        cash_usd=summary.cash,
        postings=account.postings.filter(session_date__lte=session_date).count(),
    )
    return closed


@transaction.atomic
def rebook(account: Account, entry: JournalEntry, *, reason: str) -> Recorded:
    """Book an entry of another account once more in this one, as it stands there."""
    account = locked(account)
    fill = Fill.objects.filter(entry=entry).first()
    if fill is not None:
        return _record_fill(account, fill.facts, Kind(entry.kind), entry.order_ref, reason)
    event = Event(
        source_key=entry.source_key,
        kind=entry.kind,
        occurred_ns=entry.occurred_ns,
        day=entry.session_date,
        order_ref=entry.order_ref,
        reason=reason,
    )
    legs = [
        ledger.Posting(
            Ledger(leg.ledger), leg.symbol, to_micros(leg.amount_usd), leg.quantity,
            leg.session_date,
        )
        for leg in entry.postings.all()
    ]  # fmt: skip
    return Recorded(write(account, event, legs), created=True)


def _record_fill(
    account: Account, fill: ledger.Fill, kind: Kind, order_ref: str, reason: str = ""
) -> Recorded:
    account = locked(account)
    event = Event(
        source_key=f"fill:{fill.execution_id}",
        kind=kind,
        occurred_ns=fill.ts_ns,
        day=fill.day,
        order_ref=order_ref,
        reason=reason,
    )
    known = find(account, event)
    if known is not None:
        require_same(
            known, {"fill": (known.fill.facts, fill), "order": (known.order_ref, order_ref)}
        )
        return Recorded(known, created=False)
    others = standing_fills(account, fill.symbol)
    booked = booking_day(account, fill.day)
    entry = write(account, event, ledger.fill_postings(fill, others, booked=booked))
    Fill.objects.create(
        entry=entry,
        account=account,
        execution_id=fill.execution_id,
        symbol=fill.symbol,
        quantity=fill.quantity,
        price_usd=from_micros(fill.price),
        fee_usd=from_micros(fill.fee),
        ts_ns=fill.ts_ns,
        session_date=fill.day,
        order_ref=order_ref,
    )
    return Recorded(entry, created=True)


def _undone(account: Account, entry: JournalEntry, booked: date) -> list[ledger.Posting]:
    if entry.kind in OF_FILLS:
        fill = entry.fill.facts
        others = [one for one in standing_fills(account, fill.symbol) if one != fill]
        return ledger.reversal_postings(fill, others, booked=booked)
    return [
        ledger.Posting(Ledger(leg.ledger), leg.symbol, -to_micros(leg.amount_usd), 0, booked)
        for leg in entry.postings.all()
    ]
