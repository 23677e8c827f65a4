"""The pure ledger: examples by hand, then properties against the obvious model."""

import itertools
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.domain import ledger
from accounts.domain.ledger import Fill, Ledger, Posting, UnbalancedEntry
from accounts.domain.trips import round_trips_of
from tests.unit.books import DAYS, SYMBOLS, Oracle, a_fill, a_split, dollars, fill_lists

DAY = DAYS[0]


def post(fills: list[Fill]) -> list[Posting]:
    """Feed fills one by one and return every posting."""
    held: list[Fill] = []
    postings: list[Posting] = []
    for fill in fills:
        others = [one for one in held if one.symbol == fill.symbol]
        postings += ledger.fill_postings(fill, others, booked=fill.day)
        held.append(fill)
    return postings


def sums(postings: list[Posting]) -> ledger.Balances:
    amounts: Counter[tuple[Ledger, str]] = Counter()
    shares: Counter[tuple[Ledger, str]] = Counter()
    for leg in postings:
        amounts[leg.ledger, leg.symbol] += leg.amount
        shares[leg.ledger, leg.symbol] += leg.quantity
    return {key: (amounts[key], shares[key]) for key in amounts if amounts[key] or shares[key]}


def by_day(postings: list[Posting]) -> Counter[tuple[date, Ledger, str]]:
    totals: Counter[tuple[date, Ledger, str]] = Counter()
    for leg in postings:
        totals[leg.day, leg.ledger, leg.symbol] += leg.amount
    return Counter({key: total for key, total in totals.items() if total})


def test_a_buy_moves_cash_into_the_position_at_cost():
    postings = ledger.fill_postings(a_fill(fee=20_000), [], booked=DAY)

    assert postings == [
        Posting(Ledger.CASH, "", -447_300_000, 0, DAY),
        Posting(Ledger.POSITION, "AIG", 447_300_000, 10, DAY),
        Posting(Ledger.CASH, "", -20_000, 0, DAY),
        Posting(Ledger.FEES, "AIG", 20_000, 0, DAY),
    ]


def test_a_sale_takes_out_the_cost_and_credits_the_gain():
    bought = a_fill()
    sold = a_fill("e2", quantity=-4, price=45_000_000, ts_ns=2)

    postings = ledger.fill_postings(sold, [bought], booked=DAY)

    assert postings == [
        Posting(Ledger.CASH, "", 180_000_000, 0, DAY),
        Posting(Ledger.POSITION, "AIG", -178_920_000, -4, DAY),
        Posting(Ledger.REALIZED, "AIG", -1_080_000, 0, DAY),
    ]


def test_lots_close_oldest_first_by_venue_time_then_execution_id():
    late, early = a_fill("b", price=2_000_000, ts_ns=5), a_fill("a", price=1_000_000, ts_ns=5)
    sold = a_fill("c", quantity=-15, price=3_000_000, ts_ns=6)

    matched = ledger.fifo([sold, late, early])

    assert [(one.opened_by, one.quantity, one.realized) for one in matched.matches] == [
        ("a", 10, 20_000_000),
        ("b", 5, 5_000_000),
    ]
    assert [(lot.execution_id, lot.quantity) for lot in matched.lots] == [("b", 5)]


def test_a_sale_beyond_the_position_opens_a_short_lot_at_its_price():
    fills = [a_fill(quantity=5), a_fill("e2", quantity=-8, price=45_730_000, ts_ns=2)]

    matched = ledger.fifo(fills)

    assert [match.realized for match in matched.matches] == [5_000_000]
    assert [(lot.quantity, lot.cost) for lot in matched.lots] == [(-3, -137_190_000)]


def test_a_short_covered_lower_is_a_gain():
    fills = [
        a_fill(quantity=-5, price=10_000_000),
        a_fill("e2", quantity=5, price=9_000_000, ts_ns=2),
    ]

    assert ledger.realized_by_day(fills) == {DAY: 5_000_000}


