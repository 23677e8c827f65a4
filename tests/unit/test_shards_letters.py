"""Letters to shards: every symbol has exactly one owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.symbols import is_pattern, is_symbol
from shards import letters
from shards.letters import assign_letters, holds, merge, pattern

SYMBOLS = st.text("ABCMYZabz019.-/_", min_size=1, max_size=6)


@given(SYMBOLS, st.integers(1, 26), st.integers(1, 26))
def test_every_symbol_has_exactly_one_owner(symbol: str, shards: int, each: int) -> None:
    assigned = assign_letters(range(1, shards + 1), each)

    owners = [shard for shard, ranges in assigned.items() if holds(ranges, symbol)]

    assert len(owners) == 1
    if not "A" <= symbol[0] <= "Z":
        assert owners == [1], "what is no letter goes to the first"


def test_twenty_six_shards_have_a_letter_each() -> None:
    assigned = assign_letters(range(1, 27))

    assert assigned[2] == [("B", "C")]
    assert assigned[26] == [("Z", "[")]
    assert assigned[1] == [("", "B"), ("[", "")]


def test_fewer_shards_take_more_letters_than_asked_for() -> None:
    assert letters.effective_letters_per_shard(1, 4) == 7
    assert assign_letters([3, 5, 6, 9])[9] == [("V", "[")]


def test_one_shard_has_everything() -> None:
    assert assign_letters([1]) == {1: [("", "")]}
    assert pattern(("", "")) == "*"


def test_more_shards_than_needed_stay_without_letters() -> None:
    assert assign_letters([1, 2, 3], 26) == {1: [("", "")], 2: [], 3: []}


@pytest.mark.parametrize(("each", "shards"), [(0, 1), (27, 1), (1, 0)])
def test_impossible_assignments_are_refused(each: int, shards: int) -> None:
    with pytest.raises(ValueError, match="cannot give"):
        letters.effective_letters_per_shard(each, shards)


@given(st.integers(1, 26), st.integers(1, 26))
def test_the_relay_takes_every_pattern(shards: int, each: int) -> None:
    for ranges in assign_letters(range(1, shards + 1), each).values():
        for one in ranges:
            assert is_pattern(pattern(one)) or is_symbol(pattern(one))


def test_ranges_that_touch_are_joined() -> None:
    assert merge([("B", "C"), ("A", "B"), ("X", "")]) == [("A", "C"), ("X", "")]


@pytest.mark.parametrize(
    ("cell", "touched"), [("AA", True), ("AN", True), ("AZ", False), ("A", True), ("B", False)]
)
def test_a_cell_touches_a_split_letter(cell: str, touched: bool) -> None:
    assert letters.touches([("A", "ANT")], cell) is touched
