"""The busy trades with all their orders, as one look at the database.

The hub looks many times a second and mostly finds nothing to do. Building these two statements
costs it twenty times what the database takes to answer them, so their text is made once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection

from execution.models import Order, Run, Trade
from execution.services import trades

_ANY_RUN = "a run's name"


@dataclass(frozen=True)
class Seen:
    """A trade and its orders, oldest first, as they were at one moment."""

    trade: Trade
    orders: list[Order]

    @property
    def entry(self) -> Order:
        return next(order for order in self.orders if order.purpose == "e")

    def live(self, purposes: Iterable[str]) -> list[Order]:
        """Return the orders of these purposes that are, or may be, at the venue."""
        return [o for o in self.orders if o.status in trades.LIVE and o.purpose in purposes]


def read(run: Run) -> list[Seen]:
    """Return what `trades.active` returns, in its order, with the orders."""
    sql, params = _active_sql(connection.vendor)
    named = [run.pk if value == _ANY_RUN else value for value in params]
    found = list(Trade.objects.raw(sql, named))
    orders: dict[int, list[Order]] = {trade.pk: [] for trade in found}
    if found:
        marks = ", ".join(["%s"] * len(found))
        sql = f"SELECT * FROM execution_order WHERE trade_id IN ({marks}) ORDER BY id"  # noqa: S608
        for order in Order.objects.raw(sql, list(orders)):
            orders[order.trade_id].append(order)
    return [Seen(trade, orders[trade.pk]) for trade in found]


@cache
def _active_sql(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """Return the text of `trades.active` and its values, for the database in use."""
    sql, params = trades.active(Run(pk=_ANY_RUN)).query.sql_with_params()
    return sql, tuple(params)
