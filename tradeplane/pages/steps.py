"""The start-up sequence as people know it: six steps, each with its state, reason and time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tradeplane.pages import figures

#: The six steps and the hub's own that they are made of, in the order in which they run.
STEPS = (
    ("Hub joins the relay", ("lease", "relay")),
    ("Feed opened", ("upstream",)),
    ("Account agrees", ("account", "updates", "clock", "reconcile")),
    ("Letters given out", ("universe",)),
    ("Shards warm", ("shards",)),
    ("Rounds run", ("rounds",)),
)
PARTS = {
    "lease": "lease",
    "relay": "relay",
    "upstream": "feed",
    "account": "account",
    "updates": "order updates",
    "clock": "market clock",
    "reconcile": "books",
    "universe": "universe",
    "shards": "shards",
    "rounds": "rounds",
}
WORDS = {"pending": "Waiting", "running": "Working", "done": "Done", "blocked": "Blocked"}
TOOK_S = (0.05, 3600.0)  # what is worth telling; longer is another start
Row = Mapping[str, Any]


def steps(rows: Sequence[Row], started_at: datetime | None) -> list[dict[str, Any]]:
    """Return the six steps. Args: rows: the hub's own, in order: name, state, reason, at."""
    found, since = [], started_at
    for name, parts in STEPS:
        mine = [row for row in rows if row["name"] in parts]
        if not mine:
            continue
        step = _step(name, mine)
        ended = max(row["at"] for row in mine) if step["state"] == "done" else None
        took = (ended - since).total_seconds() if ended and since else None
        step["took"] = (
            figures.duration(took) if took is not None and TOOK_S[0] <= took < TOOK_S[1] else ""
        )
        since = ended or since
        found.append(step)
    return found


def _step(name: str, mine: list[Row]) -> dict[str, Any]:
    open_row = next((row for row in mine if row["state"] != "done"), None)
    state = "done" if open_row is None else str(open_row["state"])
    if state == "pending" and any(row["state"] == "done" for row in mine):
        state = "running"
    return {
        "name": name,
        "state": state,
        "word": WORDS.get(state, state),
        "reason": _said(mine) if open_row is None else _held(open_row, len(mine)),
    }


def _held(row: Row, parts: int) -> str:
    """Why a step is not done; which part, when it has several."""
    reason = str(row["reason"])
    if parts == 1 or row["state"] == "pending":
        return reason
    part = PARTS.get(str(row["name"]), str(row["name"]))
    return f"{part}: {reason}" if reason else part


def _said(mine: list[Row]) -> str:
    """What the parts of a done step said; addresses are the machine's matter, not the page's."""
    if mine[0]["name"] == "upstream":
        return f"{str(mine[0]['reason']).upper()} feed, one connection".strip()
    if mine[0]["name"] == "lease":
        return f"lease {mine[0]['reason']}, signed in"
    said = [str(row["reason"]) for row in mine if row["reason"] and "://" not in row["reason"]]
    return ", ".join(said)


def said_of(found: list[dict[str, Any]], *, dark: int = 0) -> str:
    """The one sentence over the sequence."""
    if not found:
        return "the hub has not begun"
    blocked = next((row for row in found if row["state"] == "blocked"), None)
    if blocked is not None:
        return f"held at “{blocked['name']}”: {blocked['reason'] or 'no reason yet'}"
    done = sum(row["state"] == "done" for row in found)
    if done < len(found):
        return f"{done} of {len(found)} steps done"
    if dark:
        return f"complete; no entries in {figures.counted(dark, 'letter')}, see the map"
    return "complete"
