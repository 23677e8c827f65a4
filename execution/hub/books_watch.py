"""What is done each minute beside the hub's work, in a thread with a connection of its own.

The books are checked, a day that is over is closed in them when they hold and the broker agrees;
outside the session, records that are too old are deleted.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, close_old_connections, connections

from execution.models import Run
from execution.services import activity, days, figures, retention
from signals import selectors

logger = logging.getLogger(__name__)
EVERY_S = 60.0
TIDY_EVERY = 60  # looks


class BooksWatch:
    """Args: run: asked each time; None while the hub has no run yet; agreed_ns: market time of the
    last comparison with the broker, None when they differed then."""

    def __init__(
        self,
        run: Callable[[], Run | None],
        *,
        agreed_ns: Callable[[], int | None] = lambda: None,
        every_s: float = EVERY_S,
    ) -> None:
        self._run, self._agreed_ns = run, agreed_ns
        self._every_s = every_s
        self._stopping = threading.Event()
        self._was_ok = True
        self._rest = 0  # looks until the next tidying
        self._thread = threading.Thread(target=self._loop, name="hub-books", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def look(self) -> None:
        """Check once; a difference is an alarm when it appears, not each minute."""
        run = self._run()
        if run is None:
            return
        figure = figures.check_books(run)
        if self._was_ok and not figure.ok:
            first = figure.body["first"][0]
            activity.note(run.pk, "reconcile", f"check of the books: {first}", level="alarm")
        self._was_ok = figure.ok
        fresh = Run.objects.get(pk=run.pk)
        days.close_when_over(fresh, agreed_ns=self._agreed_ns(), books_hold=figure.ok)

    def tidy(self) -> None:
        """Outside the session, delete decision records that are older than people want to keep.

        Each hour, and each minute as long as there is more.
        """
        self._rest -= 1
        if self._rest > 0:
            return
        mine = self._run()
        run = None if mine is None else Run.objects.filter(pk=mine.pk).first()
        if run is None or not retention.is_quiet(run):
            return
        _, active = selectors.active_parameters()
        days: Any = active["decision_retention_days"]
        gone = retention.prune(now=datetime.now(UTC), days=days)
        self._rest = 0 if gone else TIDY_EVERY

    def _loop(self) -> None:
        while not self._stopping.wait(self._every_s):
            close_old_connections()
            try:
                self.look()
                self.tidy()
            except DatabaseError as exc:
                logger.warning("the books were not checked", extra={"error": str(exc)})
        connections.close_all()
