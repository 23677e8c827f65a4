"""What a backtest leaves: decision records, fills and trades as JSON lines, and a report."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from django.db.models import Count

from execution import selectors
from execution.models import BrokerEvent, Decision, Run

CHUNK = 500


def decision_records(run: Run) -> Iterator[dict[str, Any]]:
    """Yield every record in the order of the hash: bucket, symbol, candidate."""
    rows = Decision.objects.filter(run=run).order_by("k", "symbol", "candidate_id")
    yield from rows.values_list("record", flat=True).iterator(chunk_size=CHUNK)


def fills(run: Run) -> Iterator[dict[str, Any]]:
    """Yield every execution as the venue told it, oldest first."""
    events = BrokerEvent.objects.filter(run=run, key__startswith="fill:").order_by("ts_ns", "pk")
    for event in events.select_related("order").iterator(chunk_size=CHUNK):
        order, raw = event.order, event.raw
        yield {
            "ts_ns": event.ts_ns,
            "symbol": order.symbol if order else None,
            "side": order.side if order else None,
            "purpose": order.purpose if order else None,
            "quantity": raw.get("qty"),
            "price": raw.get("price"),
            "client_order_id": order.client_order_id if order else None,
        }


def report(run: Run) -> dict[str, Any]:
    """Return the run's summary and what was made of it: counts, results, the day's funnel."""
    trades = selectors.trade_rows(run)
    results = [Decimal(trade["pnl"]) for trade in trades if trade["state"] == "closed"]
    outcomes = Decision.objects.filter(run=run).values("outcome").annotate(n=Count("pk"))
    return {
        **(run.summary or {}),
        "outcomes": {row["outcome"]: row["n"] for row in outcomes.order_by("outcome")},
        "funnel": selectors.funnel(run),
        "result": {
            "trades": len(trades),
            "closed": len(results),
            "winners": sum(result > 0 for result in results),
            "pnl": f"{sum(results, Decimal(0)):.2f}",
            "worst": f"{min(results, default=Decimal(0)):.2f}",
            "best": f"{max(results, default=Decimal(0)):.2f}",
        },
    }


def as_text(told: Mapping[str, Any]) -> str:
    """Return a report for people."""
    result, funnel = told["result"], told["funnel"]
    stages = " → ".join(f"{name} {n}" for name, n in funnel.items() if name != "closed")
    blocked = ", ".join(f"{gate} {n}" for gate, n in list(funnel["closed"].items())[:8])
    lines = [
        f"{told['rounds']} rounds, {told['candidates']} candidates, "
        f"{told['decisions']} decision records, {told['fills']} fills",
        f"candidate-rounds left: {stages or '–'}",
        f"what closed most: {blocked or '–'}",
        *(_trade_line(trade) for trade in told["trades"]),
        f"{result['trades']} trades, {result['winners']} winners, {result['pnl']} USD",
        f"decisions {told['hashes']['decisions']}",
    ]
    return "\n".join(lines)


def _trade_line(trade: Mapping[str, Any]) -> str:
    return (
        f"{trade['symbol']}: {trade['quantity']} at {trade['entry']}, out at "
        f"{trade['exit_price']} ({trade['exit'] or trade['state']}), {trade['pnl']} USD"
    )


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line and return how many; nothing is left at `path` on failure."""
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with part.open("wb") as file:
            for row in rows:
                file.write(msgspec.json.encode(row, order="deterministic") + b"\n")
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count
