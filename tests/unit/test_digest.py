"""The hash that proves two runs equal tags every value with its type and its length."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.digest import digest

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
ROWS = st.lists(st.lists(VALUES, max_size=4), max_size=4)


def tagged(value):
    """Return a value that is equal exactly when the digest must be: type and bits count."""
    if isinstance(value, list | tuple):
        return ("l", tuple(map(tagged, value)))
    if isinstance(value, float):
        return ("f", struct.pack("<d", value))
    return (type(value).__name__, value)


def test_no_rows_hash_to_the_hash_of_nothing():
    assert digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_hash_of_known_rows_never_changes():
    rows = [(276_238_800, "AIG", 48.6, None, True), (276_238_801, "BAC", -0.0, [1, "x"], False)]

    assert digest(rows) == "d7309fe89f2fd43e00bc5bb35a554f8eca3c7c07211dbc0009a4b306b5673aa0"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1]], [[1.0]]),
        ([[1]], [[True]]),
        ([[0]], [[False]]),
        ([[0]], [[None]]),
        ([["1"]], [[1]]),
        ([[""]], [[None]]),
        ([[0.0]], [[-0.0]]),
        ([["ab", "c"]], [["a", "bc"]]),
        ([["a"], ["b"]], [["a", "b"]]),
        ([[["a"], "b"]], [[["a", "b"]]]),
        ([[]], []),
        ([[1], [2]], [[2], [1]]),
        ([["n"]], [[None]]),
    ],
)
def test_rows_that_differ_in_type_shape_or_order_hash_apart(one, other):
    assert digest(one) != digest(other)


def test_a_list_and_a_tuple_are_the_same_row():
    assert digest([[1, [2.5, "x"]]]) == digest([(1, (2.5, "x"))])


def test_rows_may_come_from_a_generator():
    assert digest([k, "AIG"] for k in range(3)) == digest([[0, "AIG"], [1, "AIG"], [2, "AIG"]])


def test_not_a_number_is_hashed_by_its_bits():
    assert digest([[math.nan]]) == digest([[math.nan]])
    assert digest([[math.nan]]) != digest([[-math.nan]])


@pytest.mark.parametrize("value", [b"bytes", bytearray(2), {"a": 1}, object(), 1j, {1}])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="cannot digest"):
        digest([[value]])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_integers_beyond_64_bits_are_refused(value):
    with pytest.raises(struct.error):
        digest([[value]])


@given(ROWS, ROWS)
def test_hashes_are_equal_exactly_when_the_rows_are(one, other):
    assert (digest(one) == digest(other)) == (tagged(one) == tagged(other))
