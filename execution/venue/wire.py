"""JSON bodies of the trading API: requests in (numbers as Decimal), rows out (as strings)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

from execution.venue import rejections
from execution.venue.account import Account, Bust, Fill, Position, mark_of
from execution.venue.books import Books
from execution.venue.orders import Changes, OrderRequest, Side, VenueOrder
from signals.session import NEW_YORK, day_of

JSON = dict[str, Any]
SECOND_NS = 1_000_000_000
MAX_BODY_BYTES = 64 * 1024
_SIX_PLACES = Decimal("0.000001")
_TRUE = ("true", "1", "yes", "on")


def rfc3339(ts_ns: int | None) -> str | None:
    """Return UTC ns as RFC 3339 with `Z` and nine digits, or None."""
    if ts_ns is None:
        return None
    seconds, fraction = divmod(ts_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse_time_ns(text: str) -> int:
    """Return an RFC 3339 time or date as UTC ns.

    Raises:
        Rejection: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise rejections.unprocessable(f"invalid time: {text[:40]}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1000


def plain(value: Decimal | None) -> str | None:
    """Return a number as the wire shows it: no exponent, no trailing zeros, at most six places."""
    if value is None:
        return None
    shown = value.quantize(_SIX_PLACES) if abs(value) < Decimal(10) ** 18 else value
    text = f"{shown:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_true(text: str) -> bool:
    return text.strip().lower() in _TRUE


def asset_id(symbol: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"asset/{symbol}"))


# --- in -------------------------------------------------------------------------------------------
def load(body: bytes) -> JSON:
    """Return a JSON object whose numbers are Decimal.

    Raises:
        Rejection: the body is too long or no JSON object.
    """
    if len(body) > MAX_BODY_BYTES:
        raise rejections.malformed("request body too large")
    try:
        value = json.loads(
            body or b"{}", parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise rejections.malformed("request body format is invalid") from None
    if not isinstance(value, dict):
        raise rejections.malformed("request body format is invalid")
    return value


def _no_number(name: str) -> Decimal:
    raise ValueError(f"{name} is not a number")


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise rejections.unprocessable(f"{name} must be a string")
    return value


def _number(body: Mapping[str, Any], name: str, shown: str = "") -> Decimal | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > 10**12 or isinstance(value, bool):
        raise rejections.unprocessable(f"invalid {shown or name}: {str(value)[:40]}")
    return number


def numbers(query: Mapping[str, str]) -> dict[str, Decimal]:
    """Return the quantities of a close-position query. Raises: Rejection: not numbers."""
    read = {name: _number(query, name) for name in ("qty", "percentage")}
    return {name: value for name, value in read.items() if value is not None}


def _quantity(body: Mapping[str, Any]) -> int | None:
    quantity = _number(body, "qty")
    if quantity is None:
        return None
    if quantity <= 0:
        raise rejections.unprocessable("qty must be > 0")
    if quantity != int(quantity):
        if _text(body, "order_class") not in ("", "simple"):
            raise rejections.unprocessable("fractional orders must be simple orders")
        symbol = _text(body, "symbol")
        raise rejections.forbidden(f'asset "{symbol}" is not fractionable')
    return int(quantity)


def _leg(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    leg = body.get(name)
    if leg is None:
        return {}
    if not isinstance(leg, dict):
        raise rejections.unprocessable(f"{name} must be an object")
    return leg


def parse_order(body: Mapping[str, Any]) -> OrderRequest:
    """Return the request of a POST /v2/orders body.

    Raises:
        Rejection: a field is missing or of the wrong type; the rules are `checks`' business.
    """
    if _number(body, "notional") is not None:
        raise rejections.unprocessable("notional orders are not supported by the paper venue")
    quantity = _quantity(body)
    if quantity is None:
        raise rejections.unprocessable("qty or notional is required")
    target, stop = _leg(body, "take_profit"), _leg(body, "stop_loss")
    return OrderRequest(
        symbol=_text(body, "symbol"),
        side=cast(Side, _text(body, "side")),
        quantity=quantity,
        type=_text(body, "type"),
        time_in_force=_text(body, "time_in_force"),
        limit=_number(body, "limit_price"),
        stop=_number(body, "stop_price"),
        order_class="" if body.get("order_class") == "simple" else _text(body, "order_class"),
        take_profit=_number(target, "limit_price", "take_profit.limit_price"),
        stop_loss=_number(stop, "stop_price", "stop_loss.stop_price"),
        stop_loss_limit=_number(stop, "limit_price", "stop_loss.limit_price"),
        extended_hours=bool(body.get("extended_hours") or False),
        client_order_id=_text(body, "client_order_id"),
    )


def parse_changes(body: Mapping[str, Any]) -> Changes:
    """Return the request of a PATCH /v2/orders/{id} body."""
    return Changes(
        quantity=_quantity(body),
        limit=_number(body, "limit_price"),
        stop=_number(body, "stop_price"),
        time_in_force=_text(body, "time_in_force") or None,
        client_order_id=_text(body, "client_order_id"),
    )


# --- out ------------------------------------------------------------------------------------------
def order_json(order: VenueOrder, *, nested: bool = True) -> JSON:
    """Return the order as the API shows it; the parent of a group carries its legs."""
    legs = order.group.legs_of(order) if order.group is not None and nested else []
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.created_ns),
        "updated_at": rfc3339(order.updated_ns),
        "submitted_at": rfc3339(order.created_ns),
        "filled_at": rfc3339(order.filled_ns),
        "expired_at": rfc3339(order.expired_ns),
        "cancel_requested_at": rfc3339(order.cancel_requested_ns),
        "canceled_at": rfc3339(order.canceled_ns),
        "failed_at": rfc3339(order.failed_ns),
        "replaced_at": rfc3339(order.replaced_ns),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": asset_id(order.symbol),
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": None,
        "qty": str(order.quantity),
        "filled_qty": str(order.filled),
        "filled_avg_price": plain(order.average_price),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "time_in_force": order.time_in_force,
        "limit_price": plain(order.limit),
        "stop_price": plain(order.stop),
        "status": order.shown_status,
        "extended_hours": order.extended_hours,
        "legs": [order_json(leg, nested=False) for leg in legs] or None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "position_intent": _intent(order),
        "subtag": None,
        "source": None,
    }


