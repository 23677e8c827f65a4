"""A database in memory for simulated days, and the connection to it that may break."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import OperationalError, connections

#: What only undoes or keeps what was done; a broken connection has forgotten it anyway.
ALWAYS = ("ROLLBACK", "RELEASE", "SAVEPOINT")


@contextmanager
def in_memory() -> Iterator[None]:
    """Point this thread at an empty database of its own: nothing real is touched."""
    settings = connections.settings["default"]
    before = dict(settings)
    _let_go()
    settings |= {"NAME": ":memory:", "ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}}
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        _let_go()
        settings |= before


def _let_go() -> None:
    connections["default"].close()
    del connections["default"]


class Line:
    """The hub's connection: it fails until a time of the virtual clock, once it was cut.

    `cut` breaks it at a query, `cut_behind_commit` when a transaction is through and nobody was
    told so.
    """

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._queries_left = -1
        self._back_ns: int | None = None
        self._failed = False
        self._why, self._until_ns = "", 0
        self._commits_left, self._commit_until_ns = -1, 0

    def cut(self, why: str, *, after: int, back_ns: int) -> None:
        """Args:
        why: counted when it is found out; after: how many queries go well before; back_ns: until
        then nothing goes.
        """
        self._why, self._queries_left, self._until_ns = why, after, back_ns

    def cut_behind_commit(self, *, after: int, back_ns: int) -> None:
        """Args: after: how many commits are answered before; back_ns: until then nothing goes."""
        self._commits_left, self._commit_until_ns = after, back_ns

    def heal(self) -> None:
        self._queries_left, self._commits_left, self._back_ns = -1, -1, None

    def committed(self) -> None:
        """Answer a commit of the hub, or not.

        Raises:
            OperationalError: it is done, and the connection is gone before it could say so.
        """
        self._commits_left -= 1
        if self._commits_left == -1:  # far below it: nobody cut
            self._back_ns, self._failed = self._commit_until_ns, True
            self._count("commit unanswered")
            raise OperationalError("the connection is gone")

    def ask(self, sql: str, now_ns: int) -> None:
        """Let a query of the hub pass.

        Raises:
            OperationalError: the connection is gone; at least one query finds out.
        """
        if sql.startswith(ALWAYS):
            return
        if self._queries_left == 0:
            self._queries_left, self._back_ns, self._failed = -1, self._until_ns, False
            self._count(self._why)
        elif self._queries_left > 0:
            self._queries_left -= 1
        if self._back_ns is None:
            return
        if self._failed and now_ns >= self._back_ns:
            self._back_ns = None
            return
        self._failed = True
        raise OperationalError("the connection is gone")


@contextmanager
def commits(line: Line, is_hub: Callable[[], bool]) -> Iterator[None]:
    """Let `line` decide whether the hub hears that its transaction is through."""
    wrapper: Any = connections["default"]
    commit = wrapper._commit

    def committed() -> None:
        commit()
        if is_hub():
            line.committed()

    wrapper._commit = committed
    try:
        yield
    finally:
        del wrapper._commit


def passes(line: Line, is_hub: Callable[[], bool], now_ns: Callable[[], int]) -> Any:
    """Return a wrapper of the connection that lets `line` decide about the hub's queries."""

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if is_hub():
            line.ask(sql, now_ns())
        return execute(sql, params, many, context)

    return wrapper
