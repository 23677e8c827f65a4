"""Decimal closure: nothing finer than a micro-dollar, nothing from a float, nothing rounded."""

from decimal import Decimal, getcontext, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.domain.money import MAX_MICROS, InexactMoney, from_micros, to_micros


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


def test_the_callers_precision_changes_nothing():
    with localcontext() as context:
        context.prec = 3
        assert to_micros(Decimal("123456.789012")) == 123_456_789_012
        assert str(from_micros(123_456_789_012)) == "123456.789012"
    assert getcontext().prec == 28
