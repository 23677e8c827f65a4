"""Round trips: what a trade amounted to, from flat to flat."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from accounts.domain.ledger import Fill, fifo
from accounts.domain.money import from_micros


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """One symbol from flat to flat, USD.

    Quantity is the most shares held at once (negative when short); `realized` is before fees.
    """

    symbol: str
    quantity: int
    opened_ns: int
    closed_ns: int
    day: date  # trading day of the last fill
    bought: Decimal
    sold: Decimal
    realized: Decimal
    fees: Decimal
    execution_ids: tuple[str, ...]

    @property
    def net(self) -> Decimal:
        return self.realized - self.fees


def round_trips_of(fills: Iterable[Fill]) -> list[RoundTrip]:
    """Cut one symbol's fills wherever the position is flat; an open rest is left out.

    A fill that turns a position over belongs to the trip that is flat only after it.
    """
    trips: list[RoundTrip] = []
    trip: list[Fill] = []
    held = 0
    for fill in sorted(fills, key=lambda fill: (fill.ts_ns, fill.execution_id)):
        trip.append(fill)
        held += fill.quantity
        if held == 0:
            trips.append(_round_trip(trip))
            trip = []
    return trips


def _round_trip(fills: list[Fill]) -> RoundTrip:
    held, most = 0, 0
    for fill in fills:
        held += fill.quantity
        most = max(most, held, key=abs)
    return RoundTrip(
        symbol=fills[0].symbol,
        quantity=most,
        opened_ns=fills[0].ts_ns,
        closed_ns=fills[-1].ts_ns,
        day=fills[-1].day,
        bought=from_micros(sum(fill.value for fill in fills if fill.quantity > 0)),
        sold=from_micros(-sum(fill.value for fill in fills if fill.quantity < 0)),
        realized=from_micros(sum(match.realized for match in fifo(fills).matches)),
        fees=from_micros(sum(fill.fee for fill in fills)),
        execution_ids=tuple(fill.execution_id for fill in fills),
    )
