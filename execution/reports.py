"""What the trades amounted to: one row each, sums by whatever one asks, the equity curve."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from accounts import selectors as books
from accounts.models import Account
from execution.domain.orders import TradeState
from execution.domain.trade_figures import Bar, TradeFacts, figures
from execution.models import Trade
from signals.session import NEW_YORK

TRADE_COLUMNS = (
    "run", "day", "slot", "symbol", "exit_reason", "parameters_version", "opened_at", "closed_at",
    "hour", "quantity", "entry", "exit", "pnl", "r", "naked_ms", "entry_slippage_bps",
    "exit_slippage_bps", "mae_r", "mfe_r", "markout_60s_bps", "markout_300s_bps",
)  # fmt: skip
SUM_COLUMNS = ("by", "trades", "wins", "pnl", "average", "best", "worst", "average_r")
EQUITY_COLUMNS = ("closed_at", "symbol", "pnl", "equity", "drawdown")
#: How sums may be asked for.
GROUPS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "day": lambda row: f"{row['day']}",
    "week": lambda row: "{}-W{:02d}".format(*row["day"].isocalendar()[:2]),
    "month": lambda row: f"{row['day']:%Y-%m}",
    "version": lambda row: f"version {row['parameters_version']}",
    "hour": lambda row: f"{row['hour']:02d}:00",
    "exit_reason": lambda row: str(row["exit_reason"]),
    "symbol": lambda row: str(row["symbol"]),
}
Bars = Callable[[Trade], Iterable[Bar]]


def trade_rows(
    run_id: str, *, first: date | None = None, last: date | None = None, bars: Bars | None = None
) -> list[dict[str, Any]]:
    """Return the closed trades of a run in order of their end.

    Args: bars: gives the buckets of a trade's symbol around it; without it there is no MAE or MFE.
    """
    closed = Trade.objects.filter(
        run_id=run_id, state=TradeState.CLOSED, exit_quantity__gt=0, closed_ns__isnull=False
    )
    if first is not None:
        closed = closed.filter(day__gte=first)
    if last is not None:
        closed = closed.filter(day__lte=last)
    return [_row(trade, bars) for trade in closed.order_by("closed_ns", "pk")]


def _row(trade: Trade, bars: Bars | None) -> dict[str, Any]:
    entry = trade.entry_value / trade.filled_quantity
    leave = trade.exit_value / trade.exit_quantity
    opened_ns, closed_ns = trade.opened_ns or trade.reserved_ns, trade.closed_ns or 0
    plan = trade.exit_parameters.get("plan", {})
    planned = Decimal(str(plan.get("stop_loss", trade.stop_loss)))
    levels = {"target": trade.take_profit, "stop": trade.stop_loss}
    decided = plan.get("signal_price")
    found = figures(
        TradeFacts(
            entry=entry,
            exit=leave,
            stop=planned,
            level=levels.get(trade.exit_reason),
            decided=None if decided is None else Decimal(str(decided)),
            opened_ns=opened_ns,
            closed_ns=closed_ns,
        ),
        bars(trade) if bars is not None else (),
    )
    risk = (entry - planned) * trade.filled_quantity
    return {
        "run": trade.run_id,
        "day": trade.day,
        "slot": trade.slot,
        "symbol": trade.symbol,
        "exit_reason": trade.exit_reason,
        "parameters_version": trade.parameters_version,
        "opened_at": _new_york(opened_ns).isoformat(),
        "closed_at": _new_york(closed_ns).isoformat(),
        "hour": _new_york(opened_ns).hour,
        "quantity": trade.filled_quantity,
        "entry": entry,
        "exit": leave,
        "pnl": trade.realized_pnl,
        "r": (trade.realized_pnl / risk).quantize(Decimal("0.001")) if risk > 0 else None,
        "naked_ms": trade.naked_ns // 1_000_000,
        "entry_slippage_bps": found.entry_slippage_bps,
        "exit_slippage_bps": found.exit_slippage_bps,
        "mae_r": found.mae_r,
        "mfe_r": found.mfe_r,
        "markout_60s_bps": found.markouts_bps[60],
        "markout_300s_bps": found.markouts_bps[300],
    }


def _new_york(ts_ns: int) -> datetime:
    return datetime.fromtimestamp(ts_ns / 1e9, NEW_YORK).replace(microsecond=0)


def sums(rows: Iterable[Mapping[str, Any]], by: str) -> list[dict[str, Any]]:
    """Return the trades summed by a key of `GROUPS`, in its order.

    Raises:
        KeyError: no such grouping.
    """
    name, groups = GROUPS[by], dict[str, list[Mapping[str, Any]]]()
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return [_sum(key, of) for key, of in sorted(groups.items())]


def _sum(key: str, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    pnl = [row["pnl"] for row in rows]
    risks = [row["r"] for row in rows if row["r"] is not None]
    return {
        "by": key,
        "trades": len(rows),
        "wins": sum(one > 0 for one in pnl),
        "pnl": sum(pnl, Decimal(0)),
        "average": (sum(pnl, Decimal(0)) / len(pnl)).quantize(Decimal("0.01")),
        "best": max(pnl),
        "worst": min(pnl),
        "average_r": (sum(risks) / len(risks)).quantize(Decimal("0.001")) if risks else None,
    }


def equity_curve(rows: Iterable[Mapping[str, Any]], opening: Decimal) -> list[dict[str, Any]]:
    """Return the equity after each closed trade, and how far it is below its best."""
    found, equity, best = [], opening, opening
    for row in rows:
        equity += row["pnl"]
        best = max(best, equity)
        found.append({name: row[name] for name in ("closed_at", "symbol", "pnl")})
        found[-1] |= {"equity": equity, "drawdown": equity - best}
    return found


def opening_of(run_id: str) -> Decimal:
    """Return the opening equity of a run's account, 0 without one."""
    account = Account.objects.filter(run_id=run_id).first()
    if account is None:
        return Decimal(0)
    first = account.entries.filter(kind="opening").first()
    if first is None:
        return books.cash(account)
    return sum((p.amount_usd for p in first.postings.all() if p.ledger == "cash"), Decimal(0))
