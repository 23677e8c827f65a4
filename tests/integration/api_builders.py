"""Callers, rows and requests for the tests of the REST interface."""

import datetime
import json
from datetime import UTC
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client

from execution.models import Decision, Order, Run, Trade
from tradeplane.api import keys
from tradeplane.api.scopes import PERMISSIONS, SCOPES
from tradeplane.models import ApiKey

NOW = datetime.datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
OPEN_NS = 1_381_152_600_000_000_000  # 2013-10-07 09:30 New York
K = OPEN_NS // 5_000_000_000 + 12
DAY = datetime.date(2013, 10, 7)


def a_person(name: str = "ann", *, scopes: tuple[str, ...] = (), superuser: bool = False) -> User:
    """A user with the permissions behind these scopes."""
    person = get_user_model().objects.create_user(name, is_superuser=superuser)
    for scope in scopes:
        app, _, codename = PERMISSIONS[scope].partition(".")
        person.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return person


def a_key(
    *scopes: str, owner: User | None = None, name: str = "test", **changes: Any
) -> tuple[ApiKey, str]:
    """A key and its token; `changes` are columns set afterwards (expires_at, revoked_at)."""
    person = owner or a_person(f"owner-of-{name}", superuser=True)
    key, token = keys.make_key(
        owner=person, name=name, scopes=scopes or tuple(SCOPES), expires_at=None, now=NOW
    )
    if changes:
        ApiKey.objects.filter(pk=key.pk).update(**changes)
    return key, token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def get(client: Client, path: str, token: str) -> HttpResponse:
    return client.get(f"/api/{path}", headers=bearer(token))


def post(client: Client, path: str, token: str, body: Any, **headers: str) -> HttpResponse:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(
        f"/api/{path}",
        text,
        content_type="application/json",
        headers={**bearer(token), **{n.replace("_", "-"): v for n, v in headers.items()}},
    )


def a_run(run_id: str = "tape-1", **fields: Any) -> Run:
    values = {"state": "running", "market_ns": OPEN_NS, "account_number": "PA1", "day": DAY}
    return Run.objects.create(id=run_id, **values | fields)


def decisions(run: Run, count: int, **fields: Any) -> list[Decision]:
    gates = [{"id": "C4", "pass": False, "text": "Ask is above VWAP."}]
    values = {
        "symbol": "AIG",
        "outcome": "not_fired",
        "primary_reason": "C4: Ask is above VWAP.",
        "rank": 1,
        "score": 61.4,
        "record": {"features": {"x": 3.21, "z": None}, "gates": gates},
    }
    rows = [
        Decision(
            run=run, k=K + n, candidate_id=f"c-{fields.get('symbol', 'AIG')}-{n}", **values | fields
        )
        for n in range(count)
    ]
    return Decision.objects.bulk_create(rows)


def a_trade(run: Run, **fields: Any) -> Trade:
    values = {
        "account_number": "PA1",
        "day": DAY,
        "slot": 1,
        "symbol": "BAC",
        "state": "open",
        "k": K,
        "candidate_id": "c",
        "quantity": 100,
        "limit": 14,
        "take_profit": "14.07",
        "stop_loss": "13.93",
        "parameters_version": 1,
        "reserved_ns": OPEN_NS,
    }
    return Trade.objects.create(run=run, **values | fields)


def an_order(trade: Trade, **fields: Any) -> Order:
    values = {
        "purpose": "e",
        "client_order_id": "v1-0001-131007-s1-t1-e",
        "symbol": trade.symbol,
        "side": "buy",
        "type": "limit",
        "quantity": 100,
        "limit": "14.01",
        "status": "working",
        "fence_epoch": 1,
        "created_ns": OPEN_NS,
    }
    return Order.objects.create(run=trade.run, trade=trade, **values | fields)