def test_a_fill_that_arrives_late_moves_profit_on_the_day_it_belongs_to():
    first = a_fill("a", price=1_000_000, ts_ns=1)
    sold = a_fill("c", quantity=-10, price=3_000_000, ts_ns=9, day=DAYS[1])
    late = a_fill("0", price=2_000_000, ts_ns=0)  # older than the lot that was matched

    postings = ledger.fill_postings(late, [first, sold], booked=DAY)

    assert [leg for leg in postings if leg.ledger is Ledger.REALIZED] == [
        Posting(Ledger.REALIZED, "AIG", 10_000_000, 0, DAYS[1])
    ]


def test_a_late_fill_leaves_days_before_its_booking_day_alone():
    first = a_fill("a", price=1_000_000, ts_ns=1)
    sold = a_fill("c", quantity=-10, price=3_000_000, ts_ns=9)
    late = a_fill("0", price=2_000_000, ts_ns=0)

    postings = ledger.fill_postings(late, [first, sold], booked=DAYS[2])

    assert {leg.day for leg in postings} == {DAYS[2]}


def test_adopted_shares_come_from_outside_not_from_cash():
    adopted = a_fill(source=Ledger.EXTERNAL)

    assert sums(ledger.fill_postings(adopted, [], booked=DAY)) == {
        (Ledger.EXTERNAL, ""): (-447_300_000, 0),
        (Ledger.POSITION, "AIG"): (447_300_000, 10),
    }


@pytest.mark.parametrize(
    "changes", [{"quantity": 0}, {"price": 0}, {"price": -1}, {"fee": -1}, {"symbol": ""}]
)
def test_nonsense_is_not_a_fill(changes):
    with pytest.raises(ValueError, match="not a fill"):
        a_fill(**changes)


@pytest.mark.parametrize(
    "changes", [{"quantity": 0}, {"price": 1}, {"fee": 1}, {"source": Ledger.CASH}]
)
def test_a_split_has_shares_and_no_money(changes):
    with pytest.raises(ValueError, match="not a fill"):
        a_split(**changes)


def lots_of(*fills: Fill) -> list[tuple[str, int, int]]:
    return [(lot.execution_id, lot.quantity, lot.cost) for lot in ledger.fifo(fills).lots]


def test_a_split_moves_shares_from_outside_and_no_money():
    postings = ledger.fill_postings(a_split(ts_ns=2), [a_fill()], booked=DAY)

    assert postings == [
        Posting(Ledger.EXTERNAL, "AIG", 0, -10, DAY),
        Posting(Ledger.POSITION, "AIG", 0, 10, DAY),
    ]
    assert lots_of(a_fill(), a_split(ts_ns=2)) == [("e1", 20, 447_300_000)]


def test_the_cost_of_a_split_lot_is_given_out_to_the_last_micro_dollar():
    bought, split = a_fill(quantity=3, price=1_000_001), a_split(quantity=4, ts_ns=2)
    one = [a_fill(f"s{n}", quantity=-1, price=500_000, ts_ns=3 + n) for n in range(7)]
    whole = a_fill("all", quantity=-7, price=500_000, ts_ns=9)

    singly = ledger.fifo([bought, split, *one])

    assert [match.realized for match in singly.matches] == [71_429, *[71_428] * 6]
    assert singly.lots == ()
    assert ledger.realized_by_day([bought, split, whole]) == {DAY: 499_997}
    assert ledger.realized_by_day([bought, split, *one]) == {DAY: 499_997}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_reverse_split_hands_the_cost_of_a_lot_without_shares_on(sign):
    fills = [a_fill(f"e{n}", quantity=sign * n, price=1_000_000 * n, ts_ns=n) for n in (3, 4, 13)]

    lots = lots_of(*fills, a_split(quantity=-sign * 18, ts_ns=20))

    assert lots == [("e13", sign * 2, sign * (9 + 16 + 169) * 1_000_000)]


