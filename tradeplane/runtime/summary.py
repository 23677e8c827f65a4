"""A run's summary for people, and what in it means failure."""

from collections.abc import Mapping
from typing import Any

SHA256_HEX = 64


def as_table(summary: Mapping[str, Any]) -> str:
    """Return the summary as aligned lines; lists and hashes are shortened."""
    width = max(len(key) for key in summary)
    return "\n".join(f"{key:<{width}}  {_shown(value)}" for key, value in summary.items())


def verdict(summary: Mapping[str, Any]) -> str:
    """Return the one line that says why the run counts as failed, "" when it does not."""
    broken = (summary.get("invariants") or {}).get("broken") or []
    problems = [str(item) for item in broken]
    if summary.get("books_ok") is False:
        problems.append("the books do not balance (manage.py check_books says where)")
    return f"the run ended, but: {'; '.join(problems)}" if problems else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list):
        rows = bool(value) and isinstance(value[0], Mapping)
        return str(len(value)) if rows else ", ".join(map(str, value)) or "–"
    text = str(value)
    return f"{text[:12]}…" if len(text) == SHA256_HEX else text
