"""Sends one entry: a last look at the newest facts, then the journal's attempt and the socket."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any

import msgspec
from django.db.models import QuerySet

from execution import selectors
from execution.brokers.port import AccountSnapshot, Broker, BrokerError
from execution.domain import limits
from execution.domain.limits import Denial, LimitContext, recheck
from execution.domain.orders import OrderStatus, TradeState
from execution.domain.rounds import EntryPlan, RoundInput
from execution.models import Order, OrderAttempt, Round, Run, Trade
from execution.services import journal, trades
from execution.services.rounds import inputs_of
from signals.messages import Quote
from signals.parameters.catalogue import InvalidParameters, validate

MS = 1_000_000
MINUTE_NS = 60_000_000_000
USUAL_OF_MIN = 5


@dataclass(frozen=True, kw_only=True)
class SendFacts:
    """What only the running hub knows at the moment of sending."""

    now_ns: int
    epoch: int
    lease_left_ms: float | None
    reconciled_ns: int | None
    api_calls_left: int | None
    account_mode: str
    quote_of: Callable[[str], Quote | None] = lambda symbol: None
    slack_ns: int = 0  # what our own work costs on a tape that runs fast
    #: Asked with the limits, and once more at the socket: why the hub locks entries by then.
    doubt: Callable[[], str] = lambda: ""
    #: Asked at the socket: how much later than a market time it is by then.
    late_ns: Callable[[int], int] = lambda since_ns: 0


def submit_entry(*, order_id: int, broker: Broker, facts: SendFacts) -> Order:
    """Send an entry that is still an intent; anything else is a no-op.

    Raises:
        Order.DoesNotExist: no such order.
        LeaseLost: another hub may write now; nothing was sent.
    """
    order = Order.objects.select_related("trade", "run").get(pk=order_id)
    if order.status != OrderStatus.INTENT or order.purpose != "e":
        return order
    row = Round.objects.get(run_id=order.run_id, k=order.trade.k)
    plan = plan_of(order.trade)
    parameters = order.run.parameters.get(str(row.params_version), {})
    denial = _denial(order, plan, inputs_of(row), parameters, broker, facts)
    if denial is not None:
        journal.deny(
            order,
            status=journal.denied_as(denial),
            reason=f"{denial.code}: {denial.text}",
            now_ns=facts.now_ns,
            denial=denial,
        )
        trades.follow_entry(order.trade, facts.now_ns)
        order.refresh_from_db()
        return order
    Order.objects.filter(pk=order.pk).update(
        expires_ns=facts.now_ns + int(parameters["entry_ttl_ms"]) * MS
    )
    before_ns = order.trade.send_before_ns
    order = journal.submit(
        order,
        broker,
        epoch=facts.epoch,
        now_ns=facts.now_ns,
        last_look=lambda: _last_look(order, before_ns, facts),
    )
    trades.follow_entry(order.trade, facts.now_ns)
    return order


def plan_of(trade: Trade) -> EntryPlan:
    """Return the plan a trade was reserved for."""
    return msgspec.convert(trade.exit_parameters["plan"], EntryPlan)


def _denial(
    order: Order,
    plan: EntryPlan,
    inputs: RoundInput,
    parameters: dict[str, Any],
    broker: Broker,
    facts: SendFacts,
) -> Denial | None:
    candidate = next(c for c in inputs.candidates if c.candidate_id == plan.candidate_id)
    account, as_of_ns = _account(inputs, broker, facts)
    day = selectors.trading_day(order.run)
    others = trades.active(order.run).exclude(pk=order.trade_id)
    same = day.trades_of.get(plan.symbol, 0) - 1
    newest = facts.quote_of(plan.symbol)
    quote = candidate.quote
    if newest is not None and (quote is None or newest.ts_ns > quote.ts_ns):
        quote = newest
    context = LimitContext(
        now_ns=max(inputs.bucket_end_ns, facts.now_ns - facts.slack_ns),
        mode=inputs.mode,
        account_mode=facts.account_mode,
        kill_switch=selectors.kill_level(),
        lease_left_ms=facts.lease_left_ms,
        parameters_valid=_are_valid(parameters, inputs.mode, order.run),
        open_ns=inputs.open_ns,
        close_ns=inputs.close_ns,
        reconciled_ns=facts.reconciled_ns,
        doubt=facts.doubt() or _doubt(order, others),
        data_flags=tuple(candidate.flags),
        tradable=plan.symbol in inputs.universe,
        halted=candidate.halted,
        quote=quote,
        last_price=None if candidate.last_price is None else Decimal(str(candidate.last_price)),
        last_trade_ns=candidate.last_ts_ns,
        luld_up=None if candidate.luld_up is None else Decimal(str(candidate.luld_up)),
        account=account,
        account_as_of_ns=as_of_ns,
        reserved_usd=_reserved_by(others),
        day_pnl=None if account is None else account.equity - account.last_equity,
        consecutive_losses=day.consecutive_losses,
        open_positions=others.count(),
        entries_today=max(day.trades, order.trade.slot) - 1,  # slots of other runs count
        symbol_entries_today=same,
        last_same_entry_ns=_last_entry_ns(order),
        entries_last_minute=_sent_since(order, facts.now_ns - MINUTE_NS, entries_only=True),
        requests_last_minute=_sent_since(order, facts.now_ns - MINUTE_NS, entries_only=False),
        api_calls_left=facts.api_calls_left,
        unsettled_usd=day.proceeds,
        usual_value=_usual_value(order),
    )
    denial, by_now = recheck(plan, context, parameters), _counting_now(order.run)
    if denial is None and by_now is not parameters:
        denial = recheck(plan, context, by_now)  # a limit that was tightened since the decision
    return denial


def _last_look(order: Order, before_ns: int, facts: SendFacts) -> Denial | None:
    """Return what holds an entry back by now, after the account was asked and the attempt written.

    The age comes last: what is asked before takes its time, too.
    """
    others = trades.active(order.run).exclude(pk=order.trade_id)
    if why := facts.doubt() or _doubt(order, others):
        return limits.doubt(why)
    late_ns = facts.late_ns(before_ns)
    return limits.signal_age(late_ns) if late_ns > 0 else None


def _doubt(order: Order, others: QuerySet[Trade]) -> str:
    """Return what came into doubt since the decision; one round's entries are sent together."""
    if selectors.has_unresolved_order(order.run, but=order.pk):
        return "an order's fate is unknown, or people must look at it"
    naked = others.filter(state__in=(TradeState.UNPROTECTED, TradeState.PARTIAL))
    if naked.exclude(k=order.trade.k).exists():
        return "shares are without protection"
    return ""


