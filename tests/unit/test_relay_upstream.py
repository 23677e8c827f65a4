"""What the relay makes of a bad upstream, without sockets: silence, repeats, gaps, roll-backs."""

import datetime as dt

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import frames
from relay.dispatch import Batch, Dispatcher, Room
from relay.duplicates import SeenTrades
from relay.gate import Bucket, Gate
from relay.outbox import FRAME_MESSAGES
from relay.routing import Route
from relay.watchdog import Silence, in_session, limit_s
from tests.unit.test_relay_fanout import T0_NS, Told, a_fanout, a_frame, send


def a_trade(symbol: str, i: int, exchange: str = "V", tape: str = "C") -> bytes:
    body = {"T": "t", "S": symbol, "i": i, "x": exchange, "p": 1.5, "s": 1, "c": ["@"], "z": tape}
    return frames.encode_message({**body, "t": T0_NS})


def a_quote(symbol: str) -> bytes:
    return frames.encode_message({"T": "q", "S": symbol, "bp": 1.5, "ap": 2.0, "t": T0_NS})


# --- repeats -------------------------------------------------------------------------------------


def test_a_trade_is_a_repeat_only_with_the_same_symbol_exchange_tape_and_id():
    seen = SeenTrades([frames.encode_array([a_trade("A", 1)])])
    kept = [
        a_trade("A", 2), a_trade("B", 1), a_trade("A", 1, exchange="Q"),
        a_trade("A", 1, tape="A"), a_quote("A"),
    ]  # fmt: skip

    frame, count = seen.without(frames.encode_array([a_trade("A", 1), *kept]))

    assert (frame, count) == (frames.encode_array(kept), 1)


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 9)), max_size=20),
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 9)), max_size=20),
)
def test_repeats_are_what_a_set_says(before, after):
    seen = SeenTrades([frames.encode_array([a_trade(*one) for one in before])])

    frame, count = seen.without(frames.encode_array([a_trade(*one) for one in after]))

    left = [(m["S"], m["i"]) for m in msgpack.unpackb(frame, timestamp=0)]
    assert left == [one for one in after if one not in set(before)]
    assert count == len(after) - len(left)


def test_repeats_are_dropped_after_a_reconnect_only_and_for_a_while_only():
    fanout = a_fanout()
    told = Told(fanout, extensions=["frame"])
    told.say(action="subscribe", trades=["*"])
    told.frames()

    send(fanout, frames.encode_array([a_trade("A", 1)]), frames.encode_array([a_trade("A", 1)]))
    assert len(told.symbols()) == 2
    fanout.reconnected(now_s=10)
    send(fanout, frames.encode_array([a_trade("A", 1), a_trade("A", 2)]), now_s=11)
    assert [m["i"] for m in told.messages() if m["T"] == "t"] == [2]
    send(fanout, frames.encode_array([a_trade("A", 1)]), now_s=100)
    assert len(told.symbols()) == 1
    assert fanout.counters["duplicates"] == 1


# --- gaps and roll-backs -------------------------------------------------------------------------


def test_a_gap_is_marked_in_its_place_for_those_who_asked_and_replayed():
    fanout = a_fanout()
    asker, other = Told(fanout), Told(fanout, extensions=["frame"])
    for told in (asker, other):
        told.say(action="subscribe", trades=["*"])
        told.frames()

    send(fanout, a_frame("A"))
    fanout.gap(5, 7, "closed", now_s=0)
    send(fanout, a_frame("B"))

    kinds = [(m["T"], m.get("S")) for m in asker.messages() if m["T"] in ("t", "gap")]
    assert kinds == [("t", "A"), ("gap", None), ("t", "B")]
    assert [m["S"] for m in other.messages() if m["T"] != "x"] == ["A", "B"]
    late = Told(fanout)
    late.say(action="subscribe", trades=["*"], resume={"e": fanout.epoch, "o": 1})
    (marker,) = [m for m in late.messages() if m["T"] == "gap"]
    assert marker == {"T": "gap", "from": 5, "to": 7, "reason": "closed"}


def test_a_refused_subscription_is_taken_back_from_who_asked_for_it():
    unions: list[dict] = []
    fanout = a_fanout(on_union=unions.append)
    modest, greedy = Told(fanout), Told(fanout)
    modest.say(action="subscribe", trades=["A"])
    greedy.say(action="subscribe", trades=["A", "B"])
    for told in (modest, greedy):
        told.frames()

    fanout.roll_back({"trades": frozenset({"A"})}, now_s=0)

    assert modest.messages() == []
    error, acknowledgment = greedy.messages()
    assert error["code"] == 405
    assert acknowledgment["trades"] == ["A"]
    assert unions[-1] == {"trades": ["A"]}
    send(fanout, a_frame("A", "B"))
    assert greedy.symbols() == ["A"]


