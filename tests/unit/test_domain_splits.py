"""What a split means for a position: which rows explain it, and what its numbers become."""

from decimal import Decimal

import pytest

from execution.domain import splits
from execution.venue.account import Account, Fill, Split

D = Decimal


@pytest.mark.parametrize(
    ("rows", "held", "position", "after"),
    [
        (["298"], 298, 596, "596"),  # what came
        (["596"], 298, 596, "596"),  # what there is now
        (["-298", "596"], 298, 596, "596"),  # out with the old ones, in with the new
        (["-270"], 300, 30, "30"),
        (["-298", "29.8"], 298, 29, "29.8"),  # the fraction comes as cash
        (["148.5"], 297, 445, "445.5"),
        (["100"], 298, 596, None),
        (["298"], 298, 298, None),  # booked already, or not come yet
        (["-7"], 7, 0, None),  # nothing is left to go on with
        (["10"], 0, 10, None),  # not of shares that we hold
        (["-298"], -298, -596, None),
    ],
)
def test_rows_explain_a_position_or_they_do_not(rows, held, position, after):
    found = splits.shares_after([D(row) for row in rows], held, position)

    assert found == (None if after is None else D(after))


@pytest.mark.parametrize(
    ("filled", "before", "after", "numbers"),
    [
        (298, 298, 596, (596, 0)),
        (298, 200, 400, (596, 196)),
        (298, 297, 29, (29, 0)),
        (300, 200, 20, (30, 10)),
    ],
)
def test_what_is_left_is_exact_and_what_was_sold_is_counted(filled, before, after, numbers):
    assert splits.filled_after(filled, before, after) == numbers


def test_limits_go_to_the_tick_below_and_stops_to_the_tick_above():
    assert splits.scaled_down(D("20.83"), 298, D(596)) == D("10.41")
    assert splits.scaled_up(D("19.69"), 298, D(596)) == D("9.85")
    assert splits.scaled_down(D("1.9999"), 1, D(2)) == D("0.9999")
    assert splits.scaled_up(D("19.69"), 298, D("29.8")) == D("196.90")


def bought(number: int, quantity: int, ts_ns: int) -> Fill:
    return Fill(
        number=number, execution_id=f"e{number}", order_id="o", symbol="ABCD", side="buy",
        quantity=quantity, price=D(20), ts_ns=ts_ns, cumulative=quantity, leaves=0,
    )  # fmt: skip


def test_the_venue_takes_an_execution_back_and_keeps_the_split():
    account = Account(number="PA1", initial_cash=D(10_000))
    first, second = bought(1, 100, 1), bought(2, 10, 3)
    account.apply(first)
    made = Split(symbol="ABCD", before=1, after=2, ts_ns=2)
    account.splits.append(made)
    assert account.scale(made) == 100
    account.apply(second)

    account.take_back(second)

    position = account.positions["ABCD"]
    assert (position.quantity, position.cost, account.cash) == (200, D(2000), D(8000))
