"""Packed messages: what goes in comes out, and no bytes raise anything but MessageError."""

import base64
import random
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals import messages
from signals.messages import (
    MAX_PACKED_BYTES,
    Ack,
    Candidate,
    ExitSignal,
    Gravity,
    IndexBucket,
    MessageError,
    Quote,
    Report,
    SessionState,
    ShardReady,
    StopDone,
    Withdrawn,
)

READY = ShardReady(
    run="r1", shard=3, epoch=1, assignment=2, params_version=1, last_k=None, resumed=False
)


def a_candidate(symbol: str = "AIG") -> Candidate:
    """Build a candidate with a short window."""
    return Candidate(
        candidate_id=f"2013-10-07-{symbol}-276238800", symbol=symbol, k=276_238_802,
        state="CANDIDATE", shadow=False, born_k=276_238_801, b=276_238_800, flat_len=4, x=2.5,
        z=2.1, accel=0.5, ao=0.012, ac=0.003, slow_mean=48.61, surge=1.4, cum_volume=1_200,
        cum_dollars=58_332.0, jump_share=None, burst_trades=17, sigma5_bps=1.1, sigma1m_bps=3.2,
        noise_gain=0.8, close=48.63, base_close=48.58, volume_1m=5_000, volume_5m=21_000,
        dollar_volume_1m=243_000.0, synthetic_share=0.05, returns_1m_bps=[0.1, -0.3],
        window={"k0": [276_238_767], "c": [48.58, 48.63], "v": [100, 200]},
        session=SessionState(
            vwap=48.55, vwap_sd=0.1, cum_volume=9, trades=3, open=48.5, high=48.7, low=48.4,
            vwap_5min_ago=None,
        ),
        quote=Quote(bid=48.62, ask=48.63, bid_size=500, ask_size=300, ts_ns=1),
    )  # fmt: skip


def a_report(candidates: int = 1) -> Report:
    return Report(
        run="r1", shard=3, epoch=1, seq=9, k=276_238_802, stop=None, params_version=1,
        assignment=2, n_symbols=4, n_fresh=3, prints=12_345, late_prints=0, feed_lag_ms=0.5,
        gravity=Gravity(n=4, n_up2=5, w=1_000, w_up2=900),
        candidates=[a_candidate(f"S{number}") for number in range(candidates)],
        withdrawn=[Withdrawn(candidate_id="c", symbol="BAC", k=1, reason="age")],
        index=[IndexBucket(symbol="SPY", k=1, close=168.2, mid=None, ts_ns=1)],
    )  # fmt: skip


EXIT = ExitSignal(
    run="r1", signal_id="x1", position_id="p1", position_version=1, symbol="AIG", shard=3, epoch=1,
    k=1, kind="stop", threshold=48.4, price=48.39, size=100, ts_ns=1, trade_id=7, exchange="N",
    conditions=["@"], prior_price=48.41, prior_ts_ns=0, prints_through=1, sigma5_bps=1.0, bid=48.38,
    ask=48.4, quote_ts_ns=1,
)  # fmt: skip
EACH = [
    a_report(),
    a_report(candidates=0),
    StopDone(run="r1", shard=3, epoch=1, seq=2, stop=5, t_ns=10),
    READY,
    Ack(run="r1", shard=3, what="watch", ref="p1", version=2),
    EXIT,
]


def packed_bytes(body: bytes) -> str:
    return base64.b64encode(zlib.compress(body)).decode()


@pytest.mark.parametrize("message", EACH, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_trip(message):
    assert messages.unpack(messages.pack(message)) == message


def test_packing_the_same_message_gives_the_same_text():
    assert messages.pack(a_report()) == messages.pack(a_report())


def test_a_message_that_is_too_large_is_not_packed():
    noise = random.Random(1).randbytes(MAX_PACKED_BYTES).hex()

    with pytest.raises(MessageError, match="packs to"):
        messages.pack(msgspec.structs.replace(READY, run=noise))


def test_a_packed_message_over_the_limit_is_not_read():
    with pytest.raises(MessageError, match="over the limit"):
        messages.unpack("A" * (MAX_PACKED_BYTES + 1))


def test_a_bomb_is_stopped_at_the_limit():
    bomb = packed_bytes(b"\0" * (16 * MAX_PACKED_BYTES + 1))

    assert len(bomb) < MAX_PACKED_BYTES
    with pytest.raises(MessageError, match="inflates"):
        messages.unpack(bomb)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgspec.msgpack.encode(None),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode({"type": "nonsense"}),
        msgspec.msgpack.encode({"type": "stop_done", "run": "r1"}),
        msgspec.msgpack.encode({"type": "ack", "run": 1, "shard": "x"}),
        msgspec.msgpack.encode(READY)[:-1],
        msgspec.msgpack.encode(READY) + b"\xc0",
        b"\x81" * 100_000,  # maps in maps, deeper than any stack
        b"\x91" * 1_000_000,
    ],
)
def test_a_body_of_another_shape_is_not_a_message(body):
    with pytest.raises(MessageError):
        messages.unpack(packed_bytes(body))


@pytest.mark.parametrize(
    "packed", ["", "====", "not base64!", "AAAA", "Ünicode", "\0", packed_bytes(b"x")[:-4]]
)
def test_text_that_is_not_packed_is_not_a_message(packed):
    with pytest.raises(MessageError):
        messages.unpack(packed)


def test_a_message_cut_anywhere_is_refused():
    whole = messages.pack(a_report())

    for end in range(len(whole)):
        with pytest.raises(MessageError):
            messages.unpack(whole[:end])


@pytest.mark.parametrize("field", ["unknown", "candidates", "window"])
def test_nesting_deeper_than_the_stack_is_refused(field):
    deep = b"\x91" * 100_000 + b"\xc0"
    body = msgspec.to_builtins(a_report())
    if field == "window":
        body["candidates"][0]["window"] = {"c": msgspec.Raw(deep)}
    else:
        body[field] = msgspec.Raw(deep)

    with pytest.raises(MessageError):
        messages.unpack(packed_bytes(msgspec.msgpack.encode(body)))


def test_anything_after_the_message_is_refused():
    packed = base64.b64decode(messages.pack(READY)) + b"x"

    with pytest.raises(MessageError):
        messages.unpack(base64.b64encode(packed).decode())


def unpack_or_refuse(packed: str) -> None:
    try:
        messages.unpack(packed)
    except MessageError:
        pass


@given(st.text())
def test_no_text_raises_anything_but_a_message_error(text):
    unpack_or_refuse(text)


@given(st.binary())
def test_no_bytes_raise_anything_but_a_message_error(body):
    unpack_or_refuse(base64.b64encode(body).decode())
    unpack_or_refuse(packed_bytes(body))


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.sampled_from(EACH),
    st.dictionaries(
        st.sampled_from(["type", "run", "shard", "k", "candidates", "gravity", "kind", "price"]),
        JSON_LIKE,
        min_size=1,
    ),
)
def test_a_message_with_hostile_fields_is_read_or_refused(message, changes):
    body = msgspec.to_builtins(message) | changes

    unpack_or_refuse(packed_bytes(msgspec.msgpack.encode(body)))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_read_or_refused(position, flip):
    body = bytearray(msgspec.msgpack.encode(EACH[0]))
    body[position % len(body)] ^= flip

    unpack_or_refuse(packed_bytes(bytes(body)))
