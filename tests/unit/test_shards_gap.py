"""A gap marker of the relay reaches the engine before anything after it is closed."""

from unittest.mock import MagicMock

import msgpack

from relay import frames
from relay.extension import pack_extension
from shards.duty import Duty


def a_duty() -> tuple[Duty, MagicMock]:
    engine = MagicMock()
    engine.closing.return_value = []
    engine.exits.symbols = ()
    duty = Duty(
        MagicMock(watch=[]), engine, send=lambda message: None, seq=lambda: 1, keep=None,
        now_ns=lambda: 0,
    )  # fmt: skip
    return duty, engine


def test_a_gap_marker_is_told_to_the_engine_with_its_times():
    duty, engine = a_duty()
    marker = msgpack.packb({"T": "gap", "from": 5, "to": 9, "reason": "silent"})

    duty.take(frames.encode_array([pack_extension(1, 3, 2, 10), marker]))

    engine.gap.assert_called_once_with(5, 9)
    calls = [name for name, _, _ in engine.mock_calls]
    assert calls.index("gap") < calls.index("closing")
    assert not engine.feed.called


def test_a_marker_that_makes_no_sense_is_set_aside():
    duty, engine = a_duty()

    for broken in ({"T": "gap"}, {"T": "gap", "from": "x", "to": None}):
        duty.take(frames.encode_array([pack_extension(1, 3, 2, 10), msgpack.packb(broken)]))

    assert not engine.gap.called
