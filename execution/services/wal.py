"""SQLite's log: where the time goes that a large commit takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

PAGES = 1_000  # SQLite's own: the commit that makes the log longer folds it into the database


@contextmanager
def folded_later() -> Iterator[None]:
    """Let no commit of this block fold the log; it is as durable, and the next commit folds it."""
    if connection.vendor != "sqlite":
        yield
        return
    _fold_at(0)
    try:
        yield
    finally:
        _fold_at(PAGES)


def _fold_at(pages: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA wal_autocheckpoint={pages}")
