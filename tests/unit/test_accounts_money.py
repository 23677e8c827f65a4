"""Decimal closure: nothing finer than a micro-dollar, nothing from a float, nothing rounded."""

from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.domain.money import MAX_MICROS, InexactMoney, from_micros, nearest, to_micros


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_micros_survive_the_trip_through_decimal_and_its_repr(micros):
    amount = from_micros(micros)

    assert to_micros(amount) == micros
    assert to_micros(Decimal(str(amount))) == micros
    assert amount.as_tuple().exponent == -6


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_exact_or_refused(amount):
    try:
        micros = to_micros(amount)
    except InexactMoney:
        return

    assert from_micros(micros) == amount


@pytest.mark.parametrize("amount", [0.1, 1.0, float("nan"), True, "1", None])
def test_only_decimal_and_int_are_money(amount):
    with pytest.raises(TypeError, match="money is Decimal or int"):
        to_micros(amount)


@pytest.mark.parametrize(
    "amount",
    ["0.0000001", "NaN", "sNaN", "Infinity", "9223372036854.775808", "1E+30", "1E-30", "1E+999999"],
)
def test_what_a_column_cannot_hold_is_refused(amount):
    with pytest.raises(InexactMoney):
        to_micros(Decimal(amount))


@given(st.decimals(-(10**12), 10**12, allow_nan=False))
def test_the_nearest_amount_is_exact_and_half_a_micro_dollar_away_at_most(amount):
    near = nearest(amount)

    assert from_micros(to_micros(near)) == near
    assert abs(Fraction(near) - Fraction(amount)) <= Fraction(1, 2_000_000)


@pytest.mark.parametrize(
    ("amount", "near"),
    [("20.0599999", "20.06"), ("0.0000005", "0"), ("0.0000015", "0.000002"), ("-1.5", "-1.5")],
)
def test_halves_of_a_micro_dollar_go_to_the_even_one(amount, near):
    assert nearest(Decimal(amount)) == Decimal(near)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "1E+30", "1E+999999"])
def test_what_is_no_amount_has_no_nearest_one(amount):
    with pytest.raises(InexactMoney):
        nearest(Decimal(amount))


def test_the_callers_precision_changes_nothing():
    with localcontext() as context:
        context.prec = 3
        assert str(nearest(Decimal("123456.7890125"))) == "123456.789012"
        assert to_micros(Decimal("123456.789012")) == 123_456_789_012
        assert str(from_micros(123_456_789_012)) == "123456.789012"
    assert getcontext().prec == 28
