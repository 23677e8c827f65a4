"""The legs of a position: do they cover its shares, at the prices that the trade plans now?

What the plan is changes with a re-anchor, a raised stop, a split; what counts is the trade's row.
"""

from collections.abc import Iterable

from execution.brokers.port import BrokerOrder
from execution.domain import bracket, echo
from execution.hub.desk import legs_of
from execution.models import Order, Trade

DEAD_LEGS = frozenset({"canceled", "expired", "rejected", "filled", "replaced", "done_for_day"})
MOVING = "pending_replace"  # where it will be, the venue does not say yet


def live_legs(seen: BrokerOrder) -> list[BrokerOrder]:
    """Return the live sells of a bracket or OCO, without replacements still on their way."""
    live = [leg for leg in legs_of(seen) if leg.status not in DEAD_LEGS and leg.side == "sell"]
    ids = {leg.id for leg in live}
    return [leg for leg in live if leg.replaces not in ids]


def covers(seen: BrokerOrder, shares: int) -> bool:
    """Do live take-profit and stop-loss orders each cover exactly these shares?"""
    live = live_legs(seen)
    limits = [leg for leg in live if leg.stop_price is None]
    stops = [leg for leg in live if leg.stop_price is not None]
    return all(
        len(group) == 1 and group[0].quantity - group[0].filled_quantity == shares
        for group in (limits, stops)
    )


def are_moving(seen: BrokerOrder) -> bool:
    """Is a leg about to be another one?"""
    return any(leg.status == MOVING for leg in live_legs(seen))


def misplaced(seen: BrokerOrder, trade: Trade) -> list[str]:
    """Return which legs at the venue are not where the trade plans them; planned and seen."""
    still = [leg for leg in live_legs(seen) if leg.status != MOVING]
    return echo.misplaced(_planned(trade), ((leg.limit_price, leg.stop_price) for leg in still))


def misplaced_rows(trade: Trade, live: Iterable[Order]) -> list[str]:
    """Return the same of our own rows of live legs."""
    return echo.misplaced(_planned(trade), ((leg.limit, leg.stop) for leg in live))


def protects(seen: BrokerOrder, trade: Trade) -> bool:
    """Do the legs cover exactly the shares held, where the trade plans them?"""
    return covers(seen, trade.held) and not misplaced(seen, trade)


def _planned(trade: Trade) -> echo.Legs:
    return echo.Legs(
        target=trade.take_profit,
        stop=trade.stop_loss,
        stop_limit=bracket.stop_limit(trade.stop_loss, trade.exit_parameters),
    )
