"""What the status page shows, read from the apps' rows and the roles' heart-beats.

Plain values only (numbers, strings, lists, dicts), so that two boards compare by `==` and a
section is sent again only when it changed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import redis
from django.conf import settings

from execution import selectors
from execution.models import Activity, Decision, KillSwitch, Order, Round, Run, Trade
from signals.session import BUCKET_NS, NEW_YORK

CANDIDATES_MAX, ORDERS_MAX, ACTIVITY_MAX = 30, 20, 40
SECTIONS = ("mode", "hero", "startup", "candidates", "trade", "orders", "shards", "activity")
STEP_WORDS = {"pending": "Waiting", "running": "Working", "done": "Done", "blocked": "Blocked"}

PURPOSES = {"e": "entry", "tp": "target", "sl": "stop", "o": "protect", "x": "exit", "f": "flatten"}


def board(heartbeats: Mapping[str, Mapping[str, str]] | None) -> dict[str, Any]:
    """Return every section of the page for the newest run.

    Args: heartbeats: the shards' own words by shard number, None when Redis does not answer.
    """
    run = selectors.current_run()
    if run is None:
        return _empty()
    steps = [_step(row) for row in selectors.startup_steps(run)]
    last_round = Round.objects.filter(run=run).order_by("-k").first()
    trades = selectors.active_trades(run)
    return {
        "mode": _mode(run),
        "hero": _hero(run, steps, last_round, trades),
        "startup": steps,
        "candidates": _candidates(run, last_round),
        "trade": [_trade(trade) for trade in trades],
        "orders": [_order(order) for order in _newest_orders(run)],
        "shards": _shards(run, heartbeats),
        "activity": [_activity(row) for row in selectors.activity(run, ACTIVITY_MAX)],
    }


def heartbeats(client: redis.Redis) -> dict[str, dict[str, str]] | None:
    """Return each shard's heart-beat by its number; None when Redis does not answer."""
    try:
        pipe = client.pipeline(transaction=False)
        for number in range(1, settings.TRADEPLANE_SHARDS + 1):
            pipe.hgetall(f"hb:shard:{number}")
        answers = pipe.execute()
    except redis.RedisError:
        return None
    return {
        str(number): {_text(key): _text(value) for key, value in answer.items()}
        for number, answer in enumerate(answers, start=1)
        if answer
    }


def _empty() -> dict[str, Any]:
    sections: dict[str, Any] = {name: [] for name in SECTIONS}
    sections["mode"] = {"word": "OFF", "note": "nothing has run yet", "kind": "off"}
    sections["hero"] = {"say": "Nothing has run yet.", "more": "Start with script/up.", "kpis": []}
    return sections


def _mode(run: Run) -> dict[str, str]:
    if run.mode == "live":
        return {"word": "LIVE", "note": "real money", "kind": "live"}
    if run.mode == "shadow":
        return {"word": "SHADOW", "note": "real data, orders on paper only", "kind": "shadow"}
    if run.lockstep or settings.VENUE_LOCKSTEP_URL:
        return {"word": "SIMULATED", "note": "a tape, practice money", "kind": "paper"}
    return {"word": "PAPER", "note": "practice money", "kind": "paper"}


def _hero(
    run: Run, steps: list[dict[str, Any]], last: Round | None, trades: list[Trade]
) -> dict[str, Any]:
    day = selectors.trading_day(run)
    switch = KillSwitch.objects.first()
    return {
        "say": _sentence(run, steps, last, trades, switch),
        "more": f"Run {run.id}, account {run.account_number or '–'}, market time "
        f"{_clock(run.market_ns)}.",
        "clock": _clock(run.market_ns),
        "kpis": [
            {
                "name": "Today",
                "value": _money(day.realized),
                "more": "realized",
                "tone": _tone(day.realized),
            },
            {"name": "Trades", "value": str(day.trades), "more": f"{len(trades)} open", "tone": ""},
            {
                "name": "Rounds",
                "value": f"{Round.objects.filter(run=run).count():,}",
                "more": f"last {_clock(last.k * BUCKET_NS)}" if last else "none yet",
                "tone": "",
            },
        ],
    }


def _sentence(
    run: Run,
    steps: list[dict[str, Any]],
    last: Round | None,
    trades: list[Trade],
    switch: KillSwitch | None,
) -> str:
    """The first line of the page: what is so, and why."""
    if switch is not None and switch.level != "none":
        return f"Stopped by hand ({switch.level}): {switch.reason}"
    blocked = next((step for step in steps if step["state"] == "blocked"), None)
    if blocked is not None:
        return f"Start-up is blocked at “{blocked['name']}”: {blocked['reason'] or 'no reason yet'}"
    if run.state in ("ended", "failed"):
        return f"The run has {run.state}."
    waiting = next((step for step in steps if step["state"] != "done"), None)
    if waiting is not None or not steps:
        return f"Starting: {waiting['name'] if waiting else 'the hub takes its lease'}."
    if trades:
        names = ", ".join(f"{trade.symbol} ({_words(trade.state)})" for trade in trades)
        return f"One trade is active: {names}." if len(trades) == 1 else f"Active trades: {names}."
    if last is None:
        return "All steps hold; waiting for the first round."
    return f"{_counted(last.n_candidates, 'candidate')} in the last round, no position open."


