"""The outside checker: what the venue knows to be true against what the database says.

It reads the venue's engine and the tables by SQL, and shares no code with the hub, its services or
the books. Every sentence it returns names the invariant that does not hold (DESIGN 7).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from typing import Any

from django.db import connection

from execution.venue.engine import VenueEngine
from execution.venue.orders import VenueOrder

SECOND = 1_000_000_000
MICRO = 1_000_000
NAKED_MAX_S = 12.0  # the hard close at 10 s, and the time it takes to arrive
FLAT_MAX_S = 10.0  # `flatten` is through by then
#: … but a sell without an answer counts as lost only after the resolver's 30 s: never a second one.
SELL_LOST_S = 30.0
NAKED_PER_FAULT_S = 5.0  # each fault may cost a retry; nothing retries later than that
#: … but a buy-back without an answer: the venue would refuse no second one, so it counts as lost
#: only after the resolver's 30 s. Both exits must have filled for there to be one.
BUY_BACK_LOST_S = 30.0
ORDERS_PER_SLOT_MAX = 90
REQUESTS_PER_MINUTE_MAX = 300  # the broker allows 200; the adapter's budget, not here, sees to it
BY_HAND = "by-hand"  # the name of somebody's own order
HEARD_S = 1.0  # so long after its news were told the hub has heard
ENTRY = re.compile(r"v1-\w{4}-\d{6}-s(\d+)-t(\d+)-e")


@dataclass
class Audit:
    """What the world saw happen; `down`: from when to when no hub was at work."""

    broken: list[str] = field(default_factory=list)
    down: list[tuple[int, int]] = field(default_factory=list)
    faults_at: list[int] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)  # shares, although `flatten` stood
    told_ns: int | None = None  # when the hub was told of somebody's own order
    requests: Counter[int] = field(default_factory=Counter)  # by minute
    converged: bool = False


@dataclass
class Verdict:
    """What is broken (empty is good) and how much was looked at."""

    broken: list[str]
    checks: int
    trades: int
    fills: int
    naked_max_s: float


def judge(
    engine: VenueEngine, run_id: str, audit: Audit, posts: Counter[str], now_ns: int
) -> Verdict:
    """Compare everything once, after the healing."""
    naked_s, naked = _naked(engine, audit, now_ns)
    parts: tuple[Iterable[str], ...] = (
        audit.broken,
        _executions(engine, run_id),
        _slots(engine, posts),
        _attempts(run_id, posts),
        naked,
        _kept(audit),
        _money(engine, run_id),
        _shares(engine, run_id),
        _orders(engine, run_id),
        _legs(engine, run_id),
        _bounded(run_id, audit),
        [] if audit.converged else ["L: not settled after the healing: " + _waiting(run_id)],
    )
    found = [line for part in parts for line in part]
    trades = _one("SELECT COUNT(*) FROM execution_trade WHERE run_id=%s", run_id)
    return Verdict(found, len(parts), int(trades), len(engine.account.fills), naked_s)


def in_doubt(engine: VenueEngine, run_id: str, audit: Audit, entry: str, now_ns: int) -> str:
    """I4: return what should keep an entry that arrives now from being sent, "" for nothing."""
    if audit.told_ns is not None and now_ns - audit.told_ns > HEARD_S * SECOND:
        return "the order of somebody else was known"
    if engine.naked_since:
        return f"{', '.join(engine.naked_since)} had no stop"
    unknown = _rows(
        "SELECT client_order_id FROM execution_order"
        " WHERE run_id=%s AND client_order_id<>%s AND status IN ('sending','unknown')",
        run_id,
        entry,
    )
    return f"the fate of {unknown[0][0]} was unknown" if unknown else ""


def is_too_late(run_id: str, entry: str, now_ns: int) -> bool:
    """I4: does an entry that arrives now chase a signal that is too old?"""
    before_ns = _one(
        "SELECT t.send_before_ns FROM execution_order o JOIN execution_trade t ON t.id=o.trade_id"
        " WHERE o.run_id=%s AND o.client_order_id=%s",
        run_id,
        entry,
    )
    return now_ns > int(before_ns)


def _rows(sql: str, *args: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())


def _one(sql: str, *args: Any) -> Any:
    return _rows(sql, *args)[0][0]


def _executions(engine: VenueEngine, run_id: str) -> list[str]:
    """I1: every standing execution is in the books, and no other."""
    ours = {
        row[0]: (int(row[1]), int(row[2]))
        for row in _rows(
            "SELECT f.execution_id, f.quantity, f.price_usd FROM accounts_fill f"
            " JOIN accounts_account a ON a.id=f.account_id"
            " WHERE a.run_id=%s AND NOT EXISTS"
            " (SELECT 1 FROM accounts_journalentry r WHERE r.reverses_id=f.entry_id)",
            run_id,
        )
    }
    theirs = {
        fill.execution_id: (
            fill.quantity if fill.side == "buy" else -fill.quantity,
            int(fill.price * MICRO),
        )
        for fill in engine.account.fills
    }
    lost = [
        f"I1: execution {one} {theirs[one]} is not in the books"
        for one in theirs.keys() - ours.keys()
    ]
    made = [
        f"I1: execution {one} {ours[one]} never happened" for one in ours.keys() - theirs.keys()
    ]
    other = [
        f"I1: execution {one} is {theirs[one]}, booked as {ours[one]}"
        for one in ours.keys() & theirs.keys()
        if ours[one] != theirs[one]
    ]
    return lost + made + other


def _slots(engine: VenueEngine, posts: Counter[str]) -> list[str]:
    """I2: one entry per slot at the venue, each name posted once."""
    twice = [f"I2: {name} reached the venue {n} times" for name, n in posts.items() if n > 1]
    by_slot: dict[str, list[str]] = {}
    for order in engine.orders.values():
        match = ENTRY.fullmatch(order.client_order_id)
        if match and (order.filled or order.is_open):
            by_slot.setdefault(match[1], []).append(order.client_order_id)
    return twice + [f"I2: slot {s} has {names}" for s, names in by_slot.items() if len(names) > 1]


def _attempts(run_id: str, posts: Counter[str]) -> list[str]:
    """I2: nothing arrived at the venue that no attempt was written for."""
    written = {
        row[0]: int(row[1])
        for row in _rows(
            "SELECT o.client_order_id, COUNT(*) FROM execution_orderattempt t"
            " JOIN execution_order o ON o.id=t.order_id"
            " WHERE o.run_id=%s AND t.kind='submit' GROUP BY o.client_order_id",
            run_id,
        )
    }
    return [
        f"I2: {name} arrived {n} times, {written.get(name, 0)} attempts are written"
        for name, n in posts.items()
        if n > written.get(name, 0)
    ]


def _naked(engine: VenueEngine, audit: Audit, now_ns: int) -> tuple[float, list[str]]:
    """I3: no position without a live stop beyond the deadline, while a hub was there to act."""
    spans = [(s, a, b if b is not None else now_ns) for s, a, b in engine.unprotected]
    spans += [(symbol, since, now_ns) for symbol, since in engine.naked_since.items()]
    worst, found = 0.0, []
    for symbol, start, end in spans:
        alone_s, faults = _alone_s(audit, start, end), _faults(audit, start, end)
        worst = max(worst, alone_s)
        short_s = min(BUY_BACK_LOST_S, _short_s(engine, symbol, start, end)) * (faults > 0)
        if alone_s > NAKED_MAX_S + NAKED_PER_FAULT_S * faults + short_s:
            found.append(f"I3: {symbol} was naked for {alone_s:.1f} s ({faults} faults)")
    return worst, found


def _kept(audit: Audit) -> list[str]:
    """K: the kill switch at `flatten` sells whatever is held, also what was bought after it."""
    found = []
    for start, end in audit.kept:
        alone_s, faults = _alone_s(audit, start, end), _faults(audit, start, end)
        lost_s = SELL_LOST_S * bool(_faults(audit, start - int(SELL_LOST_S * SECOND), end))
        if alone_s > FLAT_MAX_S + NAKED_PER_FAULT_S * faults + lost_s:
            found.append(f"K: shares were held for {alone_s:.1f} s of flatten ({faults} faults)")
    return found


def _alone_s(audit: Audit, start: int, end: int) -> float:
    """Return for how much of a span a hub was there to act."""
    away = sum(max(0, min(end, b) - max(start, a)) for a, b in audit.down)
    return (end - start - away) / SECOND


def _faults(audit: Audit, start: int, end: int) -> int:
    return sum(start - SECOND <= at <= end for at in audit.faults_at)


def _short_s(engine: VenueEngine, symbol: str, start: int, end: int) -> float:
    """Return for how much of a span more was sold than held."""
    fills = sorted(
        (f for f in engine.account.fills if f.symbol == symbol and f.ts_ns <= end),
        key=lambda fill: fill.ts_ns,
    )
    held = accumulate(f.quantity if f.side == "buy" else -f.quantity for f in fills)
    until_ns = [fill.ts_ns for fill in fills[1:]] + [end]
    spans = zip(held, fills, until_ns, strict=False)  # without fills there is an end all the same
    return sum(max(0, at - max(start, f.ts_ns)) for have, f, at in spans if have < 0) / SECOND


def _money(engine: VenueEngine, run_id: str) -> list[str]:
    """I5: cash to the cent, and every entry of the journal balances."""
    where = (
        " FROM accounts_posting p JOIN accounts_account a ON a.id=p.account_id WHERE a.run_id=%s"
    )
    cash = _one("SELECT COALESCE(SUM(p.amount_usd),0)" + where + " AND p.ledger='cash'", run_id)
    booked = Decimal(int(cash)) / MICRO
    off = _rows(
        "SELECT p.entry_id, SUM(p.amount_usd)" + where + " GROUP BY p.entry_id"
        " HAVING SUM(p.amount_usd) <> 0",
        run_id,
    )
    found = [f"I5: entry {entry} is off by {amount}" for entry, amount in off]
    if booked != engine.account.cash:
        found.append(f"I5: cash is {engine.account.cash} at the venue, {booked} in the books")
    return found


def _shares(engine: VenueEngine, run_id: str) -> list[str]:
    """I5: shares by symbol, in the books and in the slots."""
    there = {s: p.quantity for s, p in engine.account.positions.items() if p.quantity}
    booked = {
        row[0]: int(row[1])
        for row in _rows(
            "SELECT p.symbol, SUM(p.quantity) FROM accounts_posting p"
            " JOIN accounts_account a ON a.id=p.account_id"
            " WHERE a.run_id=%s AND p.ledger='position' GROUP BY p.symbol",
            run_id,
        )
    }
    held = {
        row[0]: int(row[1])
        for row in _rows(
            "SELECT symbol, SUM(filled_quantity-exit_quantity) FROM execution_trade"
            " WHERE run_id=%s GROUP BY symbol",
            run_id,
        )
    }
    found = []
    for name, ours in (("the books", booked), ("the slots", held)):
        for symbol in sorted(there.keys() | ours.keys()):
            if there.get(symbol, 0) != ours.get(symbol, 0):
                found.append(
                    f"I5: {symbol} is {there.get(symbol, 0)} at the venue,"
                    f" {ours.get(symbol, 0)} in {name}"
                )
    return found


def _orders(engine: VenueEngine, run_id: str) -> list[str]:
    """I5: what is open at the venue belongs to an open position, and covers exactly its shares."""
    found = []
    for order in engine.open_orders:
        held = engine.account.quantity(order.symbol)
        if order.side == "sell" and order.armed and order.leaves > held:
            found.append(f"I5: {order.client_order_id} would sell {order.leaves} of {held} shares")
        if order.side == "buy" and order.client_order_id != BY_HAND:
            found.append(f"I5: {order.client_order_id} still buys after the healing")
    fate = _rows(
        "SELECT client_order_id, status FROM execution_order"
        " WHERE run_id=%s AND status IN ('sending','unknown')",
        run_id,
    )
    return found + [f"I6: {name} is still {status}" for name, status in fate]


def _legs(engine: VenueEngine, run_id: str) -> list[str]:
    """I5: a leg of our own that protects or sold is not taken for a stranger's order."""
    rows = _rows("SELECT client_order_id, purpose FROM execution_order WHERE run_id=%s", run_id)
    purpose = {str(name): str(what) for name, what in rows}
    return [
        f"I5: {order.client_order_id} is a leg of {parent.client_order_id}, here a stranger's"
        for order in engine.orders.values()
        if (order.is_open or order.filled)
        and (parent := _parent(order)) is not None
        and parent.client_order_id in purpose
        and purpose.get(order.client_order_id) == "ext"
    ]


def _parent(order: VenueOrder) -> VenueOrder | None:
    group = order.group
    return group.parent if group is not None and order in group.members else None


def _bounded(run_id: str, audit: Audit) -> list[str]:
    """I6: nobody sends without end."""
    many = _rows(
        "SELECT t.slot, COUNT(*) FROM execution_order o JOIN execution_trade t ON t.id=o.trade_id"
        " WHERE o.run_id=%s GROUP BY t.id HAVING COUNT(*) > %s",
        run_id,
        ORDERS_PER_SLOT_MAX,
    )
    asked = max(audit.requests.values(), default=0)
    busy = [f"I6: the venue was asked {asked} times in a minute"]
    found = [f"I6: slot {slot} made {n} orders" for slot, n in many]
    return found + (busy if asked > REQUESTS_PER_MINUTE_MAX else [])


def _waiting(run_id: str) -> str:
    rows = _rows("SELECT slot, state, exit_step FROM execution_trade WHERE run_id=%s", run_id)
    steps = _rows(
        "SELECT name, reason FROM execution_startupstep WHERE run_id=%s AND state='blocked'", run_id
    )
    return ", ".join(f"slot {s} {state} {step}".strip() for s, state, step in rows) + str(steps)
