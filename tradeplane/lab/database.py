"""A database of the laboratory's own: empty, in memory, gone at the end, seen by this thread only.

The hub's services write runs, rounds, orders and books; the laboratory lets them, beside the
operator's database and without a trace in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper

APPS = ("signals", "accounts", "execution")


@contextmanager
def own_database() -> Iterator[None]:
    """Let the default database be an empty one in memory for this thread, to the block's end."""
    before = connections[DEFAULT_DB_ALIAS]
    told = {
        **before.settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {},
        "CONN_HEALTH_CHECKS": False,
        "CONN_MAX_AGE": None,
    }
    own = DatabaseWrapper(told, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = own
    try:
        _make_tables(own)
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = before
        BaseDatabaseWrapper.close(own)  # the backend's own keeps one in memory open


def _make_tables(own: DatabaseWrapper) -> None:
    with own.schema_editor() as editor:
        for app in APPS:
            for model in apps.get_app_config(app).get_models():
                editor.create_model(model)
