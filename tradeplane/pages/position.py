"""The open position: price between stop and target, its result, and whether it is protected."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from execution.domain.trade_figures import in_r
from execution.models import Run, Trade
from execution.sides import planned_stop, sides_of
from tradeplane.pages import figures

#: Last traded price of a symbol, None when nobody knows.
Marks = Callable[[str], Decimal | None]
HUNDRED = Decimal(100)
SECOND_NS = 1_000_000_000
ENDS = {"target": "Target reached", "stop": "Stopped out", "": "Closed"}
STATES = {
    "reserved": "Order about to go",
    "submitted": "Order sent",
    "entry_unknown": "Order sent, no answer yet",
    "partial": "Partly filled",
    "unprotected": "Not protected",
    "exiting": "Leaving",
}


def describe(trade: Trade, mark: Decimal | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trade as the position panel shows it; before a fill the limit stands for it."""
    filled = trade.filled_quantity
    entry = trade.entry_value / filled if filled else trade.limit
    held = trade.held if filled else trade.quantity
    pnl = open_result(trade, mark)
    hold = int(parameters.get("max_hold_minutes", 0) or 0)
    return {
        "pk": trade.pk,
        "symbol": trade.symbol,
        "quantity": f"{held:,}",
        "filled": bool(filled),
        "state": STATES.get(trade.state, figures.words(trade.state).capitalize()),
        "entry": figures.price(entry),
        "stop": figures.price(trade.stop_loss),
        "target": figures.price(trade.take_profit),
        "stop_percent": figures.percent(HUNDRED * (trade.stop_loss / entry - 1)),
        "target_percent": figures.percent(HUNDRED * (trade.take_profit / entry - 1)),
        "now": figures.price(mark),
        "pnl": figures.money(pnl),
        "tone": figures.tone(pnl),
        "move": _move(entry, mark, trade),
        **_places(trade, entry, mark),
        "opened_ms": (trade.opened_ns or 0) // 1_000_000,
        "opened": figures.clock(trade.opened_ns),
        "hold": f"of {hold} min" if hold else "",
        "planned_loss": figures.money(-(entry - planned_stop(trade)) * held),
        "value": figures.money(None if mark is None else mark * held, signed=False),
        "protected": trade.protected_ns is not None and trade.naked_since_ns is None,
        "protected_at": figures.clock(trade.protected_ns),
        "naked_since": figures.clock(trade.naked_since_ns),
        "k": trade.k,
        "candidate_id": trade.candidate_id,
    }


def open_result(trade: Trade, mark: Decimal | None) -> Decimal | None:
    """Return what the trade stands at, USD: the part already sold and the rest at the mark."""
    if not trade.filled_quantity:
        return Decimal(0)
    if mark is None:
        return None
    return trade.exit_value + trade.held * mark - trade.entry_value


def _move(entry: Decimal, mark: Decimal | None, trade: Trade) -> str:
    """`▲ +1.15 % · +0.61 R`: R is the planned loss per share."""
    if mark is None or not trade.filled_quantity:
        return ""
    change, r = mark - entry, in_r(mark - entry, entry - planned_stop(trade))
    moved = f"{figures.arrow(change)} {figures.percent(HUNDRED * change / entry)}"
    return moved if r is None else f"{moved} · {_r(r)}"


def _r(value: Decimal | None) -> str:
    return figures.MISSING if value is None else f"{figures.number(value, 2, signed=True)} R"


def _places(trade: Trade, entry: Decimal, mark: Decimal | None) -> dict[str, str]:
    """Where entry and price stand between stop (0) and target (100), in percent."""
    span = trade.take_profit - trade.stop_loss

    def at(value: Decimal) -> Decimal:
        share = HUNDRED * (value - trade.stop_loss) / span if span > 0 else Decimal(0)
        return min(HUNDRED, max(Decimal(0), share))

    start = at(entry)
    now = at(mark) if mark is not None else start
    return {
        "entry_at": f"{start:.1f}",
        "now_at": f"{min(Decimal(93), max(Decimal(7), now)):.1f}",
        "gain_from": f"{min(start, now):.1f}",
        "gain_width": f"{max(Decimal(0), now - start):.1f}",
        "room_width": f"{HUNDRED - max(start, now):.1f}",
    }


def closed(trade: Trade) -> dict[str, Any]:
    """Return one line of the day's closed trades."""
    sides = sides_of(trade)
    n, entry, cover = sides.entry.quantity, sides.entry.average, sides.cover
    risk = n * (entry - planned_stop(trade)) if entry is not None else Decimal(0)
    pnl = trade.realized_pnl
    held_s = ((trade.closed_ns or 0) - (trade.opened_ns or 0)) / SECOND_NS
    return {
        "pk": trade.pk,
        "at": figures.time_of(trade.closed_ns),
        "symbol": trade.symbol,
        "quantity": f"{n:,}",
        "entry": figures.price(entry),
        "exit": figures.price(sides.exit.average),
        "held": figures.duration(held_s) if trade.opened_ns else figures.MISSING,
        "why": ENDS.get(trade.exit_reason, figures.words(trade.exit_reason).capitalize())
        + (f", {cover.quantity:,} bought back" if cover.quantity else ""),
        "pnl": figures.money(pnl),
        "tone": figures.tone(pnl),
        "in_r": _r(in_r(pnl, risk)),
    }


def day_result(
    run: Run, realized: Decimal, trades: list[Trade], mark: Marks
) -> tuple[Decimal, bool]:
    """Return (result of the day with open trades at their marks, are all of them known)."""
    results = [open_result(trade, mark(trade.symbol)) for trade in trades]
    known = [result for result in results if result is not None]
    return realized + sum(known, Decimal(0)), len(known) == len(results)
