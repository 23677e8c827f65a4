"""What the venue answers when it refuses, in Alpaca's words (design: alpaca.md 3.6)."""

from collections.abc import Sequence
from decimal import Decimal

FORBIDDEN = 40310000
UNPROCESSABLE = 42210000
NOT_FOUND = 40410000
DUPLICATE = 40010001


class Rejection(Exception):
    """A refused request: HTTP status and the JSON body that goes with it."""

    def __init__(self, status: int, code: int | None, message: str, **extra: object) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, object] = {"message": message, **extra}
        if code is not None:
            self.body = {"code": code, **self.body}


def unauthorized() -> Rejection:
    return Rejection(401, None, "unauthorized.")


def not_found(what: str) -> Rejection:
    return Rejection(404, NOT_FOUND, what)


def unprocessable(message: str, **extra: object) -> Rejection:
    return Rejection(422, UNPROCESSABLE, message, **extra)


def malformed(message: str) -> Rejection:
    return Rejection(400, 40010000, message)


def forbidden(message: str, **extra: object) -> Rejection:
    return Rejection(403, FORBIDDEN, message, **extra)


def duplicate_client_order_id() -> Rejection:
    return Rejection(422, DUPLICATE, "client_order_id must be unique")


def sub_penny(field: str, price: Decimal) -> Rejection:
    return unprocessable(
        f"invalid {field} {price:f}. sub-penny increment does not fulfill minimum pricing criteria"
    )


def insufficient_buying_power(buying_power: Decimal, cost_basis: Decimal) -> Rejection:
    return forbidden(
        "insufficient buying power",
        buying_power=f"{buying_power:f}",
        cost_basis=f"{cost_basis:f}",
    )


def insufficient_quantity(
    symbol: str, *, requested: int, available: int, existing: int, related: Sequence[str]
) -> Rejection:
    return forbidden(
        f"insufficient qty available for order (requested: {requested}, available: {available})",
        available=str(available),
        existing_qty=str(existing),
        held_for_orders=str(existing - available),
        symbol=symbol,
        related_orders=list(related),
    )


def wash_trade(existing_order_id: str, reason: str) -> Rejection:
    return forbidden(
        "potential wash trade detected. use complex orders",
        existing_order_id=existing_order_id,
        reject_reason=reason,
    )


def not_cancelable(status: str) -> Rejection:
    return unprocessable(f'order is already in "{status}" state')
