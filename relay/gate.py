"""Limits on who may knock, and how fast anybody may talk. Pure: times are arguments."""

from collections import Counter, OrderedDict

ADDRESSES_MAX = 10_000  # remembered at once; the oldest are forgotten


class Bucket:
    """A token bucket: `burst` at once, `per_second` on average."""

    def __init__(self, *, burst: float, per_second: float, now_s: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._left, self._at_s = burst, now_s

    def take(self, amount: float, *, now_s: float) -> bool:
        """Say whether `amount` is still within the limit."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._left < amount:
            return False
        self._left -= amount
        return True


class Gate:
    """Counts connections that have not authenticated yet.

    Args:
        pending_max, pending_per_address_max: at one time.
        burst, per_second: new connections of one address.
    """

    def __init__(
        self,
        *,
        pending_max: int = 64,
        pending_per_address_max: int = 40,
        burst: float = 80,
        per_second: float = 8,
    ) -> None:
        self._pending_max = pending_max
        self._pending_per_address_max = pending_per_address_max
        self._burst, self._per_second = burst, per_second
        self._pending: Counter[str] = Counter()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    @property
    def pending(self) -> int:
        return self._pending.total()

    def admit(self, address: str, *, now_s: float) -> bool:
        """Say whether a new connection may knock; when so, it is pending until `leave`."""
        bucket = self._buckets.pop(address, None) or Bucket(
            burst=self._burst, per_second=self._per_second, now_s=now_s
        )
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        if self.pending >= self._pending_max:
            return False
        if self._pending[address] >= self._pending_per_address_max:
            return False
        if not bucket.take(1, now_s=now_s):
            return False
        self._pending[address] += 1
        return True

    def leave(self, address: str) -> None:
        """The connection has authenticated, or is gone."""
        self._pending[address] -= 1
        if self._pending[address] <= 0:
            del self._pending[address]