def _counting_now(run: Run) -> dict[str, Any]:
    """Return the run's set of parameters that counts for the next round; {}: there is none."""
    found: dict[str, Any] = run.parameters.get(str(run.parameters_version), {})
    return found


def _are_valid(decided_by: dict[str, Any], mode: str, run: Run) -> bool:
    """May an entry leave by the set that decided it? There is one, whole and without contradiction.

    Another set may count by now: it must be valid, too, and of the same trading mode. Its limits
    are asked beside those of the decision.
    """
    for values in (decided_by, _counting_now(run)):
        try:
            complete = validate(values)
        except InvalidParameters:
            return False
        if not values or complete["alpaca_trading_mode"] != mode:
            return False
    return True


def _account(
    inputs: RoundInput, broker: Broker, facts: SendFacts
) -> tuple[AccountSnapshot | None, int]:
    """Return the account as of now; the round's own reading when no market time has passed."""
    if inputs.account is not None and inputs.account_as_of_ns == facts.now_ns:
        return inputs.account, inputs.account_as_of_ns
    try:
        return broker.account(), facts.now_ns
    except BrokerError:
        return None, 0


def _reserved_by(others: Any) -> Decimal:
    waiting = Order.objects.filter(
        trade__in=others, purpose="e", status__in=(OrderStatus.INTENT, OrderStatus.SENDING)
    ).select_related("trade")
    return sum((o.quantity * o.trade.limit for o in waiting), Decimal(0))


def _last_entry_ns(order: Order) -> int | None:
    sent = Order.objects.filter(
        run_id=order.run_id, symbol=order.symbol, purpose="e", sent_ns__isnull=False, denied_code=""
    ).exclude(pk=order.pk)
    return sent.order_by("-sent_ns").values_list("sent_ns", flat=True).first()


def _sent_since(order: Order, since_ns: int, *, entries_only: bool) -> int:
    sent = OrderAttempt.objects.filter(order__run_id=order.run_id, sent_ns__gt=since_ns)
    if entries_only:
        sent = sent.filter(order__purpose="e", kind="submit")
    return sent.count()


def _usual_value(order: Order) -> Decimal | None:
    values = [
        t.quantity * t.limit
        for t in Trade.objects.filter(run_id=order.run_id, slot_key__isnull=False)
        .exclude(pk=order.trade_id)
        .order_by("-pk")[:50]
    ]
    return median(values) if len(values) >= USUAL_OF_MIN else None
