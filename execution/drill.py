"""The drill of the kill switch: turned for real on a paper account, and measured.

How long until the hub has heard of it, and how long until the account is flat, on the very way that
`manage.py killswitch flatten` takes: the file, the database if it answers, the hub, and after some
seconds, or at once without a database, the broker itself. The figures are kept for the system page.
The bar: 250 ms and 10 s (reliability 7).
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import DatabaseError

from execution import kill_file, way_out
from execution.brokers.port import Broker
from execution.hub.config import LOOPBACK, PAPER_HOST
from execution.models import Activity
from execution.selectors import kill_level
from execution.services import figures, runs
from execution.short_waits import drop_broken, short_waits

BLOCKED_WITHIN_MS = 250
FLAT_WITHIN_S = 10.0
HUB_PATIENCE_S = 4.0
HEARD_WITHIN_S = 2.0
DATABASE_BACK_WITHIN_S = 60.0
LOOK_S = 0.005
AGAIN_S = 1.0
MS, SECOND = 1_000_000, 1_000_000_000


def run(broker: Broker, *, url: str, direct: bool, actor: str) -> dict[str, Any]:
    """Turn the switch to flatten, measure, reset it to none; the figures are kept and returned.

    Args: url: where the broker's account is; direct: past the hub, straight to the broker.
    Raises:
        ValueError: not a paper account, or the switch is turned already.
        DatabaseError: the database did not come back: the switch stays at flatten.
        SwitchMoved: somebody turned it meanwhile: it stays where they put it.
    """
    host = urlsplit(url).hostname or ""
    if host not in (*LOOPBACK, PAPER_HOST):
        raise ValueError(f"a drill is for paper accounts, not for {host}")
    with short_waits():
        _must_be_off()
        body = _measured(broker, direct=direct, actor=actor)
        _insist(lambda: _reset(actor))
        ok = _met(body)
        _insist(lambda: figures.record("drill", ok=ok, body=body))
    return {"ok": ok, **body}


def _must_be_off() -> None:
    level = kill_file.read()["level"]
    try:
        level = kill_level()
    except DatabaseError:
        pass  # what the drill is about, perhaps
    if level != "none":
        raise ValueError(f"the kill switch is at {level} already")


def _measured(broker: Broker, *, direct: bool, actor: str) -> dict[str, Any]:
    held = sum(1 for position in broker.positions() if position.quantity)
    newest = _newest_activity()
    started, started_ns = time.monotonic(), time.time_ns()
    at = datetime.now(UTC).isoformat()
    kill_file.write(level="flatten", reason="drill", actor=actor, at=at)
    told = _turn(actor)
    blocked_ms = None if direct else _heard(newest if told else None, started_ns)
    outcome = way_out.leave(
        broker,
        within_s=2 * FLAT_WITHIN_S,
        patience_s=HUB_PATIENCE_S if told and not direct else 0.0,
        sleep=lambda _: time.sleep(LOOK_S),
    )
    return {
        "blocked_ms": blocked_ms,
        "flat_s": round(time.monotonic() - started, 3) if outcome.flat else None,
        "held": held,
        "path": "broker" if outcome.asked else "hub",
        "direct": direct,
        "database": "answered" if told else "away",
    }


def _met(body: dict[str, Any]) -> bool:
    blocked_ms, flat_s = body["blocked_ms"], body["flat_s"]
    heard = body["direct"] or (blocked_ms is not None and blocked_ms <= BLOCKED_WITHIN_MS)
    return bool(heard and flat_s is not None and flat_s <= FLAT_WITHIN_S)


def _newest_activity() -> int | None:
    try:
        return Activity.objects.values_list("pk", flat=True).first() or 0
    except DatabaseError:
        return None


def _turn(actor: str) -> bool:
    """Tell the database; False when it does not answer (then the file counts)."""
    try:
        runs.set_kill_switch(level="flatten", reason="drill", actor=actor)
    except DatabaseError:
        drop_broken()
        return False
    return True


def _heard(after: int | None, started_ns: int) -> float | None:
    """Return after how many ms the hub knew; None when it does not say so.

    Args: after: the newest line of the log before; None: the database does not answer.
    """
    while time.time_ns() - started_ns < HEARD_WITHIN_S * SECOND:
        at_ns = kill_file.heard("flatten", since_ns=started_ns)
        if at_ns is None and after is not None and _said_so(after):
            at_ns = time.time_ns()  # a hub on another host: it does not see this file
        if at_ns is not None:
            return round((at_ns - started_ns) / MS, 1)
        time.sleep(LOOK_S)
    return None


def _said_so(after: int) -> bool:
    said = Activity.objects.filter(pk__gt=after, kind="kill", text__contains="flatten")
    return said.exists()


def _reset(actor: str) -> None:
    runs.reset_kill_switch(from_level="flatten", reason="the drill is over", actor=actor)


def _insist(write: Callable[[], object]) -> None:
    """Write when the database answers again.

    Raises:
        DatabaseError: it does not, for too long.
    """
    deadline = time.monotonic() + DATABASE_BACK_WITHIN_S
    while True:
        try:
            write()
        except DatabaseError:
            drop_broken()
            if time.monotonic() >= deadline:
                raise
            time.sleep(AGAIN_S)
        else:
            return
