"""Reads of this app: what the hub freezes for a round, what the pages show, what a run was."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Count

from execution.domain.orders import TRADE_ENDED, OrderStatus, TradeState
from execution.models import (
    Activity,
    Decision,
    KillSwitch,
    Order,
    Round,
    RoundState,
    Run,
    StartupStep,
    Trade,
)
from signals.messages import Quote, SessionState

UNRESOLVED = (str(OrderStatus.UNKNOWN), str(OrderStatus.SENDING))
ENDED = tuple(str(state) for state in TRADE_ENDED)


@dataclass(frozen=True, kw_only=True)
class TradingDayFacts:
    """The account's day so far, from its slots."""

    trades: int = 0
    take_profits: int = 0
    consecutive_losses: int = 0
    last_exit_ns: int | None = None
    realized: Decimal = Decimal(0)
    trades_of: dict[str, int] = field(default_factory=dict)
    last_exit_of: dict[str, int] = field(default_factory=dict)


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
        last_exit_ns=closed[-1].closed_ns if closed else None,
        realized=sum((t.realized_pnl for t in closed), Decimal(0)),
        trades_of=trades_of,
        last_exit_of={t.symbol: t.closed_ns or 0 for t in closed},
    )


def has_unresolved_order(run: Run) -> bool:
    """Is there an order whose fate is unknown, or one that people must look at?"""
    orders = Order.objects.filter(run=run)
    return orders.filter(status__in=UNRESOLVED).exists() or orders.filter(quarantined=True).exists()


def kill_level() -> str:
    """Return the kill switch as it stands: none, pause, cancel_entries, flatten or freeze."""
    newest = KillSwitch.objects.first()
    return newest.level if newest is not None else "none"


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
    return rows.defer("inputs", "candidate_rows", "decision_rows").first()


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


def decisions_about(run: Run, symbol: str, limit: int = 24) -> list[Decision]:
    """Return the newest decisions about one symbol, newest first."""
    return list(Decision.objects.filter(run=run, symbol=symbol).order_by("-k")[:limit])


def closed_trades(run: Run, limit: int = 50) -> list[Trade]:
    return list(
        Trade.objects.filter(run=run, state=TradeState.CLOSED).order_by("-closed_ns")[:limit]
    )


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


def trade_rows(run: Run) -> list[dict[str, Any]]:
    """Return every slot that held shares, as the summary lists it; prices as text."""
    rows = Trade.objects.filter(run=run, filled_quantity__gt=0).order_by("opened_ns", "pk")
    return [
        {
            "symbol": t.symbol,
            "slot": t.slot,
            "k": t.k,
            "state": t.state,
            "quantity": t.filled_quantity,
            "entry": _average(t.entry_value, t.filled_quantity),
            "exit_price": _average(t.exit_value, t.exit_quantity),
            "opened_ns": t.opened_ns,
            "closed_ns": t.closed_ns,
            "exit": t.exit_reason,
            "take_profit": str(t.take_profit),
            "stop_loss": str(t.stop_loss),
            "pnl": str(t.realized_pnl),
            "naked_ms": t.naked_ns // 1_000_000,
        }
        for t in rows
    ]


def _average(value: Decimal, quantity: int) -> str | None:
    return None if not quantity else f"{value / quantity:.6f}"
