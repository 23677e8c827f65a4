"""Reads of this app: what the hub freezes for a round, what the pages show, what a run was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Count, F, Q, QuerySet

from execution import kill_file
from execution.domain.kill_levels import stronger
from execution.domain.orders import TRADE_ENDED, OrderStatus, TradeState
from execution.models import (
    Activity,
    Decision,
    ExternalOrder,
    Figure,
    KillSwitch,
    Order,
    Round,
    RoundState,
    Run,
    ShardChange,
    StartupStep,
    Trade,
)
from execution.sides import Side, sides_of
from shards.letters import pattern
from signals.messages import Quote, SessionState
from signals.session import BUCKET_NS

UNRESOLVED = (str(OrderStatus.UNKNOWN), str(OrderStatus.SENDING))
HOUR = 720  # buckets
ENDED = tuple(str(state) for state in TRADE_ENDED)
REPLACED = "replaced"  # `leave_why` of a position that makes room for a better candidate
PDT_WEEKDAYS, SATURDAY = 5, 5


@dataclass(frozen=True, kw_only=True)
class TradingDayFacts:
    """The account's day so far, from its slots."""

    trades: int = 0
    take_profits: int = 0
    consecutive_losses: int = 0
    last_exit_ns: int | None = None
    last_replacement_ns: int | None = None
    realized: Decimal = Decimal(0)
    proceeds: Decimal = Decimal(0)  # of what was sold, USD
    trades_of: dict[str, int] = field(default_factory=dict)
    last_exit_of: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StandingSwitch:
    """The kill switch as it counts, and who turned it there; `at` None: nobody knows when."""

    level: str = "none"
    reason: str = ""
    actor: str = ""
    at: datetime | None = None


def trading_day(run: Run) -> TradingDayFacts:
    """Return the facts of the run's trading day; a slot given back without a fill is no trade."""
    if run.day is None:  # the start-up has not got that far
        return TradingDayFacts()
    rows = list(Trade.objects.filter(run=run, day=run.day, slot_key__isnull=False).order_by("pk"))
    closed = sorted(
        (t for t in rows if t.state == TradeState.CLOSED), key=lambda t: (t.closed_ns or 0, t.pk)
    )
    losses = 0
    for trade in reversed(closed):
        if trade.realized_pnl >= 0:
            break
        losses += 1
    trades_of: dict[str, int] = {}
    for trade in rows:
        trades_of[trade.symbol] = trades_of.get(trade.symbol, 0) + 1
    return TradingDayFacts(
        trades=len(rows),
        take_profits=sum(t.exit_reason == "target" for t in closed),
        consecutive_losses=losses,
        last_exit_ns=max((t.closed_ns or 0 for t in closed if not _replaced(t)), default=None),
        last_replacement_ns=max((_left_ns(t) for t in rows if _replaced(t)), default=None),
        proceeds=sum((t.exit_value for t in rows), Decimal(0)),
        realized=sum((t.realized_pnl for t in closed), Decimal(0)),
        trades_of=trades_of,
        last_exit_of={**_refused_at(run), **{t.symbol: t.closed_ns or 0 for t in closed}},
    )


def _refused_at(run: Run) -> dict[str, int]:
    """Return when the venue last refused an entry, by symbol: that rests like an exit."""
    refused = Trade.objects.filter(run=run, exit_reason__in=("refused", "rejected"))
    rows = refused.order_by("closed_ns").values_list("symbol", "closed_ns")
    return {symbol: closed_ns or 0 for symbol, closed_ns in rows}


def _replaced(trade: Trade) -> bool:
    """Was it asked to make room? Its end starts no cool-down: the better one waits for it."""
    return trade.leave_why == REPLACED


def _left_ns(trade: Trade) -> int:
    return trade.closed_ns or trade.exit_due_ns or trade.opened_ns or trade.reserved_ns


def day_trades(account_number: str, day: date) -> int:
    """Return the account's round trips of this session and the five weekdays before it.

    One day more than the rule asks, so that a holiday in between hides none.
    """
    first, back = day, 0
    while back < PDT_WEEKDAYS:
        first -= timedelta(days=1)
        back += first.weekday() < SATURDAY
    closed = Trade.objects.filter(account_number=account_number, day__range=(first, day))
    return closed.filter(state=TradeState.CLOSED).count()


def has_unresolved_order(run: Run, *, but: int = 0) -> bool:
    """Is there an order whose fate is unknown, or one that people must look at?

    Such a one is also an order of somebody else that nobody has acknowledged; `but` does not count.
    """
    orders = Order.objects.filter(run=run).exclude(pk=but)
    return (
        orders.filter(status__in=UNRESOLVED).exists()
        or orders.filter(quarantined=True).exists()
        or ExternalOrder.objects.locking(run.pk).exists()
    )


