"""Life cycles as closed tables: an order, and a trade (the life of one slot); and the order's name.

A move that is not in a table raises `IllegalTransition`: the caller sets the row aside and locks
entries; it never stops the loop. Events may arrive in any order and twice, so a stale live event
leaves a finished order as it is. Source: design, reliability 3.3, 3.6; trigger 5.7.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class IllegalTransition(ValueError):
    """This event cannot happen in this state: something is not as we believe."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{event} is not possible in {state}")
        self.state = state
        self.event = event


class OrderStatus(StrEnum):
    INTENT = "intent"  # committed, not sent
    DENIED = "denied"  # by us
    EXPIRED_LOCAL = "expired_local"  # too old to be sent
    SENDING = "sending"  # an attempt is committed; the answer is owed
    UNKNOWN = "unknown"  # no answer: to be looked up, never sent again blindly
    REFUSED = "refused"  # certainly never placed
    WORKING = "working"
    PARTIAL = "partial"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"  # by the venue, after it had been placed
    REPLACED = "replaced"  # lives on under another broker id
    DONE_FOR_DAY = "done_for_day"
    ABANDONED = "abandoned"  # conclusively absent after an unknown outcome
    BUSTED = "busted"


class OrderEvent(StrEnum):
    DENY = "deny"
    EXPIRE_LOCALLY = "expire_locally"
    SEND = "send"
    LOSE = "lose"  # the request went out, no answer came
    REFUSE = "refuse"
    ACCEPT = "accept"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    REQUEST_CANCEL = "request_cancel"
    REQUEST_REPLACE = "request_replace"
    REFUSE_REQUEST = "refuse_request"  # cancel or replace was refused: as before
    CANCEL = "cancel"
    EXPIRE = "expire"
    REJECT = "reject"
    REPLACE = "replace"
    DONE_FOR_DAY = "done_for_day"
    ABANDON = "abandon"
    BUST = "bust"


S, E = OrderStatus, OrderEvent

_ENDS = {
    E.CANCEL: S.CANCELED,
    E.EXPIRE: S.EXPIRED,
    E.REJECT: S.REJECTED,
    E.REPLACE: S.REPLACED,
    E.DONE_FOR_DAY: S.DONE_FOR_DAY,
}
_LIVE = {
    **_ENDS,
    E.ACCEPT: S.WORKING,
    E.PARTIAL_FILL: S.PARTIAL,
    E.FILL: S.FILLED,
    E.REQUEST_CANCEL: S.PENDING_CANCEL,
    E.REQUEST_REPLACE: S.PENDING_REPLACE,
}
_STALE_EVENTS = (E.ACCEPT, E.REQUEST_CANCEL, E.REQUEST_REPLACE, E.REFUSE_REQUEST, E.LOSE)


def _stale(status: OrderStatus) -> dict[OrderEvent, OrderStatus]:
    return dict.fromkeys(_STALE_EVENTS, status)


