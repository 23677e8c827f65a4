"""Routes that only read: status, decisions, trades and orders, the books."""

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Path, Query, Router

from accounts.models import Account
from execution.models import Decision
from tradeplane.api import rows
from tradeplane.api import schemas as s
from tradeplane.api.errors import NOT_FOUND, REFUSALS

router = Router()
Answer = dict[str, Any]


@router.get("/status", response={200: s.StatusOut, **REFUSALS}, tags=["status"])
def status(request: HttpRequest) -> Answer:
    """What is going on: run, start-up, last round, kill switch, the day so far, shards."""
    return rows.status()


@router.get("/candidates", response={200: s.CandidatesOut, **REFUSALS}, tags=["decisions"])
def candidates(request: HttpRequest) -> Answer:
    """The candidates of the newest bucket that had any, and the gates that hold each back."""
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


@router.get("/trades", response={200: s.Trades, **REFUSALS, **NOT_FOUND}, tags=["trades"])
def trades(request: HttpRequest, asked: Query[s.TradesAsked]) -> Answer:
    """Slots and what became of them, newest first."""
    return rows.page(request, rows.trades(asked), asked)


@router.get("/orders", response={200: s.Orders, **REFUSALS, **NOT_FOUND}, tags=["trades"])
def orders(request: HttpRequest, asked: Query[s.OrdersAsked]) -> Answer:
    """Orders and the legs of brackets, newest first."""
    return rows.page(request, rows.orders(asked), asked)


@router.get("/positions", response={200: s.Positions, **REFUSALS, **NOT_FOUND}, tags=["books"])
def positions(request: HttpRequest, account: Query[s.Id | None] = None) -> Answer:
    """Open positions by the books; `account` is an id, by default that of the newest run."""
    return rows.positions(rows.account_of(account))


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
