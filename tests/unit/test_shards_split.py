"""Assignments by hand, by load, and after a death: one owner each, and little to carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.symbols import is_pattern, is_symbol
from shards.letters import LETTERS, holds, pattern
from shards.split import by_hand, by_load, check, check_plan, minus, planned, take_over

CELLS = st.text("ABMYZ", min_size=1, max_size=2)
LOADS = st.dictionaries(CELLS, st.floats(0, 1000), max_size=20)
EVERY = [1, 2, 3, 4]


@given(LOADS, st.integers(1, 26))
def test_by_load_every_symbol_has_one_owner(load: dict[str, float], count: int) -> None:
    assigned = by_load(range(1, count + 1), load)

    check(assigned)
    for one in (one for ranges in assigned.values() for one in ranges):
        assert is_pattern(pattern(one)) or is_symbol(pattern(one))


def test_a_hot_letter_is_split_below_itself() -> None:
    load = {"AA": 40.0, "AM": 40.0, "AZ": 40.0, **dict.fromkeys(LETTERS[1:], 1.0)}

    assert by_load([1, 2, 3], load) == {1: [("", "AM")], 2: [("AM", "AZ")], 3: [("AZ", "")]}


def test_by_load_the_heaviest_carries_the_least() -> None:
    load = dict(zip(LETTERS, (8, 1, 1, 8, 1, 1, 8, 1, 1, 8, 1, 1), strict=False))

    assigned = by_load(EVERY, load)

    carried = [sum(load.get(c, 0) for c in LETTERS if holds(assigned[s], c)) for s in EVERY]
    assert carried == [10, 10, 10, 10]


def test_a_map_is_written_as_people_say_it() -> None:
    assert by_hand(EVERY, "ABC | D–L | M-Q | R-Z") == {
        1: [("", "D"), ("[", "")], 2: [("D", "M")], 3: [("M", "R")], 4: [("R", "[")],
    }  # fmt: skip
    assert by_hand([7, 9], "[A,AN) C-Z | [AN,C)") == {
        7: [("", "AN"), ("C", "")], 9: [("AN", "C")],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A-M", "1 parts for 2"),
        ("A-M | M-Z", "two owners"),
        ("A-L | N-Z", "no owner"),
        ("A-L | M-Z a", "neither letters"),
        ("A-M | [N,N) N-Z", "empty range"),
        ("[A,AAPL) | [AAPL,B) B-Z", "finer"),
    ],
)
def test_maps_that_lose_or_double_symbols_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        by_hand([1, 2], text)


@given(LOADS, st.sets(st.sampled_from(EVERY), min_size=1), st.booleans())
def test_after_a_death_every_symbol_has_one_owner(
    load: dict[str, float], living: set[int], joins: bool
) -> None:
    before = by_load(EVERY, load)
    alive = sorted(living) + [5] * joins

    after = take_over(before, alive, load)

    check(after)
    assert sorted(after) == alive
    for shard in living:
        for low, _ in before[shard]:
            assert holds(after[shard], low or "A"), "nobody living gives anything away"


def test_the_lightest_take_over_most() -> None:
    before = {1: [("", "B")], 2: [("B", "C")], 3: [("C", "")]}
    load = {"A": 50.0, "B": 20.0, **dict.fromkeys("CDEFGHI", 10.0)}

    after = take_over(before, [1, 2], load)

    assert after == {1: [("", "B"), ("H", "")], 2: [("B", "H")]}  # 70 each


def test_nobody_left_is_said() -> None:
    with pytest.raises(ValueError, match="no shard"):
        take_over({1: [("", "")]}, [], {})
    with pytest.raises(ValueError, match="no shard"):
        by_load([], {})


def test_a_plan_is_a_word_or_a_map_and_the_dead_are_taken_over() -> None:
    load = {"A": 9.0, "B": 1.0}
    each = {"letters_per_shard": 1, "load": load}

    assert planned("letters", [4, 6], **each) == {4: [("", "N"), ("[", "")], 6: [("N", "[")]}
    assert planned("load", [4, 6], **each) == by_load([4, 6], load)
    assert planned("A-M | N-Z", [1, 2, 3], **each)[2] == [("N", "[")]
    assert planned("A-M | N-Z", [2], **each) == {2: [("", "")]}
    for bad in ("by chance", "A-M | M-Z", "", "|"):
        with pytest.raises(ValueError, match=r"neither|owner"):
            check_plan(bad)


RANGES = st.lists(st.tuples(CELLS, st.one_of(CELLS, st.just(""))), max_size=4).map(
    lambda found: [(low, high) for low, high in found if not high or low < high]
)


@given(RANGES, RANGES, st.text("ABMYZ", min_size=1, max_size=3))
def test_what_is_left_is_what_was_not_taken(ranges, taken, symbol: str) -> None:
    left = minus(ranges, taken)

    assert holds(left, symbol) == (holds(ranges, symbol) and not holds(taken, symbol))
