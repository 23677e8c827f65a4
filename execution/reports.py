"""What a run amounted to: its trades, one row each, sums by whatever one asks, the equity curve.

Sums and curve end where the ledger ends, to the cent: what moved money without a trade is in them
by its day. A trade counts on the day its last shares were sold.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from execution.domain.orders import TradeState
from execution.domain.trade_figures import Bar, TradeFacts, TradeFigures, figures, in_r, rounded
from execution.models import Trade
from execution.sides import Sides, planned_stop, sides_of
from execution.statement import Line, Statement, TradeMoney
from execution.tables import Kind
from signals.session import NEW_YORK

TRADE_COLUMNS = {
    "run": Kind.TEXT, "day": Kind.TEXT, "slot": Kind.COUNT, "symbol": Kind.TEXT,
    "exit_reason": Kind.TEXT, "parameters_version": Kind.COUNT, "opened_at": Kind.TEXT,
    "closed_at": Kind.TEXT, "hour": Kind.COUNT, "quantity": Kind.COUNT, "entry": Kind.MONEY,
    "exit": Kind.MONEY, "cover_quantity": Kind.COUNT, "cover": Kind.MONEY, "pnl": Kind.MONEY,
    "fees": Kind.MONEY, "net": Kind.MONEY, "r": Kind.RATIO, "naked_ms": Kind.COUNT,
    "entry_slippage_bps": Kind.RATIO, "exit_slippage_bps": Kind.RATIO, "mae_r": Kind.RATIO,
    "mfe_r": Kind.RATIO, "markout_60s_bps": Kind.RATIO, "markout_300s_bps": Kind.RATIO,
}  # fmt: skip
SUM_COLUMNS = {
    "by": Kind.TEXT, "trades": Kind.COUNT, "wins": Kind.COUNT, "pnl": Kind.MONEY,
    "fees": Kind.MONEY, "income": Kind.MONEY, "other": Kind.MONEY, "net": Kind.MONEY,
    "transfers": Kind.MONEY, "average": Kind.MONEY, "best": Kind.MONEY, "worst": Kind.MONEY,
    "average_r": Kind.RATIO, "closed": Kind.FLAG,
}  # fmt: skip
EQUITY_COLUMNS = {
    "day": Kind.TEXT, "at": Kind.TEXT, "what": Kind.TEXT, "symbol": Kind.TEXT, "pnl": Kind.MONEY,
    "transfer": Kind.MONEY, "equity": Kind.MONEY, "drawdown": Kind.MONEY, "text": Kind.TEXT,
}  # fmt: skip
Row = Mapping[str, Any]
#: How sums may be asked for by time; everything has a day.
TIMES: Mapping[str, Callable[[date], str]] = {
    "day": lambda day: f"{day}",
    "week": lambda day: "{}-W{:02d}".format(*day.isocalendar()[:2]),
    "month": lambda day: f"{day:%Y-%m}",
}
#: … and by what only a trade has; the rest is one line more.
KINDS: Mapping[str, Callable[[Row], str]] = {
    "version": lambda row: f"version {row['parameters_version']}",
    "hour": lambda row: f"{row['hour']:02d}:00",
    "exit_reason": lambda row: str(row["exit_reason"]),
    "symbol": lambda row: str(row["symbol"]),
}
GROUPS = (*TIMES, *KINDS)
NO_TRADE = "no trade"
ZERO = Decimal(0)
Bars = Callable[[Trade], Iterable[Bar]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run, or some of its days: `opening` is the equity before, positions at cost, USD."""

    opening: Decimal
    trades: list[dict[str, Any]]
    lines: list[Line]
    closed_through: date | None


