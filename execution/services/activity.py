"""The log that people read: one row per change of state, the same fact to the process log."""

import logging
from collections.abc import Iterable
from typing import Any

from execution.models import Acknowledgement, Activity

logger = logging.getLogger("execution")
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "alarm": logging.ERROR}
TEXT_MAX = 300


def note(
    run_id: str, kind: str, text: str, *, level: str = "info", market_ns: int = 0, **facts: Any
) -> None:
    """Record a change of state.

    Args: kind: a short fixed word (startup, order, trade, exit, round, reconcile, kill, health);
        level: info, warning or alarm; facts: JSON values, never a key or a token.
    """
    logger.log(LEVELS[level], text, extra={"kind": kind, **{f"f_{k}": v for k, v in facts.items()}})
    Activity.objects.create(
        run_id=run_id,
        kind=kind,
        text=text[:TEXT_MAX],
        level=level,
        market_ns=market_ns,
        facts=facts,
    )


def acknowledge(ids: Iterable[int], *, actor: str) -> int:
    """Record that somebody has read these warnings and errors; the first reader counts."""
    rows = Activity.objects.filter(pk__in=list(ids), seen=None).exclude(level="info")
    made = [Acknowledgement(activity=row, actor=actor[:150]) for row in rows]
    Acknowledgement.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)
