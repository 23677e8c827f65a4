"""Orders of the venue: the row, its life cycle as one closed table, and bracket groups."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Side = Literal["buy", "sell"]


class Status(StrEnum):
    ACCEPTED = "accepted"
    HELD = "held"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"


class Event(StrEnum):
    """The venue's words on `trade_updates`."""

    NEW = "new"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"


_ENDS = {
    Event.CANCELED: Status.CANCELED,
    Event.EXPIRED: Status.EXPIRED,
    Event.REPLACED: Status.REPLACED,
}
_FILLS = {Event.PARTIAL_FILL: Status.PARTIALLY_FILLED, Event.FILL: Status.FILLED}
TRANSITIONS: dict[Status, dict[Event, Status]] = {
    Status.ACCEPTED: {Event.NEW: Status.NEW, Event.REJECTED: Status.REJECTED, **_ENDS},
    Status.HELD: {Event.NEW: Status.NEW, Event.REJECTED: Status.REJECTED, **_FILLS, **_ENDS},
    Status.NEW: {**_FILLS, **_ENDS},
    Status.PARTIALLY_FILLED: {**_FILLS, **_ENDS},
}


class IllegalTransition(Exception):
    """The engine asked an order for a step its life cycle does not have: a defect."""


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """A parsed order body. Prices USD, quantity whole shares, `client_order_id` "" = make one."""

    symbol: str
    side: Side
    quantity: int
    type: str = "market"
    time_in_force: str = "day"
    limit: Decimal | None = None
    stop: Decimal | None = None
    order_class: str = ""
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    extended_hours: bool = False
    client_order_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A parsed replace body; None leaves the field as it is."""

    quantity: int | None = None
    limit: Decimal | None = None
    stop: Decimal | None = None
    time_in_force: str | None = None
    client_order_id: str = ""


@dataclass(eq=False, kw_only=True)
class VenueOrder:
    """One order. A request in flight is a time, so a refused one has nothing to undo."""

    number: int  # creation number: the last word in every tie
    id: str
    client_order_id: str
    symbol: str
    side: Side
    type: str
    time_in_force: str
    quantity: int
    limit: Decimal | None
    stop: Decimal | None
    order_class: str
    created_ns: int
    updated_ns: int
    status: Status = Status.ACCEPTED
    extended_hours: bool = False
    filled: int = 0
    filled_value: Decimal = Decimal(0)
    armed: bool = False  # the matcher looks at it
    elected: bool = False  # a stop whose price was reached
    opening: bool = False  # holds buying power; otherwise it holds shares of the position
    hold_price: Decimal = Decimal(0)  # USD per share held against buying power
    closes_position: bool = False  # never sells more than is there when it arrives
    replaces: str | None = None
    replaced_by: str | None = None
    replacement: "VenueOrder | None" = None  # asked for, not arrived
    on_its_way: bool = False  # a replacement that has not arrived: the replaced order holds for it
    cancel_requested_ns: int | None = None
    filled_ns: int | None = None
    canceled_ns: int | None = None
    expired_ns: int | None = None
    replaced_ns: int | None = None
    failed_ns: int | None = None
    group: "Group | None" = field(default=None, repr=False)

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in TRANSITIONS

    @property
    def is_buy(self) -> bool:
        return self.side == "buy"

    @property
    def is_simple(self) -> bool:
        return self.group is None

    @property
    def waits_for_print(self) -> bool:
        """Say whether this is a stop that has not been elected."""
        return self.type in ("stop", "stop_limit") and not self.elected

    @property
    def bound(self) -> Decimal | None:
        """Return the worst price it may trade at once it may trade, USD; None for any.

        A buy stop becomes a limit 4 % (below $50) or 2.5 % above its stop (alpaca.md 3.3).
        """
        if self.type == "stop" and self.is_buy and self.stop is not None:
            return self.stop * (Decimal("1.04") if self.stop < 50 else Decimal("1.025"))
        return self.limit

    @property
    def shown_status(self) -> str:
        """Return the venue's word, requests in flight included."""
        if self.is_open and self.cancel_requested_ns is not None:
            return "pending_cancel"
        if self.is_open and self.replacement is not None:
            return "pending_replace"
        return self.status.value

    @property
    def average_price(self) -> Decimal | None:
        return self.filled_value / self.filled if self.filled else None

    def apply(self, event: Event, ts_ns: int) -> None:
        """Take one step of the life cycle.

        Raises:
            IllegalTransition: the table has no such step.
        """
        try:
            self.status = TRANSITIONS[self.status][event]
        except KeyError:
            raise IllegalTransition(f"{event} for an order that is {self.status}") from None
        self.updated_ns = ts_ns
        column = _TIMES.get(event)
        if column is not None:
            setattr(self, column, ts_ns)
        if not self.is_open:
            self.armed = False


_TIMES = {
    Event.FILL: "filled_ns",
    Event.CANCELED: "canceled_ns",
    Event.EXPIRED: "expired_ns",
    Event.REPLACED: "replaced_ns",
    Event.REJECTED: "failed_ns",
}


@dataclass(eq=False)
class Group:
    """Orders that live and die together: bracket and OTO (entry and exits), OCO (exits only)."""

    entry: VenueOrder | None
    exits: list[VenueOrder]
    entered: int = 0  # shares the entry, with all it replaced, has bought (or sold short)

    @property
    def parent(self) -> VenueOrder:
        """Return the order the others are nested under: the entry, in an OCO the take-profit."""
        return self.entry if self.entry is not None else self.exits[0]

    @property
    def members(self) -> list[VenueOrder]:
        return ([self.entry] if self.entry is not None else []) + self.exits

    def legs_of(self, order: VenueOrder) -> list[VenueOrder]:
        if order is not self.parent:
            return []
        return self.exits if self.entry is not None else self.exits[1:]

    def substitute(self, old: VenueOrder, new: VenueOrder) -> None:
        """Put the replacing order where the replaced one stood."""
        new.group = self
        if self.entry is old:
            self.entry = new
        else:
            self.exits = [new if order is old else order for order in self.exits]