TRANSITIONS: dict[OrderStatus, dict[OrderEvent, OrderStatus]] = {
    S.INTENT: {E.DENY: S.DENIED, E.EXPIRE_LOCALLY: S.EXPIRED_LOCAL, E.SEND: S.SENDING},
    S.DENIED: {},
    S.EXPIRED_LOCAL: {},
    S.SENDING: {
        **_LIVE,
        E.LOSE: S.UNKNOWN,
        E.REFUSE: S.REFUSED,
        E.DENY: S.DENIED,  # held back right before the socket
        E.EXPIRE_LOCALLY: S.EXPIRED_LOCAL,
    },
    S.UNKNOWN: {**_LIVE, E.LOSE: S.UNKNOWN, E.REFUSE: S.REFUSED, E.ABANDON: S.ABANDONED},
    S.REFUSED: {E.REFUSE: S.REFUSED},
    S.WORKING: {**_LIVE, E.REFUSE_REQUEST: S.WORKING, E.LOSE: S.WORKING},
    S.PARTIAL: {
        **_LIVE,
        E.ACCEPT: S.PARTIAL,
        E.REFUSE_REQUEST: S.PARTIAL,
        E.LOSE: S.PARTIAL,
        E.BUST: S.PARTIAL,  # the quantity is a column
    },
    S.PENDING_CANCEL: {
        **_LIVE,
        E.ACCEPT: S.PENDING_CANCEL,  # out of order: the request stands
        E.PARTIAL_FILL: S.PENDING_CANCEL,
        E.REFUSE_REQUEST: S.WORKING,
        E.REQUEST_REPLACE: S.PENDING_CANCEL,
        E.LOSE: S.PENDING_CANCEL,
        E.BUST: S.PENDING_CANCEL,
    },
    S.PENDING_REPLACE: {
        **_LIVE,
        E.ACCEPT: S.PENDING_REPLACE,
        E.PARTIAL_FILL: S.PENDING_REPLACE,
        E.REFUSE_REQUEST: S.WORKING,
        E.LOSE: S.PENDING_REPLACE,
        E.BUST: S.PENDING_REPLACE,
    },
    S.DONE_FOR_DAY: {**_LIVE, E.ACCEPT: S.DONE_FOR_DAY, E.LOSE: S.DONE_FOR_DAY},
    S.FILLED: {
        **_stale(S.FILLED),
        E.PARTIAL_FILL: S.FILLED,
        E.FILL: S.FILLED,
        E.BUST: S.BUSTED,
    },
    S.CANCELED: {
        E.BUST: S.CANCELED,
        **_stale(S.CANCELED),
        E.CANCEL: S.CANCELED,
        E.PARTIAL_FILL: S.CANCELED,  # the fill won the race; the quantity is a column
        E.FILL: S.FILLED,
    },
    S.EXPIRED: {
        **_stale(S.EXPIRED),
        E.BUST: S.EXPIRED,
        E.EXPIRE: S.EXPIRED,
        E.CANCEL: S.EXPIRED,
        E.PARTIAL_FILL: S.EXPIRED,
        E.FILL: S.FILLED,
    },
    S.REJECTED: {**_stale(S.REJECTED), E.REJECT: S.REJECTED},
    S.REPLACED: {
        **_stale(S.REPLACED),
        E.BUST: S.REPLACED,
        E.REPLACE: S.REPLACED,
        E.PARTIAL_FILL: S.REPLACED,
        E.FILL: S.FILLED,
    },
    S.ABANDONED: {  # a late appearance is adopted as what it is
        **_LIVE,
        E.LOSE: S.ABANDONED,
        E.ABANDON: S.ABANDONED,
    },
    S.BUSTED: {  # a correction is a bust and another fill
        **_stale(S.BUSTED),
        E.BUST: S.BUSTED,
        E.CANCEL: S.BUSTED,
        E.PARTIAL_FILL: S.BUSTED,
        E.FILL: S.FILLED,
    },
}

TERMINAL = frozenset(
    {
        S.DENIED,
        S.EXPIRED_LOCAL,
        S.REFUSED,
        S.FILLED,
        S.CANCELED,
        S.EXPIRED,
        S.REJECTED,
        S.REPLACED,
        S.ABANDONED,
        S.BUSTED,
    }
)
#: At the venue, or perhaps at the venue: shares and slot stay reserved.
LIVE = frozenset(OrderStatus) - TERMINAL - {S.INTENT}
#: A fill in one of these is late: it counts, and it is an incident.
_FILL_IS_LATE = frozenset({S.CANCELED, S.EXPIRED, S.ABANDONED, S.REPLACED})

