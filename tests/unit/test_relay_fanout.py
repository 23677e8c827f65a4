"""Routing, ring, outbox and fan-out without sockets: who gets what, in which order, told how."""

import itertools
import json

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import frames, keys
from relay.extension import read_extension
from relay.fanout import QUEUE_SECONDS, Fanout
from relay.json_frames import to_json
from relay.lines import Line
from relay.protocol import Consumer, ServerProtocol
from relay.ring import Ring
from relay.routing import Route
from relay.symbols import entry_bounds, is_pattern
from relay.wire import EXTENSIONS

EPOCH = 77
T0_NS = 1_381_152_600_000_000_000


def a_message(symbol: str, kind: str = "t", **fields) -> bytes:
    return frames.encode_message({"T": kind, "S": symbol, "t": T0_NS, **fields})


def a_frame(*symbols: str, kind: str = "t") -> bytes:
    return frames.encode_array([a_message(symbol, kind) for symbol in symbols])


def a_clock(t_ns: int, **extra) -> bytes:
    return frames.encode_array([msgpack.packb({"T": "clock", "t": t_ns, **extra})])


class Told:
    """A consumer of a fan-out that remembers what it is sent."""

    def __init__(self, fanout: Fanout, *, codec: str = "msgpack", extensions=EXTENSIONS) -> None:
        self.fanout = fanout
        self.protocol = ServerProtocol(
            codec, lambda key, secret: Consumer(id=key), extensions_offered=EXTENSIONS
        )
        self.line: Line = fanout.add(self.protocol, lambda: None)
        self.say(action="auth", key="K", secret="S", extensions=list(extensions))
        fanout.authenticated(self.line)
        fanout.flush_control(self.line, now_s=0)
        self.frames()

    def say(self, **message) -> None:
        for event in self.protocol.receive(json.dumps(message)):
            if hasattr(event, "resume"):
                self.fanout.subscribed(self.line, event.channels, event.resume, now_s=0)

    def frames(self, now_s: float = 0) -> list[str | bytes]:
        """Everything that waits, as a writer would take it."""
        found = []
        while True:
            self.fanout.replay(self.line, now_s=now_s)
            taken = self.line.outbox.take()
            if not taken:
                return found
            found += taken

    def messages(self) -> list[dict]:
        return [m for frame in self.frames() for m in msgpack.unpackb(frame, timestamp=0)]

    def symbols(self) -> list[str]:
        return [message["S"] for message in self.messages() if "S" in message]


def a_fanout(**options) -> Fanout:
    return Fanout(epoch=EPOCH, on_union=options.pop("on_union", lambda union: None), **options)


def send(fanout: Fanout, *sent: bytes, now_s: float = 0) -> None:
    fanout.receive(sent, now_s=now_s, now_ns=T0_NS)


# --- routes ----------------------------------------------------------------------------------

symbols = st.text("ABC.", min_size=1, max_size=10)
entries = st.one_of(
    symbols,
    st.just("*"),
    symbols.filter(lambda s: len(s) < 10).map(lambda s: s + "*"),
    st.tuples(symbols, symbols).map(lambda pair: f"[{min(pair)},{max(pair)}Z)"),
    symbols.map(lambda s: f"[{s},)"),
)


def twin_wants(entry: str, symbol: str) -> bool:
    """The obvious reading of an entry."""
    if entry == "*":
        return True
    if entry.startswith("["):
        low, high = entry[1:-1].split(",")
        return low <= symbol and (high == "" or symbol < high)
    return symbol.startswith(entry[:-1]) if entry.endswith("*") else symbol == entry


@given(st.lists(entries, max_size=6), st.lists(entries, max_size=3), st.lists(symbols, max_size=20))
def test_a_route_wants_what_its_entries_say(trades, quotes, names):
    kinds = "tqcxsl"
    found = [a_message(name, kinds[i % 6], i=1) for i, name in enumerate(names)]
    spans = frames.scan(frames.encode_array(found))

    mask = Route({"trades": trades, "quotes": quotes, "statuses": ["*"], "news": []}).mask(spans)

    for i, (name, wanted) in enumerate(zip(names, mask, strict=True)):
        kind = kinds[i % 6]
        rules = {"q": quotes, "s": ["*"], "l": []}.get(kind, trades)
        assert wanted == any(twin_wants(rule, name) for rule in rules)


@pytest.mark.parametrize(
    "entry", ["", "A B", "A**", "**", "[B,A)", "[A,A)", "[A,B]", "X" * 17, "é"]
)
def test_what_is_neither_symbol_nor_pattern_is_refused(entry):
    assert not is_pattern(entry)
    with pytest.raises(ValueError, match="not a symbol"):
        entry_bounds(entry)