def report(
    run_id: str, *, first: date | None = None, last: date | None = None, bars: Bars | None = None
) -> Report:
    """Return the closed trades of a run in order of their end, and what else moved its money.

    Args: first, last: New York days; bars: gives the buckets of a trade's symbol around it; without
        it there is no MAE or MFE.
    """
    told = Statement(run_id)
    money = told.of_trades()
    by_day: dict[date, tuple[Decimal, Decimal]] = {}
    rows = []
    for trade in _closed(run_id):
        booked = TradeMoney(
            day=told.day_of(trade, money),
            fees=money[trade.pk].fees if trade.pk in money else ZERO,
        )
        pnl, fees = by_day.get(booked.day, (ZERO, ZERO))
        by_day[booked.day] = pnl + trade.realized_pnl, fees + booked.fees
        if (first is None or booked.day >= first) and (last is None or booked.day <= last):
            rows.append(_row(trade, booked, bars))
    return Report(
        opening=told.opening(first),
        trades=rows,
        lines=told.lines(by_day, first, last),
        closed_through=told.closed_through,
    )


def trade_rows(
    run_id: str, *, first: date | None = None, last: date | None = None, bars: Bars | None = None
) -> list[dict[str, Any]]:
    """Return the closed trades alone; see `report`."""
    return report(run_id, first=first, last=last, bars=bars).trades


def _closed(run_id: str) -> Iterable[Trade]:
    closed = Trade.objects.filter(
        run_id=run_id, state=TradeState.CLOSED, exit_quantity__gt=0, closed_ns__isnull=False
    )
    return closed.prefetch_related("orders").order_by("closed_ns", "pk")


def _row(trade: Trade, booked: TradeMoney, bars: Bars | None) -> dict[str, Any]:
    sides = sides_of(trade)
    opened_ns, closed_ns = trade.opened_ns or trade.reserved_ns, trade.closed_ns or 0
    found = _figures(trade, sides, bars)
    entry = sides.entry.average
    risk = ZERO if entry is None else (entry - planned_stop(trade)) * sides.entry.quantity
    return {
        "run": trade.run_id,
        "day": booked.day,
        "slot": trade.slot,
        "symbol": trade.symbol,
        "exit_reason": trade.exit_reason,
        "parameters_version": trade.parameters_version,
        "opened_at": _new_york(opened_ns).isoformat(),
        "closed_at": _new_york(closed_ns).isoformat(),
        "closed_ns": closed_ns,
        "hour": _new_york(opened_ns).hour,
        "quantity": sides.entry.quantity,
        "entry": entry,
        "exit": sides.exit.average,
        "cover_quantity": sides.cover.quantity,
        "cover": sides.cover.average,
        "pnl": trade.realized_pnl,
        "fees": booked.fees,
        "net": trade.realized_pnl - booked.fees,
        "r": in_r(trade.realized_pnl, risk),
        "naked_ms": trade.naked_ns // 1_000_000,
        **_measured(found),
    }


def _figures(trade: Trade, sides: Sides, bars: Bars | None) -> TradeFigures | None:
    """Measure the entry by its own order and the exit by the leg that ended the trade."""
    levels = {"target": trade.take_profit, "stop": trade.stop_loss}
    decided = trade.exit_parameters.get("plan", {}).get("signal_price")
    entry, leave = sides.entry.average, sides.level.average
    if entry is None or leave is None:
        return None  # the venue took the entry back
    return figures(
        TradeFacts(
            entry=entry,
            exit=leave,
            stop=planned_stop(trade),
            level=levels.get(trade.exit_reason),
            decided=None if decided is None else Decimal(str(decided)),
            opened_ns=trade.opened_ns or trade.reserved_ns,
            closed_ns=trade.closed_ns or 0,
        ),
        bars(trade) if bars is not None else (),
    )


def _measured(found: TradeFigures | None) -> dict[str, Any]:
    return {
        "entry_slippage_bps": found and found.entry_slippage_bps,
        "exit_slippage_bps": found and found.exit_slippage_bps,
        "mae_r": found and found.mae_r,
        "mfe_r": found and found.mfe_r,
        "markout_60s_bps": found and found.markouts_bps[60],
        "markout_300s_bps": found and found.markouts_bps[300],
    }


