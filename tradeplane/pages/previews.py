"""A preview told to people: what would have fired, what would not, and how sure that is."""

from typing import Any

from django.urls import reverse

from execution.services.preview import Change, Preview, preview
from signals.session import BUCKET_NS
from tradeplane.pages import figures
from tradeplane.pages.flips import TAGS, trials_said

MINUTES = 30

__all__ = ["MINUTES", "preview", "told"]


def told(found: Preview, trials: int) -> dict[str, Any]:
    """Return a preview as the parameters page shows it. Args: trials: sets tried so far."""
    return {
        "badge": found.honesty.badge,
        "tag": TAGS.get(found.honesty.badge, "warn"),
        "note": f"{_note(found)} {trials_said(trials)}" if trials else _note(found),
        "headline": _headline(found),
        "changes": [_line(one, "would fire") for one in found.gained]
        + [_line(one, "would not fire") for one in found.lost],
    }


def _headline(found: Preview) -> str:
    if found.honesty.refused:
        return "This change has no preview."
    seen = figures.counted(found.rounds, "round")
    if not found.rounds:
        return f"No round of the last {found.minutes} minutes had a candidate."
    times = "1 entry" if found.fired == 1 else f"{found.fired or 'No'} entries"
    return (
        f"{times} in {seen} with candidates, instead of {found.fired_before}: "
        f"{len(found.gained)} more, {len(found.lost)} fewer."
    )


def _note(found: Preview) -> str:
    words = [found.honesty.note]
    if found.unknown:
        words.append(
            f"{figures.counted(found.unknown, 'candidate')} took no part: the buckets are gone."
        )
    if found.short:
        words.append("There were too many candidates: only the newest rounds were looked at.")
    if any(not one.exact for one in (*found.gained, *found.lost)):
        words.append(
            "After the first difference the slots and cool-downs would be others: those marked "
            "\u201cabout\u201d are judged by the account as it really was."
        )
    return " ".join(words)


def _line(one: Change, word: str) -> dict[str, str]:
    return {
        "at": figures.clock((one.k + 1) * BUCKET_NS),
        "symbol": one.symbol,
        "word": word if one.exact else f"{word}, about",
        "why": one.was if word == "would fire" else one.would,
        "score": figures.number(one.score, 1),
        "url": reverse("decision", args=(one.decision_id,)) if one.decision_id else "",
    }
