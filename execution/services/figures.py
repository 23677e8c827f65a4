"""Measurements that people look at, newest first; old ones are dropped."""

import time
from typing import Any

from accounts import check as books_check
from accounts.models import Account
from execution.models import Figure, Run

KEPT = 500
SHOWN_MAX = 20


def record(name: str, *, ok: bool, body: dict[str, Any]) -> Figure:
    """Keep a measurement."""
    row = Figure.objects.create(name=name, ok=ok, body=body)
    Figure.objects.filter(name=name, pk__lt=row.pk - KEPT).delete()
    return row


def check_books(run: Run) -> Figure:
    """Run every invariant of `check_books` over a run's accounts and keep what it said."""
    started = time.perf_counter()
    accounts = list(Account.objects.filter(run_id=run.pk))
    found = _violations(accounts)
    if found:  # a fill that was booked between two of its reads looks like one: not a second time
        again = set(_violations(accounts))
        found = [one for one in found if one in again]
    body = {
        "accounts": len(accounts),
        "checks": books_check.names(),
        "violations": len(found),
        "first": found[:SHOWN_MAX],
        "ms": round(1000 * (time.perf_counter() - started), 1),
    }
    return record("books", ok=not found, body=body)


def _violations(accounts: list[Account]) -> list[str]:
    return [
        f"{name}: {text}"
        for account in accounts
        for name, texts in books_check.check_all(account).items()
        for text in texts
    ]
