"""How large the gap of an index's averages usually is: its deviation over the last five sessions.

Only the run's own earlier days count. A tape has none, so it gives the same trend wherever it runs;
the scale is then that of a driftless walk (`signals.confidence.proxy`).
Source: design, trigger 4.2.
"""

from collections.abc import Iterable
from itertools import groupby

from django.db.models import F

from execution.models import Round, Run
from signals.confidence.index import MINUTE
from signals.confidence.proxy import LEGS, gap_scale
from signals.session import BUCKET_NS

SESSIONS = 5
DAY_K = 24 * 3600 * 1_000_000_000 // BUCKET_NS
LOOK_BACK_DAYS = 10  # five sessions, a weekend or two, a holiday


def gap_scales(run: Run) -> dict[str, float]:
    """Return the scale in bps of each leg whose five last sessions are known."""
    open_k = run.open_ns // BUCKET_NS
    rows = (
        Round.objects.filter(run=run, k__gte=open_k - LOOK_BACK_DAYS * DAY_K, k__lt=open_k)
        .annotate(past=(F("k") + 1) % MINUTE)
        .filter(past=0)
        .order_by("k")
        .values_list("k", "index")
    )
    minutes = list(rows)
    found = {symbol: gap_scale(_sessions(minutes, symbol)) for symbol in LEGS}
    return {symbol: scale for symbol, scale in found.items() if scale is not None}


def _sessions(
    minutes: Iterable[tuple[int, dict[str, tuple[float, float | None, int]]]], symbol: str
) -> list[list[list[float]]]:
    """Return the closes of the newest sessions, each in pieces without a missing minute."""
    closes = [(k, index[symbol][0]) for k, index in minutes if symbol in index]
    days = [list(rows) for _, rows in groupby(closes, key=lambda row: row[0] // DAY_K)]
    return [_pieces(rows) for rows in days[-SESSIONS:]] if len(days) >= SESSIONS else []


def _pieces(rows: list[tuple[int, float]]) -> list[list[float]]:
    pieces: list[list[float]] = []
    last_k = None
    for k, close in rows:
        if last_k is None or k != last_k + MINUTE:
            pieces.append([])
        pieces[-1].append(close)
        last_k = k
    return pieces