# --- silence -------------------------------------------------------------------------------------


def new_york_ns(text: str) -> int:
    from_utc = dt.datetime.fromisoformat(text + "-04:00")
    return int(from_utc.timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-10-23T09:29:59", False),
        ("2026-10-23T09:30:00", True),
        ("2026-10-23T15:59:59", True),
        ("2026-10-23T16:00:00", False),
        ("2026-10-24T12:00:00", False),
    ],
)
def test_the_session_is_regular_hours_on_weekdays(moment, expected):
    assert in_session(new_york_ns(moment)) == expected


def test_silence_expires_once_and_patience_doubles_until_data_comes():
    silence = Silence()
    silence.subscribed(0.0)
    assert not silence.expired(2.0, now_s=2.0)
    assert silence.expired(2.0, now_s=2.1)
    assert not silence.expired(2.0, now_s=50.0)
    silence.subscribed(50.0)
    assert not silence.expired(2.0, now_s=53.9)
    assert silence.expired(2.0, now_s=54.1)
    silence.subscribed(60.0)
    silence.heard(61.0)
    assert silence.expired(2.0, now_s=63.1)


def test_how_long_silence_may_last_depends_on_what_is_subscribed():
    assert limit_s("sip", {"trades": ["*"]}) == 2.0
    assert limit_s("iex", {"quotes": ["*"]}) == 10.0
    assert limit_s("sip", {"trades": ["A"], "bars": ["*"]}) == 60.0


# --- limits --------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = Bucket(burst=2, per_second=1, now_s=0)

    assert [bucket.take(1, now_s=now) for now in (0, 0, 0, 1, 1, 9, 9, 9)] == [
        True, True, False, True, False, True, True, False,
    ]  # fmt: skip


def test_the_gate_counts_the_pending_in_all_and_per_address():
    gate = Gate(pending_max=3, pending_per_address_max=2, burst=100, per_second=1)

    assert [gate.admit(a, now_s=0) for a in ("x", "x", "x", "y", "y")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    gate.leave("x")
    assert gate.admit("y", now_s=0)


# --- one pass for all ----------------------------------------------------------------------------

entries = st.sampled_from(["*", "A", "AB", "A*", "B*", "[A,B)", "[AB,)", "[,AC)", "C"])
names = st.text("ABC", min_size=1, max_size=3)


@given(
    st.lists(st.lists(entries, max_size=3), min_size=1, max_size=6),
    st.lists(st.lists(names, max_size=12), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_one_pass_gives_each_consumer_what_its_own_route_selects(routed, framed, limit):
    routes = [Route({"trades": found}) for found in routed]
    encoded = [
        frames.encode_array([a_trade(name, i) for i, name in enumerate(found)]) for found in framed
    ]
    data = b"".join(encoded)
    spans = frames.scan(data)
    batch = Batch(data, spans, np.cumsum([len(one) for one in encoded]), 100, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.dispatch.FRAME_MESSAGES", limit)

        pieces = list(Dispatcher(routes).deal(batch, Room()))

    frame_of = np.searchsorted(batch.ends, spans["end"])
    for line, route in enumerate(routes):
        own = [piece for piece in pieces if piece.line == line]
        mask = route.mask(spans)
        assert b"".join(piece.body for piece in own) == frames.select(data, spans, mask)[1]
        assert all(0 < piece.messages <= limit for piece in own)
        told = [piece.offset for piece in own]
        assert told == sorted(told)
        done = 0
        for piece in own:  # everything up to the offset told is there
            done += piece.messages
            assert done >= np.count_nonzero(mask & (frame_of + 100 <= piece.offset))
        if own:
            assert told[-1] == 100 + len(framed) - 1


def test_only_a_frame_over_the_limit_is_split():
    route = Route({"trades": ["*"]})
    encoded = [
        frames.encode_array([a_trade("A", i) for i in range(size)]) for size in (300, 300, 1100)
    ]
    data = b"".join(encoded)
    batch = Batch(data, frames.scan(data), np.cumsum([len(one) for one in encoded]), 1, 0)

    pieces = list(Dispatcher([route]).deal(batch, Room()))

    found = [(piece.messages, piece.offset) for piece in pieces]
    assert FRAME_MESSAGES == 500
    assert found == [(300, 1), (300, 2), (500, 2), (500, 2), (100, 3)]


def test_a_frame_that_is_cut_off_does_not_swallow_the_next():
    fanout = a_fanout()
    told = Told(fanout, extensions=["frame"])
    told.say(action="subscribe", trades=["*"])
    told.frames()
    whole = a_frame("A", "B")
    at = len(a_frame("A"))

    send(fanout, whole[:at], whole[at:], a_frame("C"))  # together the first two would be one

    assert told.symbols() == ["C"]
    assert fanout.counters["malformed"] == 2