def _new_york(ts_ns: int) -> datetime:
    return datetime.fromtimestamp(ts_ns / 1e9, NEW_YORK).replace(microsecond=0)


# --- sums ----------------------------------------------------------------------------------------


def sums(told: Report, by: str) -> list[dict[str, Any]]:
    """Return trades and money summed by one of `GROUPS`, in its order.

    By time everything has its place; by anything else, what no trade explains is a line of its own.

    Raises:
        KeyError: no such grouping.
    """
    time, trade_key = TIMES.get(by), KINDS.get(by)
    if time is None and trade_key is None:
        raise KeyError(by)
    groups: dict[str, tuple[list[Row], list[Line]]] = {}
    for row in told.trades:
        key = time(row["day"]) if time else trade_key(row) if trade_key else ""
        groups.setdefault(key, ([], []))[0].append(row)
    alone: tuple[list[Row], list[Line]] = ([], [])
    for line in told.lines:
        of = groups.setdefault(time(line.day), ([], [])) if time else alone
        of[1].append(line)
    found = [
        _sum(key, *of, told.closed_through if time else None) for key, of in sorted(groups.items())
    ]
    return [*found, _sum(NO_TRADE, *alone, None)] if alone[1] else found


def _sum(key: str, rows: list[Row], lines: list[Line], closed: date | None) -> dict[str, Any]:
    net = [row["net"] for row in rows]
    risks = [row["r"] for row in rows if row["r"] is not None]
    money = {
        name: sum((line.amount for line in lines if line.column == name), ZERO)
        for name in ("fees", "income", "other", "transfers")
    }
    pnl = sum((row["pnl"] for row in rows), ZERO)
    fees = sum((row["fees"] for row in rows), ZERO) - money["fees"]
    days = [row["day"] for row in rows] + [line.day for line in lines]
    return {
        "by": key,
        "trades": len(rows),
        "wins": sum(one > 0 for one in net),
        "pnl": pnl,
        "fees": fees,
        "income": money["income"],
        "other": money["other"],
        "net": pnl - fees + money["income"] + money["other"],
        "transfers": money["transfers"],
        "average": rounded(sum(net, ZERO) / len(net)) if net else None,
        "best": max(net, default=None),
        "worst": min(net, default=None),
        "average_r": rounded(sum(risks, ZERO) / len(risks)) if risks else None,
        "closed": closed is not None and max(days) <= closed,
    }


# --- the curve -----------------------------------------------------------------------------------


def equity_curve(told: Report) -> list[dict[str, Any]]:
    """Return the equity after each closed trade and each other change, and how far below its best.

    A transfer moves the equity and the best alike: it is no profit, and ends no drawdown.
    """
    equity = best = told.opening
    found = []
    for step in sorted([*map(_step_of_trade, told.trades), *map(_step_of_line, told.lines)],
                       key=lambda step: step["order"]):  # fmt: skip
        equity += step["pnl"] + step["transfer"]
        best = max(best + step["transfer"], equity)
        found.append({**step, "equity": equity, "drawdown": equity - best})
    return found


def _step_of_trade(row: Row) -> dict[str, Any]:
    facts = {name: row[name] for name in ("day", "symbol")}
    order = (row["day"], False, row["closed_ns"])
    return {**facts, "at": row["closed_at"], "what": "trade", "pnl": row["net"], "transfer": ZERO,
            "text": row["exit_reason"], "order": order}  # fmt: skip


def _step_of_line(line: Line) -> dict[str, Any]:
    moved = line.column == "transfers"
    return {
        "day": line.day,
        "at": "" if line.at_ns is None else _new_york(line.at_ns).isoformat(),
        "what": line.what,
        "symbol": line.symbol,
        "pnl": ZERO if moved else line.amount,
        "transfer": line.amount if moved else ZERO,
        "text": line.text,
        "order": (line.day, line.at_ns is None, line.at_ns or 0),
    }