def _step(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _words(row["name"]),
        "state": row["state"],
        "word": STEP_WORDS.get(row["state"], row["state"]),
        "reason": row["reason"],
    }


def _candidates(run: Run, last: Round | None) -> list[dict[str, Any]]:
    """The newest round that had any, strongest first."""
    rows = Decision.objects.filter(run=run)
    newest = rows.order_by("-k").first()
    if newest is None or last is None:
        return []
    found = rows.filter(k=newest.k).order_by("shadow", "rank", "symbol")[:CANDIDATES_MAX]
    return [_candidate(decision) for decision in found]


def _candidate(decision: Decision) -> dict[str, Any]:
    features = decision.record.get("features") or {}
    return {
        "symbol": decision.symbol,
        "at": _clock(decision.k * BUCKET_NS),
        "rank": decision.rank,
        "x": _number(features.get("x"), 1),
        "z": _number(features.get("z"), 1),
        "accel": _number(features.get("accel"), 2),
        "score": _number(decision.score, 0),
        "streak": decision.streak,
        "outcome": _words(decision.outcome),
        "reason": decision.primary_reason or "–",
        "shadow": decision.shadow,
        "failed": _failed_gate(decision.record),
    }


def _failed_gate(record: Mapping[str, Any]) -> str:
    """The sentence of the first closed gate: what holds this one back."""
    for gate in record.get("gates") or []:
        if not gate.get("open", gate.get("pass")):
            return f"{gate.get('id', '')} {gate.get('text', '')}".strip()
    return ""


def _trade(trade: Trade) -> dict[str, Any]:
    """Before the first fill the limit stands for the price paid."""
    held = trade.filled_quantity
    entry = trade.entry_value / held if held else trade.limit
    quantity = trade.held if held else trade.quantity
    return {
        "symbol": trade.symbol,
        "state": _words(trade.state),
        "quantity": quantity,
        "filled": bool(held),
        "entry": _price(entry),
        "stop": _price(trade.stop_loss),
        "target": _price(trade.take_profit),
        "risk": _money(-(entry - trade.stop_loss) * quantity),
        "gain": _money((trade.take_profit - entry) * quantity),
        "opened": _clock(trade.opened_ns or 0),
        "protected": trade.protected_ns is not None and trade.naked_since_ns is None,
    }


def _newest_orders(run: Run) -> list[Order]:
    return list(Order.objects.filter(run=run).order_by("-id")[:ORDERS_MAX])


def _order(order: Order) -> dict[str, Any]:
    return {
        "symbol": order.symbol,
        "purpose": PURPOSES.get(order.purpose, order.purpose),
        "side": order.side,
        "quantity": f"{order.filled_quantity}/{order.quantity}",
        "limit": _price(order.limit),
        "stop": _price(order.stop),
        "status": order.status,
        "reason": order.reason,
        "at": _clock(order.created_ns),
    }


def _shards(run: Run, beats: Mapping[str, Mapping[str, str]] | None) -> list[dict[str, Any]]:
    if beats is None:
        return [{"id": "–", "state": "dark", "word": "Redis does not answer", "letters": "–"}]
    numbers = sorted(set(run.assignments) | set(beats), key=_as_number)
    return [_shard(number, run.assignments.get(number), beats.get(number)) for number in numbers]


def _shard(number: str, ranges: Any, beat: Mapping[str, str] | None) -> dict[str, Any]:
    letters = beat.get("letters", "") if beat else ""
    if not letters and isinstance(ranges, list):
        letters = ", ".join(f"{low}–{high}" for low, high in ranges)
    if beat is None:
        return {"id": number, "state": "dark", "word": "silent", "letters": letters or "–"}
    return {
        "id": number,
        "state": "ok",
        "word": beat.get("state", "–"),
        "letters": letters or "none yet",
        "lag": f"{float(beat.get('lag_ms') or 0):,.0f} ms",
        "symbols": beat.get("symbols", "0"),
        "params": beat.get("params_version", "–"),
    }


def _activity(row: Activity) -> dict[str, str]:
    tone = {"warning": "warn", "alarm": "bad", "error": "bad"}.get(row.level, "info")
    return {
        "at": _clock(row.market_ns) if row.market_ns else _wall(row.at),
        "kind": row.kind,
        "tone": tone,
        "text": row.text,
    }


def _counted(number: int, thing: str) -> str:
    return f"{f'{number:,}' if number else 'No'} {thing}{'' if number == 1 else 's'}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _clock(ts_ns: int) -> str:
    if ts_ns <= 0:
        return "–"
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, NEW_YORK).strftime("%H:%M:%S ET")


def _wall(at: datetime) -> str:
    return at.astimezone(UTC).astimezone(NEW_YORK).strftime("%H:%M:%S ET")


def _number(value: Any, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def _price(value: Decimal | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.4f}" if value < 1 else f"{value:,.2f}"


def _money(value: Decimal) -> str:
    sign = "−" if value < 0 else "+" if value > 0 else ""
    return f"{sign}${abs(value):,.2f}"


def _tone(value: Decimal) -> str:
    return "up" if value > 0 else "down" if value < 0 else ""


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _as_number(text: str) -> int:
    return int(text) if text.isdigit() else 0
