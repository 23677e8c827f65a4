"""A transaction that the database chose as the victim of a deadlock is run once more, whole.

Only what has no effect outside the database may be run again: nothing here talks to the broker.
(Design: reliability row 43.)
"""

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection

P = ParamSpec("P")
T = TypeVar("T")
VICTIM = (1213, 1205)  # MySQL and MariaDB: deadlock, and a lock that was waited for too long
TRIES = 4
PAUSE_S = (0.01, 0.05)  # before another try; at random, so that two do not meet again


def again_on_deadlock(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function that is one transaction; inside another one, that one decides.

    Raises:
        OperationalError: the last try met a deadlock as well, or it is another error.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for left in reversed(range(1 if connection.in_atomic_block else TRIES)):
            try:
                return function(*args, **kwargs)
            except OperationalError as exc:
                if not left or not exc.args or exc.args[0] not in VICTIM:
                    raise
                time.sleep(random.uniform(*PAUSE_S))
        raise AssertionError("the last try returns or raises")

    return run