def overfilled(run: Run) -> QuerySet[Order]:
    """Return the orders with more executions than shares asked for, but those people released."""
    over = Order.objects.filter(run=run, filled_quantity__gt=F("quantity"))
    return over.exclude(quarantined=False, releases__isnull=False)


def kill_level() -> str:
    """Return the level that counts."""
    return kill_switch().level


def kill_switch() -> StandingSwitch:
    """Return the kill switch as it stands: the stronger of the database's and this host's file."""
    newest, file = KillSwitch.objects.first(), kill_file.read()
    row = StandingSwitch() if newest is None else StandingSwitch(
        level=newest.level, reason=newest.reason, actor=newest.actor, at=newest.at
    )  # fmt: skip
    if stronger(row.level, file["level"]) == row.level:
        return row
    return StandingSwitch(
        level=file["level"],
        reason=str(file.get("reason", "")),
        actor=str(file.get("actor") or kill_file.NAME),
        at=kill_file.moment(file),
    )


def broken_limit(order: Order) -> dict[str, str]:
    """Return which limit of ours an order broke, and by what figures; empty when none."""
    if not order.denied_code:
        return {}
    figures = {"measured": order.denied_value, "allowed": order.denied_limit}
    return {"denied": order.denied_code} | {
        name: f"{value.normalize():f}" for name, value in figures.items() if value is not None
    }


def newest_figure(name: str) -> Figure | None:
    """Return the newest measurement of a name: drill, books."""
    return Figure.objects.filter(name=name).first()


def held_overnight() -> list[str]:
    """Return the symbols of positions that slept and whose decision is owed."""
    held = Trade.objects.filter(state=TradeState.HELD_OVERNIGHT, reviews=None)
    return list(held.order_by("symbol").values_list("symbol", flat=True))


def drained_shards() -> set[int]:
    """Return the shards that people have taken out."""
    rows = ShardChange.objects.filter(action__in=("enroll", "drain")).order_by("pk")
    newest = dict(rows.values_list("shard", "action"))
    return {shard for shard, action in newest.items() if action == "drain" and shard is not None}


def shard_plan() -> tuple[int, str]:
    """Return the id and the text of the plan that letters follow; (0, letters) is the default."""
    newest = ShardChange.objects.filter(action="plan").first()
    return (0, "letters") if newest is None else (newest.pk, newest.plan)


def shard_table() -> dict[str, Any]:
    """Return the plan, every shard with letters or drained, and the letters nobody reports."""
    run, drained = current_run(), drained_shards()
    assigned = {} if run is None else {int(n): ranges for n, ranges in run.assignments.items()}
    return {
        "plan": shard_plan()[1],
        "shards": [
            {"shard": n, "letters": _words(assigned.get(n, ())), "drained": n in drained}
            for n in sorted({*assigned, *drained})
        ],
        "dark": [
            {"shard": row["shard"], "letters": _words(row["ranges"]), "why": row["why"],
             "since_ns": row["since_ns"]}
            for row in (run.dark if run is not None else ())
        ],
    }  # fmt: skip


def _words(ranges: Iterable[Sequence[str]]) -> str:
    return " ".join(pattern((low, high)) for low, high in ranges)


def measured_load(*, before: Run) -> dict[str, int]:
    """Return what an earlier run measured last, by cell; empty when none did."""
    earlier = Run.objects.exclude(pk=before.pk).exclude(load={}).order_by("-started_at").first()
    return {} if earlier is None else {cell: int(n) for cell, n in earlier.load.items()}


# --- the pages ---------------------------------------------------------------------------------


def current_run() -> Run | None:
    """Return the newest run."""
    return Run.objects.order_by("-started_at").first()


def startup_steps(run: Run) -> list[dict[str, Any]]:
    """Return the start-up sequence in order: name, state, reason, at."""
    rows = StartupStep.objects.filter(run=run)
    return [dict(row) for row in rows.values("position", "name", "state", "reason", "at")]


def latest_decisions(run: Run, limit: int = 50) -> list[Decision]:
    """Return the newest decision records with their gates, newest first."""
    return list(Decision.objects.filter(run=run).order_by("-k", "symbol")[:limit])


def latest_rounds(run: Run, limit: int = 20) -> list[dict[str, Any]]:
    names = ("k", "state", "n_candidates", "n_shadow", "n_symbols", "coverage", "closed_ns")
    rows = Round.objects.filter(run=run).order_by("-k")
    return [dict(row) for row in rows.values(*names)[:limit]]


def active_trades(run: Run) -> list[Trade]:
    """Return the trades whose slot is busy, with their orders at hand."""
    rows = Trade.objects.filter(run=run).exclude(state__in=ENDED)
    return list(rows.prefetch_related("orders").order_by("pk"))


class SeenCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a round's stored candidate that pages draw; see `signals.messages.Candidate`."""

    candidate_id: str
    symbol: str
    shadow: bool
    x: float
    accel: float
    b: int
    close: float
    window: dict[str, list[Any]]
    session: SessionState
    quote: Quote | None = None


class _SeenInputs(msgspec.Struct, frozen=True, kw_only=True):
    candidates: list[SeenCandidate] = []


_seen = msgspec.msgpack.Decoder(_SeenInputs)


def seen_candidates(row: Round) -> list[SeenCandidate]:
    """Return what round `row` saw, as it was stored; nothing when it stored no inputs."""
    if row.inputs is None:
        return []
    try:
        return _seen.decode(bytes(row.inputs)).candidates
    except (msgspec.ValidationError, msgspec.DecodeError):
        return []  # packed by another version


def newest_round(run: Run, *, with_candidates: bool = False) -> Round | None:
    """Return the newest round, decided or not; `with_candidates`: the newest decided with some."""
    rows = Round.objects.filter(run=run).order_by("-k")
    if with_candidates:
        rows = rows.filter(state=RoundState.DECIDED, n_candidates__gt=0)
    return rows.defer("inputs", "decision_rows").first()


def outcomes_of(run: Run, k: int) -> dict[tuple[str, str], int]:
    """Return how many candidates of round k came to each (outcome, primary reason)."""
    rows = Decision.objects.filter(run=run, k=k, shadow=False).order_by()
    counted = rows.values("outcome", "primary_reason").annotate(n=Count("pk"))
    return {(row["outcome"], row["primary_reason"]): row["n"] for row in counted}


def fired_symbols(run: Run, k: int) -> list[str]:
    """Return the stocks that round k sent an entry for."""
    rows = Decision.objects.filter(run=run, k=k, outcome="fired").order_by("rank")
    return list(rows.values_list("symbol", flat=True))


def decisions_of(run: Run, k: int, candidate_ids: Iterable[str]) -> dict[str, Decision]:
    """Return the decisions of some candidates of round k, by candidate id."""
    rows = Decision.objects.filter(run=run, k=k, candidate_id__in=list(candidate_ids))
    return {row.candidate_id: row for row in rows}


def withdrawals(run: Run, symbol: str, first_k: int, last_k: int) -> list[tuple[int, str]]:
    """Return when candidacies of a symbol ended in [first_k, last_k], and why; newest first.

    Bounded: an hour of rounds at most, the newest ones.
    """
    rows = Round.objects.filter(run=run, k__gte=max(first_k, last_k - HOUR), k__lte=last_k)
    return [
        (k, str(reason))
        for k, ended in rows.order_by("-k").values_list("k", "withdrawn")
        for name, _, reason in ended
        if name == symbol
    ]


def duplicates(run: Run, symbol: str, first_k: int, last_k: int) -> list[tuple[int, str]]:
    """Return which messages about a symbol were ignored in [first_k, last_k]; newest first.

    Bounded: an hour of rounds at most, the newest ones.
    """
    rows = Round.objects.filter(run=run, k__gte=max(first_k, last_k - HOUR), k__lte=last_k)
    return [
        (k, str(what))
        for k, ignored in rows.order_by("-k").values_list("k", "duplicates")
        for name, _, what in ignored
        if name == symbol
    ]


def decisions_about(run: Run, symbol: str, limit: int = 24) -> list[Decision]:
    """Return the newest decisions about one symbol, newest first."""
    return list(Decision.objects.filter(run=run, symbol=symbol).order_by("-k")[:limit])


def closed_trades(run: Run, limit: int = 50) -> list[Trade]:
    """Return the newest trades that were closed in the run's trading day, also after a night."""
    of_the_day = Q(day=run.day) | Q(closed_ns__gte=run.open_ns)
    rows = Trade.objects.filter(of_the_day, run=run, state=TradeState.CLOSED)
    return list(rows.prefetch_related("orders").order_by("-closed_ns")[:limit])