def test_a_reverse_split_of_seven_shares_to_none_is_a_loss_until_the_cash_comes():
    fills = [a_fill(f"e{n}", quantity=n, price=1_000_000, ts_ns=n) for n in (3, 4)]

    matched = ledger.fifo([*fills, a_split(quantity=-7, ts_ns=9)])

    assert matched.lots == ()
    assert [match.realized for match in matched.matches] == [-3_000_000, -4_000_000]


def test_a_fill_from_before_a_split_that_comes_late_moves_what_the_split_made():
    split, sold = a_split(ts_ns=5), a_fill("s", quantity=-20, price=30_000_000, ts_ns=6)
    bought, late = a_fill(ts_ns=2), a_fill("0", price=40_000_000, ts_ns=1)

    postings = post([bought, split, sold, late])

    assert sums(postings) == ledger.rebuilt([late, bought, split, sold], [])
    # 20 shares became 30: two thirds of each lot's cost are 10 shares
    assert lots_of(late, bought, split, sold) == [("e1", 10, 298_200_000)]
    assert ledger.realized_by_day([late, bought, split, sold]) == {DAY: 50_900_000}


def test_a_split_whose_purchase_was_taken_back_is_a_fill_at_no_price():
    bought, split = a_fill(), a_split(ts_ns=2)

    undone = post([bought, split]) + ledger.reversal_postings(bought, [split], booked=DAY)

    assert lots_of(split) == [("split:s1", 10, 0)]
    assert sums(undone) == ledger.rebuilt([split], [])
    assert sums(undone)[Ledger.POSITION, "AIG"] == (0, 10)


