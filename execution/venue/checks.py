"""What the venue refuses before it takes an order, with Alpaca's error bodies."""

from collections.abc import Iterable
from decimal import Decimal

from execution.venue import rejections
from execution.venue.books import Book
from execution.venue.orders import OrderRequest, VenueOrder

CENT = Decimal("0.01")
TYPES = ("market", "limit", "stop", "stop_limit")
CLASSES = ("", "simple", "bracket", "oco", "oto")
MAX_CLIENT_ID = 128
SHORT_MARGIN = Decimal("1.03")


def check_tick(field: str, price: Decimal | None) -> None:
    """Refuse a price with more decimals than its tick: 2 from $1 on, 4 below."""
    if price is None:
        return
    if not price.is_finite() or price <= 0:
        raise rejections.unprocessable(f"{field} must be > 0")
    places = 2 if price >= 1 else 4
    if price != round(price, places):
        raise rejections.sub_penny(field, price)


def check_shape(request: OrderRequest) -> None:
    """Refuse what no market state could make acceptable."""
    if request.quantity <= 0:
        raise rejections.unprocessable("qty must be > 0")
    if len(request.client_order_id) > MAX_CLIENT_ID:
        raise rejections.unprocessable("client_order_id must be no more than 128 characters")
    if request.side not in ("buy", "sell"):
        raise rejections.unprocessable(f"invalid side: {request.side}")
    if request.type not in TYPES:
        raise rejections.unprocessable(f"order type {request.type} is not supported")
    if request.order_class not in CLASSES:
        raise rejections.unprocessable(f"order class {request.order_class} is not supported")
    _check_fields(request)
    _check_time_in_force(request)
    check_tick("limit_price", request.limit)
    check_tick("stop_price", request.stop)
    check_tick("take_profit.limit_price", request.take_profit)
    check_tick("stop_loss.stop_price", request.stop_loss)
    check_tick("stop_loss.limit_price", request.stop_loss_limit)
    _check_class(request)


def _check_fields(request: OrderRequest) -> None:
    is_oco = request.order_class == "oco"  # carries its prices in the legs
    if request.type in ("limit", "stop_limit") and request.limit is None and not is_oco:
        raise rejections.unprocessable(f"{request.type} orders require limit price")
    if request.type in ("stop", "stop_limit") and request.stop is None:
        raise rejections.unprocessable(f"{request.type} orders require stop price")
    if request.type in ("market", "stop") and request.limit is not None:
        raise rejections.unprocessable(f"{request.type} orders must not have limit_price")
    if request.type in ("market", "limit") and request.stop is not None:
        raise rejections.unprocessable(f"{request.type} orders must not have stop_price")


def _check_time_in_force(request: OrderRequest) -> None:
    tif = request.time_in_force
    if tif not in ("day", "gtc", "ioc", "fok"):
        raise rejections.unprocessable(f"time_in_force {tif} is not supported")
    if tif in ("ioc", "fok") and request.type not in ("market", "limit"):
        raise rejections.unprocessable(f"{request.type} orders do not allow time_in_force {tif}")
    if request.extended_hours and (request.type != "limit" or tif not in ("day", "gtc")):
        raise rejections.unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_class(request: OrderRequest) -> None:
    kind, target, stop = request.order_class, request.take_profit, request.stop_loss
    if kind in ("", "simple"):
        if target is not None or stop is not None:
            raise rejections.unprocessable("simple orders must not have take_profit or stop_loss")
        return
    if request.time_in_force not in ("day", "gtc") or request.extended_hours:
        raise rejections.unprocessable(f"{kind} orders must be DAY or GTC in regular hours")
    if kind == "oto":
        if (target is None) == (stop is None):
            raise rejections.unprocessable("oto orders require take_profit or stop_loss")
    elif target is None:
        raise rejections.unprocessable(f"{kind} orders require take_profit.limit_price")
    elif stop is None:
        raise rejections.unprocessable(f"{kind} orders require stop_loss.stop_price")
    if kind == "oco" and request.type != "limit":
        raise rejections.unprocessable("oco orders must be limit orders")


def check_legs(request: OrderRequest, book: Book) -> None:
    """Refuse exits on the wrong side of the base price: the entry's limit and the market."""
    if request.order_class in ("", "simple"):
        return
    own = request.take_profit if request.order_class == "oco" else request.limit
    market = book.last if book.last is not None else book.mark
    exits_sell = (request.side == "buy") != (request.order_class == "oco")
    for base in (own, market):
        if base is not None and request.stop_loss is not None:
            _check_stop_leg(request.stop_loss, base, exits_sell)
    base = request.limit if request.limit is not None else market
    if request.order_class != "oco" and base is not None and request.take_profit is not None:
        _check_target_leg(request.take_profit, base, exits_sell)


def _check_stop_leg(stop: Decimal, base: Decimal, exits_sell: bool) -> None:
    if exits_sell and stop > base - CENT:
        text = "stop_loss.stop_price must be <= base_price - 0.01"
    elif not exits_sell and stop < base + CENT:
        text = "stop_loss.stop_price must be >= base_price + 0.01"
    else:
        return
    raise rejections.unprocessable(text, base_price=f"{base:f}")


def _check_target_leg(target: Decimal, base: Decimal, exits_sell: bool) -> None:
    if exits_sell and target < base + CENT:
        text = "take_profit.limit_price must be >= base_price + 0.01"
    elif not exits_sell and target > base - CENT:
        text = "take_profit.limit_price must be <= base_price - 0.01"
    else:
        return
    raise rejections.unprocessable(text, base_price=f"{base:f}")


def check_stop(side: str, stop: Decimal | None, book: Book) -> None:
    """Refuse a stop order that the current price has already reached."""
    market = book.last if book.last is not None else book.mark
    if stop is None or market is None:
        return
    if side == "buy" and stop <= market:
        text = "stop price must be greater than current price"
    elif side == "sell" and stop >= market:
        text = "stop price must be less than current price"
    else:
        return
    raise rejections.unprocessable(text, market_price=f"{market:f}", stop_price=f"{stop:f}")


def check_wash(request: OrderRequest, opposite: Iterable[VenueOrder]) -> None:
    """Refuse a simple order that could trade with an open simple order of the other side."""
    if request.order_class not in ("", "simple"):
        return
    for order in opposite:
        if {request.type, order.type} & {"market", "stop"}:
            kind = "market/stop" if order.type in ("market", "stop") else "market/limit"
            raise rejections.wash_trade(order.id, f"opposite side {kind} order exists")
        if request.limit is None or order.limit is None:
            continue
        bid, ask = (
            (request.limit, order.limit) if request.side == "buy" else (order.limit, request.limit)
        )
        if bid >= ask:
            reason = "opposite side limit order exists. use complex/limit/stop_limit orders"
            raise rejections.wash_trade(order.id, reason)


def hold_price(
    side: str, limit: Decimal | None, stop: Decimal | None, book: Book
) -> Decimal | None:
    """Return the price per share held against buying power, USD; None without any price.

    Source: alpaca.md 3.2: far side of the NBBO; shorts max(limit, 1.03 × ask).
    """
    own = limit if limit is not None else stop
    if side == "buy":
        return own if own is not None else (book.ask if book.quoted else book.last)
    ask = book.ask if book.quoted else book.last
    if ask is None:
        return own
    return max(own or Decimal(0), SHORT_MARGIN * ask)