def rounds_of_the_day(run: Run) -> QuerySet[Round]:
    """Return the rounds of the run's trading day; a run that goes on for days has older ones."""
    return Round.objects.filter(run=run, k__gte=run.open_ns // BUCKET_NS)


def activity(run: Run, limit: int = 50) -> list[Activity]:
    """Return the newest lines of the hub's log, newest first."""
    return list(Activity.objects.filter(run=run)[:limit])


PROBLEMS = ("warning", "alarm", "error")


def log_kinds(run: Run) -> list[str]:
    """Return the kinds of lines that the run's log holds."""
    return sorted(set(Activity.objects.filter(run=run).order_by().values_list("kind", flat=True)))


def log(
    run: Run,
    *,
    levels: Iterable[str] = (),
    kind: str = "",
    text: str = "",
    unread: bool = False,
    before: int = 0,
    limit: int = 100,
) -> list[Activity]:
    """Return lines of the log, newest first.

    Args: levels, kind, text: keep these only, when given; unread: problems nobody acknowledged;
        before: continue below this line's id.
    """
    rows = Activity.objects.filter(run=run).select_related("seen")
    if levels:
        rows = rows.filter(level__in=list(levels))
    if kind:
        rows = rows.filter(kind=kind)
    if text:
        rows = rows.filter(text__icontains=text)
    if unread:
        rows = rows.filter(level__in=PROBLEMS, seen=None)
    if before:
        rows = rows.filter(pk__lt=before)
    return list(rows[:limit])


def log_counts(run: Run) -> dict[str, int]:
    """Return how many lines each level has, and under "unread" the unacknowledged problems."""
    rows = Activity.objects.filter(run=run).order_by().values("level").annotate(n=Count("pk"))
    found = {row["level"]: row["n"] for row in rows}
    unread = Activity.objects.filter(run=run, level__in=PROBLEMS, seen=None).count()
    return {**found, "unread": unread}


def shards(hashes: Iterable[tuple[str, dict[bytes, bytes]]]) -> list[dict[str, str]]:
    """Return the shards' heart-beats as text, from `heartbeats()` of the hub's Redis reader."""
    found = []
    for key, fields in hashes:
        row = {name.decode(): value.decode() for name, value in fields.items()}
        found.append({"shard": key.rpartition(":")[2], **row})
    return sorted(found, key=lambda row: (len(row["shard"]), row["shard"]))


# --- a run's end ---------------------------------------------------------------------------------


def run_state(run_id: str) -> str | None:
    """Return starting, running, ended or failed; None when there is no such run."""
    return Run.objects.filter(pk=run_id).values_list("state", flat=True).first()


def run_summary(run_id: str) -> dict[str, Any]:
    """Return the summary of an ended run.

    Raises:
        Run.DoesNotExist: no such run.
        LookupError: it has no summary yet.
    """
    summary = Run.objects.values_list("summary", flat=True).get(pk=run_id)
    if summary is None:
        raise LookupError(f"run {run_id} has no summary yet")
    return dict(summary)


def counts(run: Run) -> dict[str, int]:
    """Return the counted part of a run's summary."""
    rounds = Round.objects.filter(run=run)
    orders = Order.objects.filter(run=run)
    born = Decision.objects.filter(run=run, shadow=False).values("candidate_id").distinct()
    return {
        "candidates": born.count(),
        "rounds": rounds.count(),
        "decisions": Decision.objects.filter(run=run).count(),
        "orders": orders.filter(purpose__in=("e", "o", "x", "f")).exclude(sent_ns=None).count(),
        "fills": run.brokerevent_set.filter(key__startswith="fill:").count(),
    }


def funnel(run: Run, k: int | None = None) -> dict[str, Any]:
    """Return how many candidate-rounds were left after each stage, of a round or of the day.

    `closed` says how often each gate stood in the way, the most often first.
    """
    rows = rounds_of_the_day(run) if k is None else Round.objects.filter(run=run, k=k)
    found: dict[str, Any] = {}
    closed: dict[str, int] = {}
    for one in rows.filter(n_candidates__gt=0).values_list("funnel", flat=True):
        for name, value in one.items():
            if name == "closed":
                for gate, count in value.items():
                    closed[gate] = closed.get(gate, 0) + count
            else:
                found[name] = found.get(name, 0) + value
    return {**found, "closed": dict(sorted(closed.items(), key=lambda one: (-one[1], one[0])))}


def trade_rows(run: Run) -> list[dict[str, Any]]:
    """Return every slot that held shares, as the summary lists it; prices as text."""
    rows = Trade.objects.filter(run=run, filled_quantity__gt=0).order_by("opened_ns", "pk")
    held = [(trade, sides_of(trade)) for trade in rows.prefetch_related("orders")]
    return [
        {
            "symbol": t.symbol,
            "slot": t.slot,
            "k": t.k,
            "state": t.state,
            "quantity": sides.entry.quantity,
            "entry": _price(sides.entry),
            "exit_price": _price(sides.exit),
            "bought_back": sides.cover.quantity,
            "opened_ns": t.opened_ns,
            "closed_ns": t.closed_ns,
            "exit": t.exit_reason,
            "take_profit": str(t.take_profit),
            "stop_loss": str(t.stop_loss),
            "pnl": str(t.realized_pnl),
            "naked_ms": t.naked_ns // 1_000_000,
        }
        for t, sides in held
    ]


def _price(side: Side) -> str | None:
    return None if side.average is None else f"{side.average:.6f}"
