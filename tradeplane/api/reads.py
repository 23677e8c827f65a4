"""Routes that only read: status, decisions, trades and orders, the books."""

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Path, Query, Router
from ninja.errors import HttpError

from accounts.models import Account
from execution import selectors
from execution.models import Decision
from execution.services.preview import what_if
from signals.parameters.catalogue import defaults, validate
from signals.services import count_trial
from tradeplane.api import rows
from tradeplane.api import schemas as s
from tradeplane.api.auth import caller_of
from tradeplane.api.errors import NOT_FOUND, REFUSALS
from tradeplane.api.throttle import Throttle
from tradeplane.pages import whynot
from tradeplane.pages.kept import bars_of

router = Router()
Answer = dict[str, Any]


@router.get("/status", response={200: s.StatusOut, **REFUSALS}, tags=["status"])
def status(request: HttpRequest) -> Answer:
    """What is going on: run, start-up, last round, kill switch, the day so far, shards."""
    return rows.status()


@router.get("/candidates", response={200: s.CandidatesOut, **REFUSALS}, tags=["decisions"])
def candidates(request: HttpRequest) -> Answer:
    """The candidates of the newest bucket that had any, and the gates that hold each back."""
    rows.only_known(request, s.NothingAsked())
    return rows.candidates(rows.run_of(None))


@router.get("/decisions", response={200: s.Decisions, **REFUSALS, **NOT_FOUND}, tags=["decisions"])
def decisions(request: HttpRequest, asked: Query[s.DecisionsAsked]) -> Answer:
    """Why candidates did or did not become an order, newest first."""
    return rows.page(request, rows.decisions(asked), asked)


@router.get(
    "/decisions/{decision_id}",
    response={200: s.DecisionDetail, **REFUSALS, **NOT_FOUND},
    tags=["decisions"],
)
def decision(request: HttpRequest, decision_id: Path[s.Id]) -> Decision:
    """One decision with every gate, figure and plan."""
    found = Decision.objects.filter(pk=decision_id).first()
    if found is None:
        raise Http404("there is no such decision")
    return found


@router.post(
    "/decisions/{decision_id}/what-if",
    response={200: s.WhatIfOut, **REFUSALS, **NOT_FOUND},
    tags=["decisions"],
    throttle=Throttle("write"),
)
def decision_what_if(request: HttpRequest, decision_id: Path[s.Id], body: s.WhatIfIn) -> Answer:
    """What other parameters would have made of one decision; changes nothing."""
    found = Decision.objects.select_related("run").filter(pk=decision_id).first()
    if found is None:
        raise Http404("there is no such decision")
    version = str(found.record.get("params_version"))
    old = {**defaults(), **found.run.parameters.get(version, {})}
    new = validate({**old, **body.changes})
    answer = what_if(found, new, old=old, bars_of=bars_of)
    return {
        "badge": answer.honesty.badge, "note": answer.honesty.note,
        "classes": answer.honesty.classes, "outcome": answer.outcome, "reason": answer.reason,
        "trials": 0 if answer.outcome is None else _trial(request, new),
    }  # fmt: skip


def _trial(request: HttpRequest, new: dict[str, object]) -> int:
    return count_trial(new, kind="what_if", actor=caller_of(request).name)


@router.get("/funnel", response={200: s.FunnelOut, **REFUSALS, **NOT_FOUND}, tags=["decisions"])
def funnel(request: HttpRequest, asked: Query[s.FunnelAsked]) -> Answer:
    """What blocks most: how the candidates narrowed down in one round, or over the day."""
    rows.only_known(request, asked)
    run = rows.run_of(asked.run)
    if run is None:
        raise Http404("there is no run yet")
    found = selectors.funnel(run, asked.k)
    return {"k": asked.k, "closed": found.pop("closed"), "stages": found}


@router.get("/why-not", response={200: s.WhyNotOut, **REFUSALS, **NOT_FOUND}, tags=["decisions"])
def why_not(request: HttpRequest, asked: Query[s.WhyNotAsked]) -> Answer:
    """Why any symbol did not fire in any five seconds, also one that was no candidate."""
    rows.only_known(request, asked)
    run = rows.run_of(asked.run)
    if run is None:
        raise Http404("there is no run yet")
    k = asked.k if asked.k is not None else whynot.bucket_at(run, asked.at or "")
    if k is None:
        raise HttpError(422, "say which bucket: k, or at as HH:MM:SS, New York")
    answer = whynot.why_not(run, asked.symbol, k)
    return {
        "symbol": answer.symbol, "k": k, "state": answer.state, "said": answer.said,
        "decision_id": answer.decision_id, "changes": answer.changes(), "badge": answer.badge,
        "note": answer.note,
        "tests": [{**test._asdict(), "margin": test.margin} for test in answer.tests],
    }  # fmt: skip


@router.get("/trades", response={200: s.Trades, **REFUSALS, **NOT_FOUND}, tags=["trades"])
def trades(request: HttpRequest, asked: Query[s.TradesAsked]) -> Answer:
    """Slots and what became of them, newest first."""
    return rows.page(request, rows.trades(asked), asked)


@router.get("/orders", response={200: s.Orders, **REFUSALS, **NOT_FOUND}, tags=["trades"])
def orders(request: HttpRequest, asked: Query[s.OrdersAsked]) -> Answer:
    """Orders and the legs of brackets, newest first."""
    return rows.page(request, rows.orders(asked), asked)


@router.get("/positions", response={200: s.Positions, **REFUSALS, **NOT_FOUND}, tags=["books"])
def positions(request: HttpRequest, asked: Query[s.PositionsAsked]) -> Answer:
    """Open positions by the books."""
    rows.only_known(request, asked)
    return rows.positions(rows.account_of(asked.account))


@router.get("/accounts", response={200: s.Accounts, **REFUSALS}, tags=["books"])
def accounts(request: HttpRequest, asked: Query[s.PageAsked]) -> Answer:
    """Accounts, newest first; every run on a tape has its own."""
    return rows.page(request, Account.objects.all(), asked)


@router.get(
    "/accounts/{account_id}",
    response={200: s.AccountDetail, **REFUSALS, **NOT_FOUND},
    tags=["books"],
)
def account(request: HttpRequest, account_id: Path[s.Id]) -> Answer:
    """One account with its balances."""
    found = rows.account_of(account_id)
    if found is None:
        raise Http404("there is no such account")
    return rows.account_detail(found)


@router.get("/ledger", response={200: s.Ledger, **REFUSALS, **NOT_FOUND}, tags=["books"])
def ledger(request: HttpRequest, asked: Query[s.LedgerAsked]) -> Answer:
    """Postings of the double-entry journal, newest first; those of an entry sum to zero."""
    return rows.page(request, rows.postings(asked), asked)
