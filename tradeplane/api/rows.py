"""Reads of the interface: every list is a page of at most 500 rows, newest first, by keyset.

A page costs the same whatever lies before it: no offset, no count.
"""

from typing import Any, TypeVar

from django.conf import settings
from django.db.models import F, Model, QuerySet
from django.http import Http404, HttpRequest
from ninja import Schema
from ninja.errors import HttpError
from redis.exceptions import RedisError

from accounts import selectors as books
from accounts.models import Account, Posting
from execution import selectors
from execution.models import Decision, KillSwitch, Order, Round, Run, Trade
from execution.selectors import StandingSwitch
from signals import selectors as parameter_selectors
from tradeplane.api.schemas import (
    LIMIT_MAX,
    DecisionsAsked,
    LedgerAsked,
    OfRun,
    OrdersAsked,
    PageAsked,
    TradesAsked,
)
from tradeplane.runtime.redis import short_client

Row = TypeVar("Row", bound=Model)
SHARDS_MAX = 26
BEAT_FIELDS = ("state", "letters", "symbols", "lag_ms", "k", "params_version", "at")
CENT6 = 6


def page(request: HttpRequest, rows: "QuerySet[Any]", asked: PageAsked) -> dict[str, Any]:
    """Return one page of rows as `items`, and the `before` of the next one, if there is one.

    Raises:
        HttpError: 422, a filter that this list does not have.
    """
    only_known(request, asked)
    if asked.before is not None:
        rows = rows.filter(pk__lt=asked.before)
    found = list(rows.order_by("-pk")[: asked.limit + 1])
    items = found[: asked.limit]
    return {"items": items, "next": items[-1].pk if len(found) > asked.limit else None}


def only_known(request: HttpRequest, asked: Schema) -> None:
    """Refuse what would be ignored.

    Raises:
        HttpError: 422, a filter that this route does not have.
    """
    known = type(asked).model_fields
    if strange := sorted(set(request.GET) - set(known)):
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise HttpError(422, f"no filter {strange[0][:40]!r} here ({there})")


def run_of(run_id: str | None) -> Run | None:
    """Return the run asked for, or the newest one if there is any.

    Raises:
        Http404: no such run.
    """
    if run_id is None:
        return selectors.current_run()
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise Http404("there is no such run")
    return run


def decisions(asked: DecisionsAsked) -> "QuerySet[Decision]":
    rows = _of_run(Decision.objects.defer("record"), asked)
    if asked.k is not None:
        rows = rows.filter(k=asked.k)
    return rows if asked.outcome is None else rows.filter(outcome=asked.outcome)


def trades(asked: TradesAsked) -> "QuerySet[Trade]":
    rows = _of_run(Trade.objects.all(), asked)
    if asked.state is not None:
        rows = rows.filter(state=asked.state)
    return rows if asked.day is None else rows.filter(day=asked.day)


def orders(asked: OrdersAsked) -> "QuerySet[Order]":
    rows = _of_run(Order.objects.all(), asked)
    if asked.status is not None:
        rows = rows.filter(status=asked.status)
    return rows if asked.trade is None else rows.filter(trade_id=asked.trade)


def candidates(run: Run | None) -> dict[str, Any]:
    """Return the candidates of the newest bucket that had any, strongest first."""
    newest = None if run is None else Decision.objects.filter(run=run).order_by("-k").first()
    if newest is None:
        return {"k": None, "items": []}
    found = Decision.objects.filter(run=run, k=newest.k).order_by("shadow", "rank", "symbol")
    return {"k": newest.k, "items": [_candidate(row) for row in found[:LIMIT_MAX]]}


def account_of(account_id: int | None) -> Account | None:
    """Return the account asked for, or the one of the newest run if there is any.

    Raises:
        Http404: no such account.
    """
    if account_id is None:
        run = selectors.current_run()
        found = Account.objects.filter(run_id=run.pk) if run is not None else None
        return None if found is None else found.order_by("-pk").first()
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        raise Http404("there is no such account")
    return account


def account_detail(account: Account) -> dict[str, Any]:
    return {
        **{name: getattr(account, name) for name in ("id", "number", "run_id", "mode")},
        "opened_on": account.opened_on,
        "closed_through": account.closed_through,
        "cash": books.cash(account),
        "realized": books.realized_pnl(account),
        "fees": books.fees(account),
        "positions": len(books.positions(account)),
    }


