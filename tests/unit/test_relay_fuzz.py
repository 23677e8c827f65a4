"""Both sides of the protocol against bytes from anywhere: nothing raises but what is documented.

`TRADEPLANE_FUZZ=5000000 pytest tests/unit/test_relay_fuzz.py` for the long run; the count is
shared by the targets. Frames are valid ones with damage, and plain noise.
"""

import gc
import json
import os
import random
import tracemalloc

import msgpack
import pytest

from relay import dispatch, frames
from relay.client_protocol import ClientProtocol, ClientState
from relay.data_frames import DataFrames, frame_header
from relay.duplicates import SeenTrades
from relay.errors import FrameError
from relay.extension import pack_extension, read_extension
from relay.fanout import Fanout
from relay.json_frames import to_json
from relay.news import news_in
from relay.protocol import Consumer, ServerProtocol
from relay.ring import Ring
from relay.wire import EXTENSIONS, ProtocolError, is_control

COUNT = int(os.environ.get("TRADEPLANE_FUZZ", "100000"))
SEED = int(os.environ.get("TRADEPLANE_FUZZ_SEED", "20261123"))
TAGS = b"\x80\x8f\x90\x9f\xa0\xbf\xc1\xc7\xc9\xd9\xdb\xdc\xdd\xdf\xff"
LEAK_BYTES = 8 << 20
DEEP = b"\xa1z" + b"\x91" * 3000 + b"\xc0"  # deeper than any decoder goes
_STARTS = (
    b"\x82\xa1T\xa5clock", b"\x82\xa1T\xa1n", b"\x85\xa1T\xa1x",
    b"\x83\xa1T\xa1t\xa1S\xa4AAPL", b"\x83\xa1T\xa3gap\xa1e\x01",
)  # fmt: skip
SIZES = (0, 1, 2, 15, 16, 31, 32, 127, 128, 255, 256, 65535, 1 << 31, (1 << 32) - 1)


