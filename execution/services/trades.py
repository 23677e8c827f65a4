"""The life of a slot in rows: reserved with its intent, followed by its orders, freed when flat."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from execution.domain import orders as domain
from execution.domain.rounds import EntryPlan
from execution.models import Order, Run, Trade
from execution.services import external, moves, runs
from execution.services.again import again_on_deadlock
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T
from execution.services.runs import day_of
from signals.session import day_of as day_of_time

#: What a trade keeps of the parameters it was born with.
EXIT_PARAMETERS = (
    "exit_mode",
    "max_hold_minutes",
    "no_progress_minutes",
    "no_progress_r",
    "broker_exit_grace_ms",
    "exit_confirm_prints",
    "include_odd_lots_in_price",
    "max_quote_age_ms",
    "protect_deadline_ms",
    "entry_ttl_ms",
    "reanchor_after_fill",
    "sl_max",
    "bracket_mode",
    "bracket_tif",
    "breakeven_at_r",
    "trailing_enabled",
    "trail_start_r",
    "trail_distance_r",
    "stop_type",
    "stop_slip_bps",
)
ENDED = tuple(str(state) for state in domain.TRADE_ENDED)
LIVE = tuple(str(status) for status in moves.LIVE)
HELD = (T.PARTIAL, T.UNPROTECTED, T.OPEN_PROTECTED, T.EXITING, T.HELD_OVERNIGHT)
REFUSALS = (str(Status.REFUSED), str(Status.REJECTED))
REFUSALS_MAX, REFUSALS_WITHIN_NS = 3, 600_000_000_000


def active(run: Run) -> QuerySet[Trade]:
    """Return the trades whose slot is busy, in a fixed order.

    So is one that had ended, when its entry was filled, or has appeared, at the venue after all,
    or when it sold more than it had.
    """
    entry = Order.objects.filter(trade=OuterRef("pk"), purpose="e", status__in=LIVE)
    late = ~Q(filled_quantity=F("exit_quantity")) | Exists(entry)
    return Trade.objects.filter(~Q(state__in=ENDED) | late, run=run).order_by("pk")


def reserve(
    run: Run, plan: EntryPlan, parameters: dict[str, Any], *, epoch: int, now_ns: int
) -> Order:
    """Take a slot and write the entry's intent; call inside the decision's transaction.

    Raises:
        IntegrityError: the slot or the symbol is taken already.
    """
    slot, try_no = _free_slot(run)
    trade = Trade.objects.create(
        run=run,
        account_number=run.account_number,
        day=day_of(run),
        slot=slot,
        try_no=try_no,
        slot_key=f"{run.pk}:{run.account_number}:{day_of(run)}:{slot}",
        open_key=f"{run.pk}:{plan.symbol}",
        symbol=plan.symbol,
        state=T.RESERVED,
        k=plan.k,
        candidate_id=plan.candidate_id,
        score=plan.score,
        quantity=plan.quantity,
        limit=plan.limit,
        take_profit=plan.take_profit,
        stop_loss=plan.stop_loss,
        parameters_version=plan.params_version,
        exit_parameters=_born_with(plan, parameters),
        reserved_ns=now_ns,
        send_before_ns=plan.expires_ns,
    )
    return Order.objects.create(
        run=run,
        trade=trade,
        purpose="e",
        client_order_id=domain.client_order_id(run.account_number, day_of(run), slot, try_no, "e"),
        symbol=plan.symbol,
        side="buy",
        type="market" if plan.entry_style == "market" else "limit",
        quantity=plan.quantity,
        limit=None if plan.entry_style == "market" else plan.limit,
        take_profit=plan.take_profit,
        stop_loss=plan.stop_loss,
        time_in_force=plan.time_in_force,
        status=Status.INTENT,
        fence_epoch=epoch,
        created_ns=now_ns,
    )


def _born_with(plan: EntryPlan, parameters: dict[str, Any]) -> dict[str, Any]:
    kept = {name: parameters[name] for name in EXIT_PARAMETERS if name in parameters}
    frozen = {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in asdict(plan).items()
    }
    return {**kept, "plan": frozen}


def _free_slot(run: Run) -> tuple[int, int]:
    """Return the lowest slot of the day that is not used up, and the number of the next try.

    One that was given back is used up after all when its entry was filled late; so is one whose
    name another run used at the broker.
    """
    of_day = Trade.objects.filter(run=run, account_number=run.account_number, day=day_of(run))
    taken = Q(slot_key__isnull=False) | Q(filled_quantity__gt=0)
    used = set(of_day.filter(taken).values_list("slot", flat=True)) | external.slots_of_others(run)
    slot = next(n for n in range(1, len(used) + 2) if n not in used)
    return slot, of_day.filter(slot=slot).count() + 1


@transaction.atomic
def follow_entry(trade: Trade, now_ns: int) -> Trade:
    """Bring a trade in line with its entry order; frees the slot of one that never filled."""
    trade = Trade.objects.select_for_update().get(pk=trade.pk)
    entry = trade.orders.get(purpose="e")
    event = event_of_entry(trade, entry)
    if event is None:
        return trade
    moves.move_trade(trade, event)
    if trade.state in ENDED:
        trade.slot_key = None
        trade.open_key = None
        trade.closed_ns = now_ns
        trade.exit_reason = entry.status
    else:
        # Back after its end: the shares are ours, or will be, so the symbol is busy again.
        trade.open_key = trade.open_key or f"{trade.run_id}:{trade.symbol}:{trade.pk}"
        trade.closed_ns, trade.exit_reason = None, ""
    if event == V.FILL:
        trade.filled_ns = trade.filled_ns or entry.terminal_ns or now_ns
    trade.save()
    if event == V.REJECT:
        _mind_refusals(trade.run, now_ns)
    return trade


def _mind_refusals(run: Run, now_ns: int) -> None:
    """Pause when the venue refuses again and again: what we send is wrong, not unlucky."""
    refused = Order.objects.filter(
        run=run,
        purpose="e",
        status__in=REFUSALS,
        terminal_ns__gt=now_ns - REFUSALS_WITHIN_NS,
    )
    if refused.count() >= REFUSALS_MAX:
        runs.pause_entries(
            reason=f"{REFUSALS_MAX} entries were refused within 10 minutes", actor="hub"
        )


def never_was(trade: Trade, entry: Order) -> bool:
    """Is an entry over whose shares were all taken back by the venue?"""
    if entry.filled_quantity or entry.status not in moves.TERMINAL:
        return False
    return entry.status == Status.BUSTED or trade.state in HELD


def event_of_entry(trade: Trade, entry: Order) -> V | None:
    """Return what an entry's state says that its trade does not say yet."""
    state, status = T(trade.state), Status(entry.status)
    fresh = state in (T.RESERVED, T.SUBMITTED, T.UNKNOWN, T.PARTIAL)
    over = status in moves.TERMINAL
    if over and trade.held > 0 and (fresh or state in domain.TRADE_ENDED):
        return V.FILL  # however they came, perhaps bought back too much: somebody looks after them
    if never_was(trade, entry):
        return None  # it closes when its orders are gone
    if over:
        if entry.filled_quantity:
            return V.FILL if fresh else None
        if state in domain.TRADE_ENDED:
            return None
        ours = (Status.CANCELED, Status.EXPIRED, Status.EXPIRED_LOCAL, Status.ABANDONED)
        return V.EXPIRE if status in ours else V.REJECT
    if entry.filled_quantity:
        late = state in domain.TRADE_ENDED and trade.held > 0
        return V.PARTIAL_FILL if state in (T.RESERVED, T.SUBMITTED, T.UNKNOWN) or late else None
    if status == Status.UNKNOWN:
        return V.LOSE if state != T.UNKNOWN else None
    if status in moves.LIVE and state in (T.RESERVED, T.UNKNOWN, T.ENTRY_EXPIRED):
        return V.SUBMIT
    return None