def test_a_round_trip_goes_on_through_a_split():
    fills = [a_fill(), a_split(ts_ns=2), a_fill("e2", quantity=-20, price=23_000_000, ts_ns=3)]

    (trip,) = round_trips_of(fills)

    assert (trip.quantity, trip.execution_ids) == (20, ("e1", "split:s1", "e2"))
    assert (trip.bought, trip.sold, trip.realized) == (
        Decimal("447.30"), Decimal(460), Decimal("12.70"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "postings",
    [
        [],
        [Posting(Ledger.CASH, "", 0, 0, DAY)],
        [Posting(Ledger.CASH, "", 5, 0, DAY)],
        [Posting(Ledger.CASH, "", 5, 0, DAY), Posting(Ledger.FEES, "", -4, 0, DAY)],
        [Posting(Ledger.CASH, "", 5, 0, DAY), Posting(Ledger.FEES, "", -5, 0, DAYS[1])],
        [
            Posting(Ledger.CASH, "", 5, 0, DAY),
            Posting(Ledger.FEES, "", -5, 0, DAY),
            Posting(Ledger.INCOME, "", 0, 0, DAY),
        ],
    ],
)
def test_what_does_not_balance_is_refused(postings):
    with pytest.raises(UnbalancedEntry):
        ledger.balanced(postings)


def test_a_transfer_of_nothing_is_refused():
    with pytest.raises(UnbalancedEntry):
        ledger.transfer_postings(0, Ledger.TRANSFERS, booked=DAY)


@given(fill_lists())
def test_the_postings_agree_with_the_obvious_model(fills):
    totals = sums(post(fills))
    oracle = Oracle({fill.execution_id: fill for fill in fills})

    for symbol in SYMBOLS:
        cost, quantity = totals.get((Ledger.POSITION, symbol), (0, 0))
        assert quantity == oracle.quantity(symbol)
        assert dollars(cost) == oracle.cost(symbol)
    assert dollars(totals.get((Ledger.CASH, ""), (0, 0))[0]) == oracle.cash()
    realized = sum(amount for (name, _), (amount, _) in totals.items() if name is Ledger.REALIZED)
    assert dollars(-realized) == oracle.realized()


@given(fill_lists())
def test_realized_profit_lies_on_the_day_of_the_closing_fill(fills):
    oracle = Oracle({fill.execution_id: fill for fill in fills})
    totals = by_day(post(fills))

    for day in DAYS:
        booked = sum(totals[day, Ledger.REALIZED, symbol] for symbol in SYMBOLS)
        assert dollars(-booked) == oracle.realized(day)


@given(fill_lists(), st.randoms(use_true_random=False))
def test_fills_in_any_order_end_in_the_same_books_on_every_day(fills, random):
    shuffled = fills[:]
    random.shuffle(shuffled)

    assert by_day(post(shuffled)) == by_day(post(fills))


def test_every_permutation_of_a_turbulent_day_ends_the_same():
    fills = [
        a_fill("a", quantity=3, ts_ns=1, price=10_000_000),
        a_fill("b", quantity=-5, ts_ns=1, price=11_000_000),
        a_fill("c", quantity=4, ts_ns=2, price=9_000_001),
        a_fill("d", quantity=-2, ts_ns=3, price=12_345_678, day=DAYS[1]),
    ]

    ends = {
        tuple(sorted(by_day(post(list(order))).items())) for order in itertools.permutations(fills)
    }

    assert len(ends) == 1


@given(fill_lists(), st.data())
def test_a_bust_restores_the_books_as_they_were_without_the_fill(fills, data):
    if not fills:
        return
    gone = data.draw(st.sampled_from(fills))
    rest = [fill for fill in fills if fill is not gone]
    others = [fill for fill in rest if fill.symbol == gone.symbol]

    undone = post(fills) + ledger.reversal_postings(gone, others, booked=gone.day)

    assert by_day(undone) == by_day(post(rest))
    assert sums(undone) == sums(post(rest))


@given(fill_lists())
def test_rebuilding_from_the_facts_equals_the_postings(fills):
    assert ledger.rebuilt(fills, []) == sums(post(fills))


@given(fill_lists())
def test_every_entry_balances_on_every_day(fills):
    held: list[Fill] = []
    for fill in fills:
        others = [one for one in held if one.symbol == fill.symbol]
        assert ledger.balanced(ledger.fill_postings(fill, others, booked=fill.day))
        held.append(fill)


@given(fill_lists(), st.lists(st.integers(1, 10**8), min_size=2, max_size=2))
def test_equity_is_conserved_at_any_mark(fills, marks):
    totals = sums(post(fills))
    at = dict(zip(SYMBOLS, marks, strict=True))

    def total(name: Ledger) -> int:
        return sum(amount for (one, _), (amount, _) in totals.items() if one is name)

    held = {symbol: totals.get((Ledger.POSITION, symbol), (0, 0)) for symbol in SYMBOLS}
    market_value = sum(held[symbol][1] * at[symbol] for symbol in SYMBOLS)
    unrealized = sum(held[symbol][1] * at[symbol] - held[symbol][0] for symbol in SYMBOLS)
    assert (
        -total(Ledger.REALIZED) + unrealized - total(Ledger.FEES)
        == total(Ledger.CASH) + market_value
    )


@given(fill_lists())
def test_a_flat_symbol_costs_nothing_and_realizes_sales_less_purchases(fills):
    matched = ledger.fifo([fill for fill in fills if fill.symbol == "AIG"])
    if sum(lot.quantity for lot in matched.lots):
        return

    value = sum(fill.value for fill in fills if fill.symbol == "AIG")
    assert matched.lots == ()
    assert sum(match.realized for match in matched.matches) == -value


@given(fill_lists())
def test_open_lots_are_all_of_one_side(fills):
    for symbol in SYMBOLS:
        lots = ledger.fifo([fill for fill in fills if fill.symbol == symbol]).lots
        assert len({lot.quantity > 0 for lot in lots}) <= 1
        assert all(lot.quantity for lot in lots)