def positions(account: Account | None) -> dict[str, Any]:
    """Return the open positions by the books."""
    if account is None:
        return {"account": None, "items": []}
    held = list(books.positions(account).values())[:LIMIT_MAX]
    return {
        "account": account.pk,
        "items": [
            {
                "symbol": one.symbol,
                "quantity": one.quantity,
                "cost": one.cost,
                "average_price": round(one.average_price, CENT6),
            }
            for one in held
        ],
    }


def postings(asked: LedgerAsked) -> "QuerySet[Posting]":
    """Return the legs of the journal's entries, each with its entry's facts."""
    account = account_of(asked.account)
    rows = Posting.objects.none() if account is None else Posting.objects.filter(account=account)
    wanted = {
        "symbol": asked.symbol,
        "ledger": asked.ledger,
        "session_date": asked.day,
        "entry__kind": asked.kind,
    }
    rows = rows.filter(**{name: value for name, value in wanted.items() if value is not None})
    facts = ("source_key", "kind", "occurred_ns", "order_ref", "reason", "reverses_id")
    return rows.annotate(**{name: F(f"entry__{name}") for name in facts})


def switch() -> dict[str, Any]:
    """Return the kill switch as it counts and who turned it there."""
    return switch_row(selectors.kill_switch())


def switch_row(row: KillSwitch | StandingSwitch) -> dict[str, Any]:
    return {"level": row.level, "reason": row.reason, "actor": row.actor, "at": row.at}


def status() -> dict[str, Any]:
    """Return what is going on, in one object."""
    run = selectors.current_run()
    version, _ = parameter_selectors.active_parameters()
    return {
        "kill_switch": selectors.kill_level(),
        "parameters_version": version,
        "shards": shards(run),
        **_run_facts(run),
    }


def shards(run: Run | None) -> dict[str, dict[str, str]] | None:
    """Return the shards' heart-beats by number; None when Redis does not answer."""
    numbers = set(run.assignments) if run is not None else set()
    numbers |= {str(number) for number in range(1, settings.TRADEPLANE_SHARDS + 1)}
    ordered = sorted(numbers, key=lambda text: (len(text), text))[:SHARDS_MAX]
    client = short_client(settings.REDIS_STATE_URL)
    try:
        pipe = client.pipeline(transaction=False)
        for number in ordered:
            pipe.hmget(f"hb:shard:{number}", BEAT_FIELDS)
        answers = pipe.execute()
    except RedisError:
        return None
    finally:
        client.close()
    beats = {number: _beat(row) for number, row in zip(ordered, answers, strict=True)}
    return {number: beat for number, beat in beats.items() if beat}


def _beat(values: list[bytes | None]) -> dict[str, str]:
    named = zip(BEAT_FIELDS, values, strict=True)
    return {name: value.decode(errors="replace") for name, value in named if value}


def _run_facts(run: Run | None) -> dict[str, Any]:
    if run is None:
        nothing = ("run", "mode", "account_number", "day", "run_parameters_version", "round")
        empty = {"state": "off", "market_ns": 0, "blocked_by": [], "startup": [], "today": None}
        return {**dict.fromkeys(nothing), **empty}
    return {
        "run": run.pk,
        "state": run.state,
        "mode": run.mode,
        "account_number": run.account_number,
        "day": run.day,
        "market_ns": run.market_ns,
        "run_parameters_version": run.parameters_version,
        "blocked_by": sorted(map(str, run.latches)),
        "round": Round.objects.filter(run=run).order_by("-k").first(),
        "startup": selectors.startup_steps(run),
        "today": selectors.trading_day(run),
    }


def _of_run(rows: "QuerySet[Row]", asked: OfRun) -> "QuerySet[Row]":
    run = run_of(asked.run)
    if run is None:
        return rows.none()
    rows = rows.filter(run=run)
    return rows if asked.symbol is None else rows.filter(symbol=asked.symbol)


def _candidate(row: Decision) -> dict[str, Any]:
    record: dict[str, Any] = row.record
    closed = [gate for gate in record.get("gates") or [] if not gate.get("open", gate.get("pass"))]
    return {
        **{name: getattr(row, name) for name in ("symbol", "candidate_id", "k", "outcome")},
        **{name: getattr(row, name) for name in ("shadow", "streak", "rank", "score")},
        "reason": row.primary_reason,
        "held_back_by": [
            {"id": str(gate.get("id", "")), "text": str(gate.get("text", ""))} for gate in closed
        ],
        "features": {
            name: value if isinstance(value, int | float) else None
            for name, value in (record.get("features") or {}).items()
        },
    }