def test_an_empty_route_is_false():
    assert not Route({})
    assert Route({"trades": ["A"]})


# --- ring --------------------------------------------------------------------------------------


def test_the_ring_forgets_by_bytes_and_by_age_but_not_while_nothing_comes():
    ring = Ring(max_bytes=100, max_seconds=10)
    for i in range(20):
        ring.append(b"x" * 10, added_s=i * 0.1, watermark_ns=0)
    assert (ring.first_offset, ring.next_offset, ring.size_bytes) == (11, 21, 100)

    ring.append(b"x", added_s=11.75, watermark_ns=0)

    assert ring.first_offset == 19
    assert [entry.offset for entry in ring.since(20, max_bytes=1)] == [20]
    assert ring.since(22, max_bytes=1) == []
    with pytest.raises(LookupError):
        ring.since(18, max_bytes=1)


# --- fan-out -----------------------------------------------------------------------------------


def test_each_consumer_gets_its_letters_once_and_in_order():
    fanout = a_fanout()
    left, right = Told(fanout), Told(fanout)
    left.say(action="subscribe", trades=["[A,N)", "A*", "AA"])
    right.say(action="subscribe", trades=["[N,)"])

    send(fanout, a_frame("AA", "Z", "B"), a_frame("N"), a_frame("M", "AA"))

    assert left.symbols() == ["AA", "B", "M", "AA"]
    assert right.symbols() == ["Z", "N"]


def test_messages_are_copied_byte_for_byte():
    fanout = a_fanout()
    plain = Told(fanout, extensions=[])
    plain.say(action="subscribe", trades=["A", "C"])
    plain.frames()

    send(fanout, a_frame("A", "B", "C"))

    assert plain.frames() == [a_frame("A", "C")]


def test_corrections_and_cancels_follow_trades():
    fanout = a_fanout()
    told = Told(fanout, extensions=[])
    told.say(action="subscribe", trades=["A"])
    told.frames()

    send(
        fanout, frames.encode_array([a_message("A", "c"), a_message("A", "x"), a_message("A", "q")])
    )

    assert [message["T"] for message in told.messages()] == ["c", "x"]


def test_positions_chain_through_filtered_frames_coalescing_and_heartbeats():
    fanout = a_fanout()
    told = Told(fanout)
    told.say(action="subscribe", trades=["A"])
    told.frames()
    taken = []
    send(fanout, a_frame("A"), a_frame("B"))
    taken += told.frames()
    send(fanout, a_frame("B"))
    fanout.heartbeat(now_s=1, now_ns=T0_NS + 5)
    taken += told.frames()
    send(fanout, a_frame("A"))
    send(fanout, a_frame("A"))

    taken += told.frames()

    found = [read_extension(frame) for frame in taken]
    assert [(x.epoch, x.offset, x.previous) for x in found] == [(77, 2, 0), (77, 3, 2), (77, 5, 3)]
    assert found[1].watermark_ns == T0_NS + 5
    assert len(msgpack.unpackb(taken[1])) == 1
    assert len(msgpack.unpackb(taken[2], timestamp=0)) == 3  # two upstream frames in one


def test_a_giant_upstream_frame_is_split_and_tells_its_offset_only_at_its_end():
    fanout = a_fanout()
    told = Told(fanout)
    told.say(action="subscribe", trades=["*"])
    told.frames()

    send(fanout, a_frame("A"), a_frame(*["B"] * 1100), a_frame("C"))

    taken = told.frames()
    sizes = [len(msgpack.unpackb(frame, timestamp=0)) - 1 for frame in taken]
    assert sum(sizes) == 1102
    assert max(sizes) <= 500
    assert [read_extension(frame).offset for frame in taken][-1] == 3
    seen = 0
    for size, frame in zip(sizes, taken, strict=True):
        seen += size
        assert read_extension(frame).offset <= 1 or seen >= 1101


def test_clock_frames_keep_their_place_and_are_never_joined():
    fanout = a_fanout()
    fanout.upstream_has_clock = True
    told, plain = Told(fanout), Told(fanout, extensions=[])
    for consumer in (told, plain):
        consumer.say(action="subscribe", trades=["*"])
        consumer.frames()

    send(fanout, a_frame("A"), a_clock(5, stop=1), a_frame("B"), a_clock(6), a_clock(7))

    kinds = [[message["T"] for message in msgpack.unpackb(f, timestamp=0)] for f in told.frames()]
    assert kinds == [["x", "t"], ["x", "clock"], ["x", "t"], ["x", "clock"], ["x", "clock"]]
    assert plain.symbols() == ["A", "B"]
    assert fanout.watermark(now_s=0, now_ns=T0_NS) == 7