def _intent(order: VenueOrder) -> str:
    if order.is_buy:
        return "buy_to_open" if order.opening else "buy_to_close"
    return "sell_to_open" if order.opening else "sell_to_close"


def position_json(position: Position, books: Books, *, available: int) -> JSON:
    price = mark_of(position, books)
    value = price * position.quantity
    gain = value - position.cost
    ratio = gain / abs(position.cost) if position.cost else Decimal(0)
    return {
        "asset_id": asset_id(position.symbol),
        "symbol": position.symbol,
        "exchange": "NYSE",
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": str(position.quantity),
        "qty_available": str(available),
        "side": "long" if position.quantity > 0 else "short",
        "avg_entry_price": plain(position.average_price),
        "market_value": plain(value),
        "cost_basis": plain(position.cost),
        "unrealized_pl": plain(gain),
        "unrealized_plpc": plain(ratio),
        "unrealized_intraday_pl": plain(gain),
        "unrealized_intraday_plpc": plain(ratio),
        "current_price": plain(price),
        "lastday_price": plain(price),
        "change_today": "0",
    }


def account_json(account: Account, books: Books, *, buying_power: Decimal, created_ns: int) -> JSON:
    long_value, short_value = account.value(books)
    equity = account.cash + long_value + short_value
    gross = long_value - short_value
    return {
        "id": str(uuid5(NAMESPACE_URL, f"account/{account.number}")),
        "account_number": account.number,
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": plain(account.cash),
        "equity": plain(equity),
        "last_equity": plain(account.initial_cash),
        "portfolio_value": plain(equity),
        "buying_power": plain(buying_power),
        "regt_buying_power": plain(max(2 * equity - gross, Decimal(0))),
        "non_marginable_buying_power": plain(max(account.cash, Decimal(0))),
        "options_buying_power": "0",
        "multiplier": str(account.multiplier),
        "long_market_value": plain(long_value),
        "short_market_value": plain(short_value),
        "initial_margin": plain(gross / 2),
        "maintenance_margin": plain(gross * 3 / 10),
        "last_maintenance_margin": "0",
        "sma": plain(equity),
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
        "intraday_adjustments": "0",
        "created_at": rfc3339(created_ns),
        "shorting_enabled": not account.no_shorting,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": account.suspended,
        "options_approved_level": 0,
        "options_trading_level": 0,
    }


