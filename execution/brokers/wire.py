"""Alpaca's JSON as the port's dataclasses: Decimal from strings, times as UTC epoch ns. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from execution.brokers.port import (
    AccountSnapshot,
    BrokerAsset,
    BrokerOrder,
    BrokerPosition,
    CashActivity,
    FillActivity,
    MarketClock,
    Shares,
    Side,
    TradeUpdate,
    TradingDay,
)
from signals.session import day_of, new_york_ns

Json = Mapping[str, Any]
#: What reading an answer of another shape may raise: a key, a type, a number or a time is not ours.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
AMOUNT_MAX = 10**12  # beyond it is no money, price or number of shares
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)")


def ns(text: str | None) -> int:
    """Return an RFC 3339 time with up to nine decimals as UTC epoch ns; 0 for none.

    Raises:
        ValueError: not such a time.
    """
    if not text:
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    day, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone == 'Z' else zone}")
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def rfc3339(ts_ns: int) -> str:
    """Return UTC epoch ns as RFC 3339 with nine decimals."""
    moment = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ns % 1_000_000_000:09d}Z"


def begin_ns(day: date) -> int:
    """Return when a New York day begins, UTC epoch ns."""
    return new_york_ns(day, time(0))


def error_body(text: str) -> tuple[int | None, str]:
    """Return code and message of an error answer; ("", None) when it is not the venue's own."""
    try:
        body = json.loads(text)
    except ValueError:
        return None, ""
    if not isinstance(body, dict):
        return None, ""
    code = body.get("code")
    return (code if isinstance(code, int) else None), str(body.get("message") or "")


def _money(value: Any) -> Decimal:
    amount = Decimal(str(value))
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        raise ValueError(f"not an amount: {str(value)[:40]!r}")
    return amount


def _maybe(value: Any) -> Decimal | None:
    return None if value in (None, "") else _money(value)


def _shares(value: Any) -> Shares:
    """Return shares as the port has them: an int, or a Decimal with a fraction of one."""
    amount = _money(value or 0)
    whole = int(amount)
    return whole if whole == amount else amount


def account(row: Json) -> AccountSnapshot:
    return AccountSnapshot(
        number=str(row["account_number"]),
        status=str(row["status"]),
        cash=_money(row["cash"]),
        equity=_money(row["equity"]),
        last_equity=_money(row.get("last_equity") or row["equity"]),
        buying_power=_money(row["buying_power"]),
        trading_blocked=bool(row.get("trading_blocked")),
        account_blocked=bool(row.get("account_blocked")),
        suspended_by_user=bool(row.get("trade_suspended_by_user")),
    )


def clock(row: Json) -> MarketClock:
    return MarketClock(
        ts_ns=ns(row["timestamp"]),
        is_open=bool(row["is_open"]),
        next_open_ns=ns(row["next_open"]),
        next_close_ns=ns(row["next_close"]),
    )


def trading_day(row: Json) -> TradingDay:
    day = date.fromisoformat(row["date"])
    opens, closes = time.fromisoformat(row["open"]), time.fromisoformat(row["close"])
    return TradingDay(day=day, open_ns=new_york_ns(day, opens), close_ns=new_york_ns(day, closes))


def asset(row: Json) -> BrokerAsset:
    return BrokerAsset(
        symbol=str(row["symbol"]),
        name=str(row.get("name") or ""),
        exchange=str(row.get("exchange") or ""),
        tradable=bool(row.get("tradable")),
        status=str(row.get("status") or ""),
        shortable=bool(row.get("shortable")),
        fractionable=bool(row.get("fractionable")),
        attributes=tuple(row.get("attributes") or ()),
    )


def position(row: Json) -> BrokerPosition:
    return BrokerPosition(
        symbol=str(row["symbol"]),
        quantity=_shares(row["qty"]),
        available=_shares(row.get("qty_available", row["qty"])),
        average_price=_money(row["avg_entry_price"]),
        market_value=_maybe(row.get("market_value")) or Decimal(0),
        current_price=_maybe(row.get("current_price")),
    )


def order(row: Json) -> BrokerOrder:
    return BrokerOrder(
        id=str(row["id"]),
        client_order_id=str(row["client_order_id"]),
        symbol=str(row.get("symbol") or ""),
        side=Side(row["side"]),
        type=str(row.get("type") or row.get("order_type") or ""),
        order_class="" if row.get("order_class") in (None, "simple") else row["order_class"],
        status=str(row["status"]),
        quantity=_shares(row.get("qty")),
        filled_quantity=_shares(row.get("filled_qty")),
        average_price=_maybe(row.get("filled_avg_price")),
        limit_price=_maybe(row.get("limit_price")),
        stop_price=_maybe(row.get("stop_price")),
        time_in_force=str(row["time_in_force"]),
        replaces=row.get("replaces"),
        replaced_by=row.get("replaced_by"),
        created_ns=ns(row.get("created_at")),
        updated_ns=ns(row.get("updated_at")),
        legs=tuple(order(leg) for leg in row.get("legs") or ()),
        raw=dict(row),
    )


def trade_update(row: Json) -> TradeUpdate:
    return TradeUpdate(
        event=str(row["event"]),
        order=order(row["order"]),
        ts_ns=ns(row.get("timestamp")),
        execution_id=row.get("execution_id") or None,
        price=_maybe(row.get("price")),
        quantity=None if row.get("qty") in (None, "") else _shares(row["qty"]),
        position_quantity=(
            None if row.get("position_qty") in (None, "") else _shares(row["position_qty"])
        ),
        previous_id=row.get("previous_execution_id") or None,
        raw=dict(row),
    )


def fill(row: Json) -> FillActivity:
    """Return one FILL activity; its id is `<New York time>::<execution id>`."""
    kind = {"trade_bust": "bust", "trade_correct": "correct"}.get(str(row.get("type")), "fill")
    return FillActivity(
        execution_id=str(row["id"]).rpartition("::")[2],
        order_id=str(row["order_id"]),
        symbol=str(row["symbol"]),
        side=Side(str(row["side"]).replace("sell_short", "sell")),
        quantity=_shares(row["qty"]),
        price=_money(row["price"]),
        ts_ns=ns(row["transaction_time"]),
        kind=kind,
        previous_id=row.get("previous_id") or None,
    )


def cash_activity(row: Json) -> CashActivity:
    """Return one activity that is no execution.

    Its id begins with its time in New York, to the millisecond (the broker's own sample of a FILL
    has the same moment in UTC beside it); often only the date is known, and the time is midnight.
    """
    name = str(row["id"])
    day = date.fromisoformat(str(row["date"])[:10]) if row.get("date") else None
    ts_ns = _stamped_ns(name.partition("::")[0], day)
    return CashActivity(
        activity_id=name,
        kind=str(row["activity_type"]),
        symbol=str(row.get("symbol") or ""),
        amount=_money(row.get("net_amount") or 0),
        shares=_money(row.get("qty") or 0),
        ts_ns=ts_ns,
        text=str(row.get("description") or ""),
        day=day or day_of(ts_ns),
    )


def _stamped_ns(stamp: str, day: date | None) -> int:
    """Return the seventeen digits of an activity's id, New York time, as UTC epoch ns.

    Args: day: its date; of an id without a time it is all we know.
    """
    if day is not None and not stamp.isdecimal():
        return begin_ns(day)
    moment = datetime.strptime(stamp[:14], "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone is next
    return new_york_ns(moment.date(), moment.time()) + int(stamp[14:17] or 0) * 1_000_000
