"""How often a caller may ask, counted in Redis for all web processes together.

Neither open nor closed when Redis is away: each process then counts for itself, so that nobody is
locked out of the kill switch and nobody is unlimited. Fixed windows of a minute.
"""

import time
from collections.abc import Callable

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from ninja.errors import Throttled
from ninja.throttling import BaseThrottle
from redis.exceptions import RedisError

WINDOW_S = 60
AVOID_REDIS_S = 5.0  # after a failure, so that a dead server does not slow every request

_avoid_until = 0.0


class Throttle(BaseThrottle):
    """One allowance of `settings.API_RATES` per caller; state lives in the cache, not in here."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._clock = clock

    def allow_request(self, request: HttpRequest) -> bool:
        caller = getattr(request, "auth", None)
        return self._allows(caller.ident if caller is not None else address_of(request))

    def wait(self) -> float:
        return WINDOW_S - self._clock() % WINDOW_S

    def _allows(self, ident: str) -> bool:
        window = int(self._clock()) // WINDOW_S
        return _hit(f"api:{self.name}:{ident}:{window}") <= settings.API_RATES[self.name]


ANONYMOUS = Throttle("anonymous")


def count_refused(request: HttpRequest) -> None:
    """Count a caller without a valid key or sign-in.

    Raises:
        Throttled: it was too often; a valid key from the same address is not concerned.
    """
    if not ANONYMOUS.allow_request(request):
        raise Throttled(int(ANONYMOUS.wait()))


def address_of(request: HttpRequest) -> str:
    """The peer's address as the server gives it: a header of the caller's own does not count."""
    return f"ip:{request.META.get('REMOTE_ADDR') or 'unknown'}"


def _hit(key: str) -> int:
    """Count one more and return how many; by Redis, else by this process."""
    global _avoid_until
    now = time.monotonic()
    if now >= _avoid_until:
        try:
            return _counted("default", key)
        except (RedisError, OSError):
            _avoid_until = now + AVOID_REDIS_S
    return _counted("local", key)


def _counted(alias: str, key: str) -> int:
    cache = caches[alias]
    cache.add(key, 0, WINDOW_S * 2)
    try:
        return cache.incr(key)
    except ValueError:  # it expired in between
        return 1