def configurations_json(account: Account) -> JSON:
    return {
        "fractional_trading": False,
        "max_margin_multiplier": str(account.multiplier),
        "max_options_trading_level": None,
        "no_shorting": account.no_shorting,
        "suspend_trade": account.suspended,
        "trade_confirm_email": "none",
        "ptp_no_exception_entry": False,
    }


def asset_json(symbol: str, *, name: str, exchange: str, tradable: bool) -> JSON:
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": exchange,
        "symbol": symbol,
        "name": name or f"{symbol} (paper)",
        "status": "active",
        "tradable": tradable,
        "marginable": True,
        "shortable": True,
        "easy_to_borrow": True,
        "fractionable": False,
        "maintenance_margin_requirement": 30,
        "attributes": [],
    }


def _activity_id(ts_ns: int, execution_id: str) -> str:
    """Return the id as the broker makes it: New York time, whatever zone the other fields have."""
    seconds, fraction = divmod(ts_ns, SECOND_NS)
    stamp = f"{datetime.fromtimestamp(seconds, NEW_YORK):%Y%m%d%H%M%S}{fraction // 1_000_000:03d}"
    return f"{stamp}::{execution_id}"


def entered_ns(row: JSON) -> int:
    """Return the time in an activity's id, UTC ns to the second."""
    moment = datetime.strptime(str(row["id"])[:14], "%Y%m%d%H%M%S").replace(tzinfo=NEW_YORK)
    return int(moment.timestamp()) * SECOND_NS


def bust_json(bust: Bust) -> JSON:
    """Return the activity of a broken execution; `previous_id` names what it broke."""
    return activity_json(bust.previous) | {
        "id": _activity_id(bust.ts_ns, bust.execution_id),
        "transaction_time": rfc3339(bust.ts_ns),
        "type": "trade_bust",
        "previous_id": bust.previous.execution_id,
    }


def split_json(symbol: str, change: int, ts_ns: int, name: str) -> JSON:
    """Return the activity of shares that came (or went) by a split, on the New York day."""
    return {
        "id": _activity_id(ts_ns, name),
        "activity_type": "SPLIT",
        "date": day_of(ts_ns).isoformat(),
        "net_amount": "0",
        "description": "",
        "symbol": symbol,
        "qty": str(change),
        "per_share_amount": "0",
    }


def activity_json(fill: Fill) -> JSON:
    correction = {"type": "trade_correct", "previous_id": fill.corrects} if fill.corrects else {}
    return {
        "id": _activity_id(fill.ts_ns, fill.execution_id),
        "activity_type": "FILL",
        "transaction_time": rfc3339(fill.ts_ns),
        "type": "fill" if fill.leaves == 0 else "partial_fill",
        "price": plain(fill.price),
        "qty": str(fill.quantity),
        "side": fill.side,
        "symbol": fill.symbol,
        "leaves_qty": str(fill.leaves),
        "cum_qty": str(fill.cumulative),
        "order_id": fill.order_id,
        "order_status": "filled" if fill.leaves == 0 else "partially_filled",
    } | correction