def corpus() -> list[bytes]:
    """Valid frames of every kind, to be damaged."""
    stamp = 1_381_152_600_000_000_001
    bar = {"o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 10, "n": 3, "vw": 1.1}
    bodies = [
        {"T": "t", "S": "AAPL", "i": 7, "x": "V", "p": 10.25, "s": 100, "c": ["@"], "z": "C"},
        {"T": "q", "S": "A", "bx": "V", "bp": 1.5, "bs": 1, "ax": "Q", "ap": 2, "as": 3, "c": []},
        *({"T": kind, "S": "IBM", **bar} for kind in "bud"),
        {"T": "s", "S": "A", "sc": "H", "sm": "Halt", "rc": "T1", "rm": "News", "z": "C"},
        {"T": "l", "S": "A", "u": 2.0, "d": 1.0, "i": "B", "z": "C"},
        {"T": "c", "S": "A", "x": "V", "oi": 1, "op": 1.0, "os": 1, "oc": ["@"], "ci": 2,
         "cp": 1.1, "cs": 2, "cc": ["@"], "z": "C"},
        {"T": "x", "S": "A", "i": 1, "x": "V", "p": 1.0, "s": 1, "a": "C", "z": "C"},
        {"T": "i", "S": "A", "p": 1.0, "z": "C"},
    ]  # fmt: skip
    encoded = [frames.encode_message({**body, "t": stamp}) for body in bodies]
    controls = [
        {"T": "success", "msg": "connected"}, {"T": "success", "msg": "authenticated"},
        {"T": "error", "code": 406, "msg": "connection limit exceeded"},
        {"T": "subscription", "trades": ["A"], "quotes": None, "bars": ["*"]},
        {"T": "clock", "t": stamp, "stop": 3}, {"T": "gap", "from": 1, "to": 2, "reason": "x"},
        {"T": "resume", "state": "GAP", "from": 1, "to": 2, "e": 3},
    ]  # fmt: skip
    head = pack_extension(1, 2, 1, stamp)
    return [
        *(frames.encode_array([one]) for one in encoded),
        frames.encode_array(encoded),
        frames.encode_array([head, *encoded]),
        frames.encode_array([head]),
        *(msgpack.packb([one]) for one in controls),
        b"\x90", b"\xdc\x00\x00", *(b"\x91" + start + DEEP for start in _STARTS),
    ]  # fmt: skip


def requests() -> list[bytes]:
    """What a client may say, in both encodings."""
    said = [
        {"action": "auth", "key": "K", "secret": "S", "extensions": list(EXTENSIONS)},
        {"action": "auth", "key": "K", "secret": "wrong"},
        {"action": "subscribe", "trades": ["A", "B*", "[A,C)"], "quotes": ["*"], "news": None},
        {"action": "subscribe", "trades": [], "resume": {"e": 77, "o": 1}},
        {"action": "unsubscribe", "trades": ["A"], "orderbooks": None},
        {"action": "upstream", "command": "open", "key": "K", "secret": "S"},
        {"action": "status"},
    ]
    return [json.dumps(one).encode() for one in said] + [msgpack.packb(one) for one in said]


class Mutator:
    """Damages frames; the same seed, the same damage."""

    def __init__(self, seeds: list[bytes], seed: int) -> None:
        self._seeds = seeds
        self._rng = random.Random(seed)

    def __call__(self) -> bytes:
        rng = self._rng
        if rng.random() < 0.05:
            return rng.randbytes(rng.randrange(64))
        data = bytearray(rng.choice(self._seeds))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
            self._damage(data)
        return bytes(data)

    def _damage(self, data: bytearray) -> None:
        rng, at = self._rng, self._rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 3 if at < len(data):  # the tags that carry lengths
                data[at] = rng.choice(
                    b"\x80\x8f\x90\x9f\xa0\xbf\xc1\xc7\xc9\xd9\xdb\xdc\xdd\xdf\xff"
                )
            case 4:
                size = rng.choice(SIZES)
                data[at : at + 4] = size.to_bytes(4, "big")
            case _:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
                del data[4096:]


def shares(parts: int) -> int:
    return max(1, COUNT // parts)


@pytest.fixture(autouse=True)
def _nothing_leaks():
    """What a target keeps afterwards is bounded."""
    dispatch.warm()
    gc.collect()
    tracemalloc.start()
    yield
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < LEAK_BYTES


pytestmark = pytest.mark.timeout(0 if COUNT > 1_000_000 else 300)


def test_kernels_and_readers_take_any_bytes():
    mutate = Mutator(corpus(), SEED)
    good = 0
    for _ in range(shares(4)):
        frame = mutate()
        is_control(frame)
        try:
            read_extension(frame)
            spans = frames.scan(frame)
        except FrameError:
            continue
        good += 1
        assert frames.trades(frame, spans).size + frames.quotes(frame, spans).size <= spans.size
        again = frames.gather(frame, spans)
        assert frames.scan(again).size == spans.size
        json.loads(to_json(again))
        try:
            assert sum(len(body) for body, _ in news_in(again)) <= len(again)
        except ValueError:
            pass
    assert good > shares(4) // 10


def test_the_fan_out_takes_any_upstream():
    fanout = Fanout(
        epoch=77, on_union=lambda union: None, ring=Ring(max_bytes=1 << 16, max_seconds=60)
    )
    lines = []
    for codec, extensions in (("msgpack", EXTENSIONS), ("json", ()), ("msgpack", ("frame",))):
        protocol = ServerProtocol(
            codec, lambda key, secret: Consumer(id=key), extensions_offered=EXTENSIONS
        )
        line = fanout.add(protocol, lambda: None)
        auth = {"action": "auth", "key": "K", "secret": "S", "extensions": list(extensions)}
        protocol.receive(json.dumps(auth))
        fanout.authenticated(line)
        channels = {key: ["*"] for key in ("trades", "quotes", "bars", "statuses", "lulds")}
        for event in protocol.receive(json.dumps({"action": "subscribe", **channels})):
            fanout.subscribed(line, event.channels, None, now_s=0)
        lines.append(line)
    mutate = Mutator(corpus(), SEED + 1)
    sent = 0
    for number in range(shares(4) // 4):
        if number % 1000 == 999:
            fanout.reconnected(now_s=number / 1000)
        received = [mutate() for _ in range(4)]
        fanout.receive(received, now_s=number / 1000, now_ns=number)
        for line in lines:
            for frame in line.outbox.take():
                sent += len(json.loads(frame) if isinstance(frame, str) else frame)
    assert sent
    assert fanout.counters["malformed"] > 0
    assert fanout.ring.size_bytes < 1 << 17


def test_the_server_side_answers_anything():
    mutate = Mutator(requests(), SEED + 2)
    protocol = None
    for number in range(shares(4)):
        if protocol is None or protocol.closed or number % 100 == 0:
            protocol = ServerProtocol(
                ("json", "msgpack")[number % 2],
                lambda key, secret: Consumer(id=key, role="hub") if secret == "S" else None,
                extensions_offered=EXTENSIONS,
                upstream_control=True,
            )
            if number % 3:
                protocol.receive(requests()[0])
        raw = mutate()
        protocol.receive(raw if number % 2 else raw.decode("utf-8", "replace"))
        for answer in protocol.frames_to_send():
            found = json.loads(answer) if isinstance(answer, str) else msgpack.unpackb(answer)
            assert len(found) == 1


def test_the_client_side_raises_protocol_errors_only():
    mutate = Mutator(corpus(), SEED + 3)
    client = ClientProtocol("K", "S", extensions=EXTENSIONS)
    refused = 0
    for number in range(shares(8)):
        if client.state is ClientState.REFUSED or number % 50 == 0:
            client = ClientProtocol("K", "S", extensions=EXTENSIONS)
            client.receive(msgpack.packb([{"T": "success", "msg": "connected"}]))
        try:
            client.receive(mutate())
        except ProtocolError:
            refused += 1
        client.frames_to_send()
    assert refused


def test_websocket_bytes_split_anywhere_give_the_same_messages():
    rng = random.Random(SEED + 4)
    mutate = Mutator(corpus(), SEED + 4)
    for _ in range(shares(80)):
        sent = [mutate() for _ in range(10)]
        stream = b"".join(frame_header(len(one)) + one for one in sent)
        if rng.random() < 0.3:
            stream = bytearray(stream)
            stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
            stream = bytes(stream)
        whole = DataFrames(max_bytes=1 << 16).feed(stream)
        reader, parts, others, at = DataFrames(max_bytes=1 << 16), [], b"", 0
        while at < len(stream):
            end = at + rng.randrange(1, 200)
            messages, rest = reader.feed(stream[at:end])
            parts += messages
            others += b"".join(rest)
            at = end
        assert parts == whole[0]
        assert others == b"".join(whole[1])


def test_the_filter_of_repeats_takes_any_frame():
    seen = SeenTrades(corpus()[:1])
    mutate = Mutator(corpus(), SEED + 5)
    for _ in range(shares(20)):
        frame = mutate()
        kept, count = seen.without(frame)
        assert count or kept == frame