def test_a_clock_that_begins_anew_takes_the_watermark_with_it_and_a_repeated_step_does_not():
    fanout = a_fanout()
    fanout.upstream_has_clock = True
    for clock_ns in (T0_NS, T0_NS - 5_000_000_000):
        send(fanout, a_clock(clock_ns))
        assert fanout.market_ns == T0_NS

    send(fanout, a_clock(T0_NS - 3_600_000_000_000))

    assert fanout.market_ns == T0_NS - 3_600_000_000_000


def test_without_a_clock_the_watermark_stands_still_when_frames_stop():
    fanout = a_fanout()
    send(fanout, a_frame("A"), now_s=10)

    assert fanout.watermark(now_s=11, now_ns=T0_NS + 100) == T0_NS + 100
    assert fanout.watermark(now_s=13, now_ns=T0_NS + 200) == T0_NS + 100


def test_a_malformed_frame_is_counted_and_costs_nothing_else():
    fanout = a_fanout()
    told = Told(fanout)
    told.say(action="subscribe", trades=["*"])

    send(fanout, a_frame("A"), b"\x93\x01", a_frame("B"), b"")

    assert told.symbols() == ["A", "B"]
    assert fanout.counters["malformed"] == 1
    send(fanout, b"\xc1")
    assert told.symbols() == []


@given(st.integers(1, 30), st.integers(0, 40), st.lists(st.sampled_from("ABc"), max_size=25))
def test_a_resumed_consumer_gets_every_frame_from_its_offset_on_exactly_once(offset, split, kinds):
    fanout = a_fanout()

    def emit(part: list[str], start: int) -> None:
        for i, kind in enumerate(part, start):
            send(fanout, a_clock(i) if kind == "c" else frames.encode_array([a_message(kind, i=i)]))

    emit(kinds[:split], 0)
    told = Told(fanout)
    told.say(action="subscribe", trades=["A"], resume={"e": EPOCH, "o": offset})
    emit(kinds[split:], len(kinds[:split]))

    found = told.messages()

    reply = next(message for message in found if message["T"] == "resume")
    recovered = offset <= len(kinds[:split]) + 1
    assert reply["state"] == ("RECOVERED" if recovered else "GAP")
    first = offset - 1 if recovered else len(kinds[:split])
    wanted = [i for i, kind in enumerate(kinds) if i >= first and kind != "B"]
    assert [m["i"] if m["T"] == "t" else m["t"] for m in found if m["T"] in "tclock"] == wanted
    places = [(m["p"], m["o"]) for m in found if m["T"] == "x"]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(places))


@pytest.mark.parametrize("epoch", [EPOCH, EPOCH + 1], ids=["same relay", "earlier relay"])
def test_what_has_left_the_ring_is_an_honest_gap_and_the_rest_is_replayed(epoch):
    first = 91
    fanout = a_fanout(ring=Ring(max_bytes=10 * len(a_frame("A")), max_seconds=60))
    for _ in range(100):
        send(fanout, a_frame("A"))
    told = Told(fanout)

    told.say(action="subscribe", trades=["A"], resume={"e": epoch, "o": 5})

    found = told.messages()
    assert found[1] == {"T": "resume", "state": "GAP", "from": 5, "to": first, "e": EPOCH}
    assert len([message for message in found if message["T"] == "t"]) == 101 - first


def test_a_replay_reads_the_ring_piece_by_piece_and_does_not_fill_the_queue():
    fanout = a_fanout()
    body = frames.encode_array([a_message("A", pad="x" * 1000) for _ in range(100)])
    for _ in range(100):
        send(fanout, body)
    told = Told(fanout)

    told.say(action="subscribe", trades=["A"], resume={"e": EPOCH, "o": 1})
    fanout.replay(told.line, now_s=0)
    assert told.line.outbox.size_bytes < 1 << 20

    assert told.symbols() == ["A"] * 10_000


def test_a_consumer_that_does_not_read_is_slow_by_age_and_by_bytes():
    fanout = a_fanout()
    idle, late, full = Told(fanout), Told(fanout), Told(fanout)
    late.say(action="subscribe", trades=["A"])
    full.say(action="subscribe", trades=["B"])
    late.frames()
    full.frames()
    send(fanout, a_frame("A"), now_s=100)
    big = frames.encode_array([a_message("B", pad="x" * 4096) for _ in range(400)])
    for _ in range(6):
        send(fanout, big, now_s=104)

    assert fanout.slow_lines(now_s=104) == [full.line]
    assert fanout.slow_lines(now_s=100 + QUEUE_SECONDS + 1) == [late.line, full.line]
    assert idle.line in fanout.lines