def ask_to_leave(run: Run, symbol: str, why: str) -> bool:
    """Ask the hub to close the protected position in a symbol; False when there is none."""
    rows = Trade.objects.filter(run=run, symbol=symbol, state=T.OPEN_PROTECTED, leave_why="")
    return bool(rows.update(leave_why=why))


@again_on_deadlock
def change(trade: Trade, event: V, **fields: Any) -> Trade:
    """Apply an event and set columns in one transaction; returns the fresh row."""
    with transaction.atomic():
        trade = Trade.objects.select_for_update().get(pk=trade.pk)
        moves.move_trade(trade, event)
        for name, value in fields.items():
            setattr(trade, name, value)
        trade.save()
    return trade


def note_protected(trade: Trade, now_ns: int, *, naked_ns: int) -> Trade:
    """Live orders at the venue cover exactly the shares held: the naked time ends.

    A position that slept sleeps on until a person has decided.
    """
    slept = trade.opened_ns is not None and day_of_time(trade.opened_ns) < day_of_time(now_ns)
    return change(
        trade,
        V.HOLD if slept and not trade.reviews.exists() else V.PROTECT,
        protected_ns=trade.protected_ns or now_ns,
        naked_ns=trade.naked_ns + naked_ns,
        naked_since_ns=None,
        version=trade.version + 1,
        protect_tries=0,
        exit_due_ns=None if trade.exit_why == "unprotected" else trade.exit_due_ns,
    )


def note_unprotected(trade: Trade, now_ns: int) -> Trade:
    """Protection is gone or no longer covers everything."""
    return change(trade, V.UNPROTECT, naked_since_ns=trade.naked_since_ns or now_ns)


def close(trade: Trade, *, reason: str, now_ns: int, naked_ns: int = 0) -> Trade:
    """The venue says flat: book the result of the slot and free the symbol."""
    return change(
        trade,
        V.FLAT,
        open_key=None,
        closed_ns=now_ns,
        exit_reason=reason,
        exit_due_ns=None,
        exit_step="",
        realized_pnl=trade.exit_value - trade.entry_value,
        naked_ns=trade.naked_ns + naked_ns,
        naked_since_ns=None,
        version=trade.version + 1,
    )
