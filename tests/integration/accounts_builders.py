"""Builders for the tests of the books, with defaults for what a test does not care about."""

import contextlib
from collections.abc import Callable
from decimal import Decimal

from django.db import transaction

from accounts import services
from accounts.models import Account
from tests.unit.books import DAYS

DAY = DAYS[0]
CASH = Decimal(100_000)


def an_account(run_id: str = "run-1", cash: Decimal = CASH) -> Account:
    return services.open_account(number="PA1", run_id=run_id, cash=cash, session_date=DAY, ts_ns=0)


def record(account: Account, execution_id: str = "e1", **changes) -> services.Recorded:
    """Book 10 AIG bought at 44.73, unless told otherwise."""
    facts = {
        "order_ref": "o1",
        "symbol": "AIG",
        "side": "buy",
        "quantity": 10,
        "price": Decimal("44.73"),
        "ts_ns": 1,
        "session_date": DAY,
    }
    return services.record_fill(account, execution_id=execution_id, **(facts | changes))


def crash_after(write: Callable[[], object]) -> None:
    """Write, then end the transaction as a crash would."""
    with contextlib.suppress(Crash), transaction.atomic():
        write()
        raise Crash


class Crash(Exception):
    pass