_VENUE_WORDS = {
    "new": E.ACCEPT,
    "accepted": E.ACCEPT,
    "pending_new": E.ACCEPT,
    "accepted_for_bidding": E.ACCEPT,
    "held": E.ACCEPT,
    "stopped": E.ACCEPT,
    "calculated": E.ACCEPT,
    "suspended": E.ACCEPT,
    "restated": E.ACCEPT,
    "partially_filled": E.PARTIAL_FILL,
    "partial_fill": E.PARTIAL_FILL,
    "filled": E.FILL,
    "fill": E.FILL,
    "pending_cancel": E.REQUEST_CANCEL,
    "pending_replace": E.REQUEST_REPLACE,
    "order_cancel_rejected": E.REFUSE_REQUEST,
    "order_replace_rejected": E.REFUSE_REQUEST,
    "canceled": E.CANCEL,
    "expired": E.EXPIRE,
    "rejected": E.REJECT,
    "replaced": E.REPLACE,
    "done_for_day": E.DONE_FOR_DAY,
}


def next_status(status: OrderStatus, event: OrderEvent) -> OrderStatus:
    """Return the status after the event.

    Raises:
        IllegalTransition: the table has no such move.
    """
    try:
        return TRANSITIONS[status][event]
    except KeyError:
        raise IllegalTransition(status, event) from None


def event_of(venue_word: str) -> OrderEvent | None:
    """Return what a venue's status or event word means; None is unknown: look the order up."""
    return _VENUE_WORDS.get(venue_word)


def is_late_fill(status: OrderStatus, event: OrderEvent) -> bool:
    """Did a fill come after the order had ended? Then it counts and it is an incident."""
    return status in _FILL_IS_LATE and event in (E.FILL, E.PARTIAL_FILL)


class TradeState(StrEnum):
    RESERVED = "reserved"  # the slot is taken, the order is not sent
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    PARTIAL = "partial"  # some shares, the entry still works
    UNPROTECTED = "unprotected"  # shares without verified live protection for all of them
    OPEN_PROTECTED = "open_protected"
    EXITING = "exiting"
    HELD_OVERNIGHT = "held_overnight"
    CLOSED = "closed"
    REJECTED = "rejected"
    ENTRY_EXPIRED = "entry_expired"


class TradeEvent(StrEnum):
    SUBMIT = "submit"
    REJECT = "reject"  # denied, refused or rejected: no share was bought
    EXPIRE = "expire"  # the entry ended without a fill
    LOSE = "lose"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"  # the entry has ended with shares
    PROTECT = "protect"  # live protection for every share is verified
    UNPROTECT = "unprotect"
    EXIT = "exit"
    FLAT = "flat"  # the venue says: no shares, no orders
    HOLD = "hold"


T, V = TradeState, TradeEvent

