"""Which prints count for what, cell by cell of the condition table."""

import numpy as np
import pytest

from shards import conditions
from shards.conditions import ODD_LOT, PRICE, SOLD_LAST, UNKNOWN, VOLUME, VWAP
from tests.twins.buckets import NO_PRICE, NO_VOLUME, Tick

CODES = [chr(code) for code in range(33, 127)]


def flags(codes: str | list[str], tape: str = "A", **options: bool) -> int:
    found = conditions.eligibility(
        np.array([ord(tape) if tape else 0], np.uint8),
        np.array([conditions.pack(codes)], np.uint64),
        **options,
    )
    return int(found[0])


@pytest.mark.parametrize("tape", ["A", "B", "C", "N", "O", ""])
def test_every_code_of_every_tape_agrees_with_the_plain_lists(tape: str) -> None:
    for code in CODES:
        found = flags([code], tape)

        assert bool(found & PRICE) == (code not in NO_PRICE[tape]), (tape, code)
        assert bool(found & VOLUME) == (code not in NO_VOLUME[tape]), (tape, code)


@pytest.mark.parametrize("first", list("@FTI49LZMN6"))
@pytest.mark.parametrize("second", list("@FTI49LZMN6"))
def test_the_strictest_of_two_codes_wins(first: str, second: str) -> None:
    tick = Tick("X", 0, 0, "", 1.0, 1, (first, second), "A")

    found = flags([first, second])

    assert bool(found & PRICE) == tick.sets_price
    assert bool(found & VOLUME) == tick.counts


def test_a_plain_print_counts_for_all() -> None:
    assert flags([]) == flags(["@"]) == flags([" "]) == PRICE | VOLUME | VWAP


def test_an_average_price_print_is_b_on_tape_a_and_w_on_tape_c() -> None:
    assert not flags(["B"], "A") & PRICE
    assert flags(["B"], "C") & PRICE
    assert not flags(["W"], "C") & PRICE


def test_an_odd_lot_counts_in_volume_and_vwap_but_sets_no_price() -> None:
    assert flags(["F", "I"]) == VOLUME | VWAP | ODD_LOT


def test_odd_lots_set_a_price_when_the_parameter_says_so() -> None:
    assert flags(["I"], odd_lots_in_price=True) & PRICE
    assert not flags(["I", "4"], odd_lots_in_price=True) & PRICE


def test_an_official_close_is_neither_price_nor_volume_nor_vwap() -> None:
    assert flags(["M"]) == flags(["9"]) == 0
    assert not flags(["M", "I"]) & (VOLUME | VWAP)


def test_sold_last_is_marked_and_may_set_a_price() -> None:
    assert flags(["L"]) == PRICE | VOLUME | VWAP | SOLD_LAST


def test_unknown_codes_are_regular_and_marked() -> None:
    assert flags(["?"]) == PRICE | VOLUME | VWAP | UNKNOWN
    assert flags(list("@@@@@@@@@")) & UNKNOWN, "more than eight codes do not fit"


def test_packed_codes_come_back() -> None:
    assert conditions.unpack(conditions.pack(["F", "T", "I"])) == ["F", "T", "I"]
    assert conditions.pack([]) == 0
