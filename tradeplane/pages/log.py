"""Lines of the log: a word for the kind or the level, one sentence, and who has seen it."""

from typing import Any

from execution.models import Activity
from tradeplane.pages import figures

NEWEST = 12
TONES = {"warning": "warn", "alarm": "bad", "error": "bad"}
WORDS = {"warning": "Warning", "alarm": "Error", "error": "Error"}
GOOD_KINDS = ("trade", "order")


def line(row: Activity) -> dict[str, Any]:
    """Return a row as the log shows it."""
    tone = TONES.get(row.level) or ("good" if row.kind in GOOD_KINDS else "info")
    return {
        "id": row.pk,
        "at": _at(row),
        "kind": row.kind.capitalize(),
        "word": WORDS.get(row.level, row.kind.capitalize()),
        "tone": tone,
        "text": row.text,
    }


def _at(row: Activity) -> str:
    """Market time; on a tape the process clock would only confuse."""
    if row.market_ns:
        return figures.time_of(row.market_ns)
    return "start" if row.run_id.startswith("tape-") else figures.wall(row.at)[:8]


def full(row: Activity) -> dict[str, Any]:
    """Return a line with its facts and its reader."""
    seen = getattr(row, "seen", None)
    return {
        **line(row),
        "wall": figures.wall(row.at),
        "facts": [(figures.words(name), value) for name, value in row.facts.items()],
        "problem": row.level in TONES,
        "seen": f"{seen.actor}, {figures.wall(seen.at)}" if seen else "",
    }


def levels(counts: dict[str, int], chosen: str) -> list[dict[str, Any]]:
    """Return the filter by level with how many lines each has."""
    total = sum(n for level, n in counts.items() if level != "unread")
    rows = (
        ("", "All", total),
        ("warnings", "Warnings", counts.get("warning", 0)),
        ("errors", "Errors", counts.get("alarm", 0) + counts.get("error", 0)),
        ("unread", "Not acknowledged", counts.get("unread", 0)),
    )
    return [{"key": k, "word": w, "n": n, "on": k == chosen} for k, w, n in rows]