_FILLS = {
    V.PARTIAL_FILL: T.PARTIAL,
    V.FILL: T.UNPROTECTED,
    V.PROTECT: T.OPEN_PROTECTED,
    V.EXIT: T.EXITING,
    V.FLAT: T.CLOSED,
}
_HELD = {
    V.PARTIAL_FILL: T.UNPROTECTED,  # a late fill: protection no longer covers everything
    V.FILL: T.UNPROTECTED,
    V.PROTECT: T.OPEN_PROTECTED,
    V.UNPROTECT: T.UNPROTECTED,
    V.EXIT: T.EXITING,
    V.FLAT: T.CLOSED,
    V.HOLD: T.HELD_OVERNIGHT,
}
_LATE = {  # the venue filled what had ended: the shares are ours
    V.PARTIAL_FILL: T.UNPROTECTED,
    V.FILL: T.UNPROTECTED,
}
TRADE_TRANSITIONS: dict[TradeState, dict[TradeEvent, TradeState]] = {
    T.RESERVED: {
        **_FILLS,  # a fill may overtake our own note that we sent it
        V.SUBMIT: T.SUBMITTED,
        V.REJECT: T.REJECTED,
        V.EXPIRE: T.ENTRY_EXPIRED,
        V.LOSE: T.UNKNOWN,
    },
    T.SUBMITTED: {
        **_FILLS,
        V.SUBMIT: T.SUBMITTED,
        V.REJECT: T.REJECTED,
        V.EXPIRE: T.ENTRY_EXPIRED,
        V.LOSE: T.UNKNOWN,
    },
    T.UNKNOWN: {
        **_FILLS,
        V.SUBMIT: T.SUBMITTED,
        V.REJECT: T.REJECTED,
        V.EXPIRE: T.ENTRY_EXPIRED,
        V.LOSE: T.UNKNOWN,
    },
    T.PARTIAL: {**_FILLS, V.SUBMIT: T.PARTIAL, V.LOSE: T.PARTIAL, V.UNPROTECT: T.UNPROTECTED},
    T.UNPROTECTED: {**_HELD, V.SUBMIT: T.UNPROTECTED},
    T.OPEN_PROTECTED: {**_HELD, V.SUBMIT: T.OPEN_PROTECTED},
    T.EXITING: {
        **_HELD,
        V.SUBMIT: T.EXITING,
        V.PARTIAL_FILL: T.EXITING,
        V.FILL: T.EXITING,
    },
    T.HELD_OVERNIGHT: {**_HELD},
    T.CLOSED: {V.FLAT: T.CLOSED, **_LATE},
    T.REJECTED: {V.REJECT: T.REJECTED, **_LATE},
    T.ENTRY_EXPIRED: {
        V.EXPIRE: T.ENTRY_EXPIRED,
        V.SUBMIT: T.SUBMITTED,  # an abandoned entry has appeared after all
        **_LATE,
    },
}
#: The slot is free again.
TRADE_ENDED = frozenset({T.CLOSED, T.REJECTED, T.ENTRY_EXPIRED})
#: There are, or may be, shares.
TRADE_HOLDS = frozenset(
    {T.UNKNOWN, T.PARTIAL, T.UNPROTECTED, T.OPEN_PROTECTED, T.EXITING, T.HELD_OVERNIGHT}
)


def next_trade_state(state: TradeState, event: TradeEvent) -> TradeState:
    """Return the trade's state after the event.

    Raises:
        IllegalTransition: the table has no such move.
    """
    try:
        return TRADE_TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None


MAX_CLIENT_ORDER_ID = 48
_NAME = re.compile(
    r"v1-(?P<account>[a-z0-9]{4})-(?P<day>\d{6})-s(?P<slot>\d{1,3})-t(?P<try_no>\d{1,3})"
    r"-(?P<purpose>[eoxfc])(?P<seq>\d{1,3})?"
)


@dataclass(frozen=True, kw_only=True)
class OrderName:
    """What a client_order_id says; seq from 1.

    purpose: e entry, o OCO, x exit, f flatten, c cover.
    """

    account: str  # last four characters of the account number, lower case
    day: date
    slot: int
    try_no: int
    purpose: str
    seq: int | None = None


def client_order_id(account: str, day: date, slot: int, try_no: int, purpose: str) -> str:
    """Return the order's deterministic name; `purpose` is a letter of e o x f c and maybe a number.

    It holds no symbol, round, process or time: two hubs that fill one slot must collide at the
    venue, whatever they buy.

    Raises:
        ValueError: a part does not fit the form.
    """
    tail = account.lower()[-4:].rjust(4, "0")
    name = f"v1-{tail}-{day:%y%m%d}-s{slot}-t{try_no}-{purpose}"
    if parse_client_order_id(name) is None:
        raise ValueError(f"not an order name: {name}")
    return name


def parse_client_order_id(name: str) -> OrderName | None:
    """Return what the name says, or None when it is not one of ours."""
    match = _NAME.fullmatch(name) if len(name) <= MAX_CLIENT_ORDER_ID else None
    if match is None:
        return None
    yymmdd, seq = match["day"], match["seq"]
    try:
        day = date(2000 + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:]))
    except ValueError:
        return None
    return OrderName(
        account=match["account"],
        day=day,
        slot=int(match["slot"]),
        try_no=int(match["try_no"]),
        purpose=match["purpose"],
        seq=int(seq) if seq else None,
    )
