"""Tables of the docs made from the code that they describe; a test holds the page to them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from execution import failpoints
from execution.domain import orders
from execution.domain.limits import DenyCode
from execution.venue import faults


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fault_table() -> str:
    """Return what a fault plan may ask for."""
    parts = (
        ("a request", faults.REQUEST_FAULTS),
        ("the stream", faults.STREAM_FAULTS),
        ("the venue", faults.VENUE_FAULTS),
    )
    rows = [(f"`{name}`", where, text) for where, of in parts for name, text in of.items()]
    return table(("`do`", "happens to", "what"), rows)


def limit_table() -> str:
    """Return our reasons not to send an entry, in the order they are asked."""
    return table(("code", "denied when"), [(f"`{code}`", code.means) for code in DenyCode])


def diagram(table_: Mapping[Any, Mapping[Any, Any]], ended: Iterable[Any]) -> str:
    """Return a life cycle as a Mermaid diagram; events that change nothing are left out."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, moves in table_.items():
        for event, after in moves.items():
            if after != state:
                arrows.setdefault((str(state), str(after)), []).append(str(event))
    lines = [f"  {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    ends = [f"  {state} --> [*]" for state in sorted(map(str, ended))]
    first = next(iter(table_))
    return "\n".join(["```mermaid", "stateDiagram-v2", f"  [*] --> {first}", *lines, *ends, "```"])


def order_diagram() -> str:
    return diagram(orders.TRANSITIONS, orders.TERMINAL)


def trade_diagram() -> str:
    return diagram(orders.TRADE_TRANSITIONS, orders.TRADE_ENDED)


def crash_points() -> str:
    """Return the places where a hub may die, in the order of an order's life."""
    return ", ".join(f"`{name}`" for name in failpoints.POINTS)


PARTS: Mapping[str, Callable[[], str]] = {
    "faults": fault_table,
    "limits": limit_table,
    "orders": order_diagram,
    "trades": trade_diagram,
    "points": crash_points,
}


def filled(page: str) -> str:
    """Return a page with every part between its marks made anew.

    Raises:
        KeyError: the page marks a part that does not exist.
    """
    marks = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
    return marks.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", page)
