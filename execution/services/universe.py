"""The universe of a day in rows: made once before the open, then read."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.db import transaction

from execution.domain.rounds import SymbolFacts
from execution.domain.universe import Listing
from execution.models import Run, UniverseEntry
from execution.services.runs import update_run

ROWS_AT_ONCE = 2000


def freeze_universe(run: Run, listings: Iterable[Listing]) -> int:
    """Store every listing and what may be entered today; returns how many may.

    A second call replaces the first: the day has one universe.
    """
    rows = [UniverseEntry(run=run, **asdict(one)) for one in listings]
    chosen = sorted(row.symbol for row in rows if row.included)
    with transaction.atomic():
        UniverseEntry.objects.filter(run=run).delete()
        UniverseEntry.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
        update_run(run, universe=chosen)
    return len(chosen)


class Known:
    """What is known of the universe's symbols, held in memory for the day."""

    def __init__(self, run: Run | None = None) -> None:
        self.facts: dict[str, SymbolFacts] = {}
        self.prev_close: dict[str, float] = {}
        self.volume_curve: dict[str, tuple[int, ...]] = {}
        if run is not None:
            self._read(run)

    def _read(self, run: Run) -> None:
        names = ("symbol", "sector", "beta", "prev_close", "volume_curve")
        rows: Any = UniverseEntry.objects.filter(run=run, included=True).values_list(*names)
        for symbol, sector, beta, close, curve in rows.iterator(chunk_size=ROWS_AT_ONCE):
            if sector or beta is not None:
                self.facts[symbol] = SymbolFacts(sector=sector or None, beta=beta)
            if close is not None:
                self.prev_close[symbol] = close
            if curve is not None:
                self.volume_curve[symbol] = tuple(curve)
