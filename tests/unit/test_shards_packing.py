"""A candidate's window on the wire: what msgspec makes of the lists, and read back as lists."""

import math

import msgspec
import numpy as np
import pytest

from shards import packing
from shards.state import RING, RingArrays
from signals import messages
from signals.window import Window, as_it_is
from tests.unit.domain_builders import a_candidate

DEPTH, SYMBOLS = 64, 7
K = 350_000_123
EDGES = (0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62)


def some_rings(seed: int) -> RingArrays:
    rng = np.random.default_rng(seed)

    def column(name: str) -> np.ndarray:
        shape, dtype = (DEPTH, SYMBOLS), RING[name]
        if name == "synthetic":
            return rng.integers(0, 2, shape).astype(dtype)
        if dtype.kind == "i":
            limit = 2**20 if name in ("value", "shares") else 2**62
            found = rng.choice([*EDGES, int(rng.integers(limit))], shape).astype(dtype)
            return np.minimum(found, limit)
        found = rng.normal(100, 50, shape)
        found[rng.random(shape) < 0.1] = np.nan
        found[rng.random(shape) < 0.05] = -0.0
        return found

    return RingArrays(*(column(name) for name in RingArrays._fields))


def the_lists(rings: RingArrays, row: int, k: int, count: int) -> dict[str, list]:
    """The slow twin: one look after the other."""
    told = {
        "k0": None, "o": rings.open, "h": rings.high, "l": rings.low, "c": rings.close,
        "v": rings.volume, "n": rings.trades, "synthetic": rings.synthetic, "x": rings.x,
        "ao": rings.ao,
    }  # fmt: skip
    at = [j % DEPTH for j in range(k - count + 1, k + 1)]
    found = {
        name: [k - count + 1] if ring is None else [ring[j, row].item() for j in at]
        for name, ring in told.items()
    }
    found["vwap"] = [
        rings.value[j, row].item() / rings.shares[j, row].item() / 1e6
        if rings.shares[j, row] > 0
        else rings.close[j, row].item()
        for j in at
    ]
    return found


@pytest.mark.parametrize("count", [1, 15, 16, 36, DEPTH])
@pytest.mark.parametrize("k", [K, 70, 2**32 + 40])
def test_a_packed_window_is_byte_for_byte_what_msgspec_packs(count: int, k: int) -> None:
    rings, rows = some_rings(count), np.array([4, 0, 6])

    packed = packing.windows(k, rows, count, rings)

    expected = [msgspec.msgpack.encode(the_lists(rings, row, k, count)) for row in rows.tolist()]
    assert [one.packed for one in packed] == expected


def test_a_window_from_before_the_epoch_reads_the_same() -> None:
    rings = some_rings(1)

    (one,) = packing.windows(-5, np.array([2]), 3, rings)

    assert one["k0"] == [-7]
    assert list(one) == list(the_lists(rings, 2, -5, 3))


def test_no_symbol_has_no_window() -> None:
    assert packing.windows(K, np.empty(0, np.int64), 36, some_rings(1)) == []


def test_recent_sums_are_those_of_the_last_minute_and_five() -> None:
    rings, rows, out = some_rings(3), np.array([5, 1]), np.empty(2, packing.RECENT)

    packing.recent_sums(K, 12, 60, rows, rings, out)

    for row, one in zip(rows.tolist(), out, strict=True):
        five = [j % DEPTH for j in range(K - 59, K + 1)]
        with np.errstate(over="ignore"):  # the edges' sums wrap, as whole numbers of 64 bits do
            for name in ("volume", "value"):
                ring = getattr(rings, name)
                assert one[f"{name}_1m"] == ring[five[-12:], row].sum()
                assert one[f"{name}_5m"] == ring[five, row].sum()
        assert one["shares_5m"] == rings.shares[five, row].sum()


def test_a_message_with_a_window_is_the_message_with_its_lists() -> None:
    rings = some_rings(8)
    (window,) = packing.windows(K, np.array([3]), 36, rings)
    told, plain = a_candidate(window=window), a_candidate(window=dict(window))

    encode = msgspec.msgpack.Encoder(enc_hook=as_it_is).encode

    assert encode(told) == msgspec.msgpack.encode(plain)
    back = msgspec.msgpack.decode(encode(told), type=messages.Candidate)
    assert type(back.window) is dict
    assert {len(column) for name, column in back.window.items() if name != "k0"} == {36}


def test_a_window_reads_like_a_dict() -> None:
    window = Window(msgspec.msgpack.encode({"k0": [7], "c": [1.5, math.inf]}))

    assert (window["c"], window.get("x"), len(window), bool(window)) == (
        [1.5, math.inf],
        None,
        2,
        True,
    )
    assert window == {"k0": [7], "c": [1.5, math.inf]}
    assert repr(window) == "{'k0': [7], 'c': [1.5, inf]}"


def test_nothing_else_gets_into_a_message_this_way() -> None:
    with pytest.raises(NotImplementedError, match="a set in a message"):
        as_it_is({1})