def test_the_upstream_gets_the_union_at_once_and_loses_it_later():
    asked: list[dict] = []
    fanout = a_fanout(on_union=asked.append)
    one, two = Told(fanout), Told(fanout)
    one.say(action="subscribe", trades=["A"], quotes=["Q"])
    two.say(action="subscribe", trades=["B", "A"], statuses=["X*"])
    one.say(action="subscribe", bars=["[A,B)"])

    fanout.remove(one.line, now_s=100)
    fanout.heartbeat(now_s=101, now_ns=0)
    before = len(asked)
    fanout.heartbeat(now_s=1000, now_ns=0)

    assert asked[0] == {"trades": ["A"], "quotes": ["Q"]}
    assert asked[1] == {"trades": ["A", "B"], "quotes": ["Q"], "statuses": ["*"]}
    assert asked[2]["bars"] == ["*"]
    assert (before, asked[3]) == (3, {"trades": ["A", "B"], "statuses": ["*"]})


def test_json_consumers_read_text_with_all_nanoseconds():
    fanout = a_fanout()
    told = Told(fanout, codec="json", extensions=["frame"])
    told.say(action="subscribe", trades=["A"])
    told.frames()

    send(fanout, frames.encode_array([a_message("A", p=1.5, s=100, c=["@"], t=T0_NS + 120)]))

    (text,) = told.frames()
    head, trade = json.loads(text)
    assert head == {"T": "x", "e": EPOCH, "o": 1, "p": 0, "w": T0_NS}
    assert trade["t"] == "2013-10-07T13:30:00.00000012Z"
    assert (trade["p"], trade["s"], trade["c"]) == (1.5, 100, ["@"])
    assert json.loads(to_json(frames.encode_array([a_message("A", t=T0_NS, p=float("nan"))]))) == [
        {"T": "t", "S": "A", "t": "2013-10-07T13:30:00Z", "p": None}
    ]


def test_what_json_cannot_say_is_left_out():
    bad = b"\x82\xa1T\xa1t\xa1S\xa1\xff"  # no UTF-8
    odd = b"\x82\xa1T\xa1t\xa1S\xc4\x01A"  # bytes, not text

    found = json.loads(to_json(frames.encode_array([a_message("A"), bad, odd, a_message("B")])))

    assert [message["S"] for message in found] == ["A", "B"]


def test_many_messages_keep_their_bytes_through_masks():
    rng = np.random.default_rng(5)
    names = ["".join(rng.choice(list("ABCD"), 3)) for _ in range(450)]
    fanout = a_fanout()
    shards = {letter: Told(fanout, extensions=["prefix"]) for letter in "ABCD"}
    for letter, shard in shards.items():
        shard.say(action="subscribe", trades=[f"{letter}*"])
        shard.frames()

    send(fanout, a_frame(*names))

    for letter, shard in shards.items():
        assert shard.frames() == [a_frame(*[name for name in names if name[0] == letter])]


# --- keys ----------------------------------------------------------------------------------------


def test_keys_are_made_listed_checked_and_revoked(tmp_path):
    home = tmp_path / "relay"
    key_id, secret = keys.add_key(home, role="shard", name="shard 1")
    store = keys.KeyStore(home)

    assert store.authenticate(key_id, secret) == Consumer(id=key_id, role="shard", name="shard 1")
    assert store.authenticate(key_id, secret + "x") is None
    assert store.authenticate("RKNOBODY", secret) is None
    path = home / "keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()

    other, _ = keys.add_key(home, role="hub", name="")
    keys.revoke(home, key_id)

    assert store.authenticate(key_id, secret) is None
    assert (store.holds(key_id), store.holds(other)) == (False, True)
    assert [key.id for key in keys.list_keys(home)] == [other]


def test_a_damaged_key_file_is_told_and_keeps_the_keys_we_have(tmp_path):
    key_id, secret = keys.add_key(tmp_path, role="client", name="")
    store = keys.KeyStore(tmp_path)
    store.refresh()
    (tmp_path / "keys.json").write_text("{")

    assert store.authenticate(key_id, secret) is not None
    assert "keys.json" in store.error
    with pytest.raises(keys.KeyFileError, match=r"keys\.json"):
        keys.list_keys(tmp_path)
    with pytest.raises(keys.KeyFileError, match="role 'boss'"):
        keys.add_key(tmp_path / "new", role="boss", name="")
    with pytest.raises(keys.KeyFileError, match="no key RK1"):
        keys.revoke(tmp_path / "new", "RK1")
