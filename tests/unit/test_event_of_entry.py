"""What an entry's state says that its trade does not say yet: no share is without a keeper."""

import pytest

from execution.domain.orders import LIVE, TERMINAL, next_trade_state
from execution.domain.orders import OrderStatus as Status
from execution.domain.orders import TradeState as T
from execution.models import Order, Trade
from execution.services.trades import event_of_entry

#: Somebody takes the next step for shares held in these (`Trader._position`).
KEPT = {T.UNPROTECTED, T.OPEN_PROTECTED, T.EXITING, T.HELD_OVERNIGHT}


def after(state: T, held: int, status: Status, filled: int) -> T:
    """Return the state of a trade that was brought in line with its entry."""
    trade = Trade(state=state, filled_quantity=max(held, filled), exit_quantity=0)
    trade.exit_quantity = trade.filled_quantity - held
    event = event_of_entry(trade, Order(status=status, quantity=100, filled_quantity=filled))
    return state if event is None else next_trade_state(state, event)


@pytest.mark.parametrize("filled", [0, 40, 100])
@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize("state", sorted(T))
def test_shares_of_an_entry_that_is_over_are_always_looked_after(state, status, filled) -> None:
    """Also when the entry has none of them: they were bought back for a sale that never was."""
    assert after(state, 100, status, filled) in KEPT


@pytest.mark.parametrize("status", sorted(LIVE - {Status.UNKNOWN, Status.SENDING}))
@pytest.mark.parametrize("state", sorted(T))
def test_shares_of_an_entry_that_goes_on_are_those_of_a_partial_one(state, status) -> None:
    assert after(state, 40, status, 40) in KEPT | {T.PARTIAL}


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_entry_that_never_bought_gives_its_slot_back(status) -> None:
    ended = after(T.SUBMITTED, 0, status, 0)

    assert ended in ({T.SUBMITTED} if status == Status.BUSTED else {T.ENTRY_EXPIRED, T.REJECTED})
