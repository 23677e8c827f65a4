"""What execution needs from a broker, as a Protocol; another platform is one more file here.

Money and prices are `Decimal`, quantities `Shares`, times UTC epoch ns. Three outcomes only:
a call returns (confirmed), raises `Refused` (the broker or the absence of a connection said no:
nothing was placed) or raises `OutcomeUnknown` (look it up; never send again blindly).

We trade whole shares. People may own fractions in the same account: those are carried exactly, so
that they are seen and compared, and are nothing of ours: none is sent, adopted or booked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

#: Whole shares are an int; a Decimal has a fraction of a share, and is not ours.
Shares = int | Decimal


def is_whole(shares: Shares | None) -> TypeGuard[int]:
    """Is this a number of whole shares?"""
    return isinstance(shares, int)


class BrokerError(Exception):
    """Root of what a broker call may raise.

    BrokerError
    ├── Refused           the broker refused, or the request certainly never left
    │   └── NameTaken     … because the name is that of another order
    └── OutcomeUnknown    timeout, reset, 5xx, unreadable answer: it may or may not have happened
    """


class Refused(BrokerError):
    def __init__(self, message: str, *, status: int = 0, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NameTaken(Refused):
    """Our name belongs to an order with other facts: somebody else writes orders as we do."""


class OutcomeUnknown(BrokerError):
    pass


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, kw_only=True)
class AccountSnapshot:
    number: str
    status: str  # "ACTIVE" when it may trade
    cash: Decimal
    equity: Decimal
    last_equity: Decimal
    buying_power: Decimal
    trading_blocked: bool
    account_blocked: bool
    suspended_by_user: bool


@dataclass(frozen=True, kw_only=True)
class BrokerPosition:
    symbol: str
    quantity: Shares  # signed
    available: Shares
    average_price: Decimal
    market_value: Decimal
    current_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class BrokerOrder:
    id: str
    client_order_id: str
    symbol: str
    side: Side
    type: str
    order_class: str  # "" | "bracket" | "oco" | "oto"
    status: str  # the venue's word
    quantity: Shares
    filled_quantity: Shares
    average_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    time_in_force: str
    replaces: str | None = None
    replaced_by: str | None = None
    created_ns: int = 0
    updated_ns: int = 0
    legs: tuple["BrokerOrder", ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class TradeUpdate:
    """One `trade_updates` event, or a fill activity in the same shape."""

    event: str  # new, fill, partial_fill, canceled, expired, rejected, replaced, …
    order: BrokerOrder
    ts_ns: int
    execution_id: str | None = None
    price: Decimal | None = None
    quantity: Shares | None = None
    position_quantity: Shares | None = None
    previous_id: str | None = None  # the execution that a bust or a correction takes back
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class FillActivity:
    execution_id: str
    order_id: str
    symbol: str
    side: Side
    quantity: Shares
    price: Decimal
    ts_ns: int
    kind: str = "fill"  # fill, bust (never happened), correct (replaces `previous_id`)
    previous_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class CashActivity:
    """Something that happened to the account without an order: a dividend, a fee, a split …

    Args: kind: the broker's word; amount: cash, signed; shares: signed, 0 for none; day: the New
        York day that it belongs to; ts_ns: when it was entered, the beginning of its day when the
        broker knows no more than that.
    """

    activity_id: str
    kind: str
    symbol: str
    amount: Decimal
    shares: Decimal
    day: date
    ts_ns: int
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class MarketClock:
    ts_ns: int
    is_open: bool
    next_open_ns: int
    next_close_ns: int


@dataclass(frozen=True, kw_only=True)
class TradingDay:
    day: date
    open_ns: int
    close_ns: int


@dataclass(frozen=True, kw_only=True)
class BrokerAsset:
    symbol: str
    name: str
    exchange: str
    tradable: bool
    status: str
    shortable: bool
    fractionable: bool
    attributes: tuple[str, ...] = ()


#: Takes ("stream", "up" | "down"), ("update", TradeUpdate) or ("bad_update", what was unreadable).
Post = Callable[[str, Any], None]


class Updates(Protocol):
    """The account's own news as they happen; nothing of a gap comes later, so a gap is asked about.

    "up" is posted when news come from now on, "down" when they do not any more; updates come in the
    broker's order. Posts may come from a thread of the stream's own.
    """

    def start(self) -> None: ...
    def stop(self) -> None:
        """End it; nothing is posted afterwards but "down"."""
        ...

    def restart(self) -> None:
        """Drop the connection and make a new one: it did not bring what happened."""
        ...


class Broker(Protocol):
    """Every call is bounded in time and made once; see the module's text for its outcomes."""

    url: str  # of its trading interface: a drill is for a venue on this machine; "" it has none
    calls_left: int | None  # of this minute's; None: the broker tells no limit

    def updates(self, post: Post) -> Updates:
        """Return the stream of the account's news, not started yet."""
        ...

    def account(self) -> AccountSnapshot: ...
    def clock(self) -> MarketClock: ...
    def calendar(self, start: date, end: date) -> list[TradingDay]: ...
    def assets(self) -> list[BrokerAsset]: ...
    def positions(self) -> list[BrokerPosition]: ...
    def orders(self, *, status: str = "open", after_ns: int = 0) -> list[BrokerOrder]:
        """Return orders with their legs nested.

        Args: status: open, closed or all; after_ns: only those made after it.
        """
        ...

    def order(self, order_id: str) -> BrokerOrder | None: ...
    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order, or None when the broker conclusively does not know the id."""
        ...

    def submit_bracket(
        self,
        *,
        client_order_id: str,
        symbol: str,
        quantity: int,
        limit: Decimal | None,  # None: a market entry
        take_profit: Decimal,
        stop_loss: Decimal,
        time_in_force: str,
        stop_limit: Decimal | None = None,  # once elected not below this; None: at any price
    ) -> BrokerOrder: ...
    def submit_oco(
        self,
        *,
        client_order_id: str,
        symbol: str,
        quantity: int,
        take_profit: Decimal,
        stop_loss: Decimal,
        time_in_force: str,
        stop_limit: Decimal | None = None,  # once elected not below this; None: at any price
    ) -> BrokerOrder: ...
    def submit_sell(
        self, *, client_order_id: str, symbol: str, quantity: int, limit: Decimal | None
    ) -> BrokerOrder: ...
    def submit_cover(self, *, client_order_id: str, symbol: str, quantity: int) -> BrokerOrder:
        """Buy back, at the market, shares that were sold and not there."""
        ...

    def replace(
        self, order_id: str, *, limit: Decimal | None = None, stop: Decimal | None = None
    ) -> BrokerOrder: ...
    def cancel(self, order_id: str) -> None: ...
    def cancel_all(self) -> None: ...
    def close_all(self) -> None:
        """Cancel every order, then close every position, at the broker (end-of-day ladder)."""
        ...

    def fills(self, *, after_ns: int) -> list[FillActivity]: ...
    def cash_activities(self, *, since: date) -> list[CashActivity]:
        """Return what moved cash or shares without an order, oldest first.

        Args: since: the New York day of the first ones; each is told once.
        """
        ...

    def forbid_shorting(self) -> None:
        """Ask the broker to refuse every order that would open a short position."""
        ...

    def suspend(self, *, suspended: bool) -> None:
        """Switch new orders off at the broker itself, or on again."""
        ...
