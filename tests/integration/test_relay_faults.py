"""A venue that misbehaves: each fault ends in the state that docs/relay.md names."""

import asyncio
import json
import logging
import os

import msgpack
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from relay import client as client_module
from relay import frames, watchdog
from relay.protocol import encode_control
from relay.server import RelayServer
from tests.integration.test_relay_stream import (
    KEYS,
    FakeUpstream,
    Reader,
    World,
    a_trade,
    a_world,
    json_client,
    says,
    until,
)
from tests.venue_fixture import KEYS as VENUE_KEYS
from tests.venue_fixture import quiet_rows, running_venue, write_tape

pytestmark = pytest.mark.asyncio
logger = logging.getLogger(__name__)
LINGER_S = float(os.environ.get("TRADEPLANE_SEAT_S", "1.5"))
REAL_SEAT_BACKOFF_S = client_module.SEAT_BACKOFF_S


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr(client_module, "SEAT_BACKOFF_S", (0.05, 0.1))


class Refusing(FakeUpstream):
    """Answers the first logins with error codes."""

    def __init__(self, *codes: int) -> None:
        super().__init__()
        self.codes = list(codes)
        self.refused = 0

    async def serve(self, socket: ServerConnection) -> None:
        if not self.codes:
            return await super().serve(socket)
        code = self.codes.pop(0)
        await socket.send(encode_control({"T": "success", "msg": "connected"}, "msgpack"))
        await socket.recv()
        self.refused += 1
        await socket.send(encode_control({"T": "error", "code": code, "msg": "no"}, "msgpack"))
        try:
            await socket.recv()
        except ConnectionClosed:
            pass
        return None


def world_of(upstream: FakeUpstream, tmp_path):
    """A relay in front of this upstream, as `a_world`."""
    return _World(upstream, tmp_path)


class _World:
    def __init__(self, upstream: FakeUpstream, tmp_path) -> None:
        self.upstream, self.home = upstream, tmp_path / "relay"

    async def __aenter__(self) -> World:
        frames.warm()
        self.server = await serve(self.upstream.serve, "127.0.0.1", 0, compression=None)
        url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v2/sip"
        self.relay = RelayServer(upstream_url=url, upstream_keys=KEYS, home=self.home)
        await self.relay.__aenter__()
        return World(self.upstream, self.relay, self.home, url)

    async def __aexit__(self, *exc) -> None:
        await self.relay.__aexit__()
        self.server.close()
        await self.server.wait_closed()


def upstream_states(hub: Reader) -> list[dict]:
    return [message for message in hub.messages if message["T"] == "upstream"]


@pytest.mark.parametrize("code", [402, 409])
async def test_a_key_or_plan_that_is_not_good_stops_the_dialing(tmp_path, code):
    upstream = Refusing(*[code] * 9)
    async with world_of(upstream, tmp_path) as world:
        hub = Reader(world, role="hub")
        await hub.subscribe(trades=["A"])

        await until(lambda: world.relay.upstream.state == "refused")
        await asyncio.wait([world.relay.upstream._task], timeout=5)

        assert upstream.refused == 1
        assert world.relay.upstream._task.done()
        assert upstream_states(hub)[-1]["reason"].startswith(str(code))
        await hub.close()


async def test_a_taken_seat_is_waited_for_with_a_countdown(tmp_path):
    upstream = Refusing(406, 406, 406)
    async with world_of(upstream, tmp_path) as world:
        hub = Reader(world, role="hub")
        await hub.subscribe(trades=["A"])

        await until(lambda: world.relay.upstream.state == "open")

        lost = [message for message in upstream_states(hub) if message["state"] == "lost"]
        assert [message["reason"][:3] for message in lost] == ["406"] * 3
        assert all(0 < message["retry_ms"] <= 120 for message in lost)
        assert "retry_ms" not in upstream_states(hub)[-1]
        await hub.close()


@pytest.mark.parametrize("code", [404, 500])
async def test_other_refusals_are_tried_again(tmp_path, code):
    async with world_of(Refusing(code, code), tmp_path) as world:
        reader = Reader(world)
        await reader.subscribe(trades=["A"])

        await until(lambda: world.relay.upstream.state == "open")

        await reader.close()


async def test_a_venue_that_calls_us_slow_is_left_and_the_gap_is_marked(tmp_path):
    async with a_world(tmp_path, extensions=()) as world:
        reader = Reader(world, extensions=("gap", "frame"))
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 1))
        await until(lambda: reader.ids == [1])

        slow = encode_control({"T": "error", "code": 407, "msg": "slow client"}, "msgpack")
        await world.upstream.send_raw(slow)
        await until(lambda: any(m["T"] == "gap" for m in reader.messages))
        await world.upstream.send(a_trade("A", 1), a_trade("A", 2))
        await until(lambda: reader.ids == [1, 2])

        (gap,) = [message for message in reader.messages if message["T"] == "gap"]
        assert gap["from"] < gap["to"]
        assert gap["reason"] == "407 slow client"
        assert world.upstream.logins == 2
        assert world.relay.status()["duplicates"] == 1
        await reader.close()


class Limited(FakeUpstream):
    """Takes two symbols, no more; a larger subscription is refused whole."""

    async def serve(self, socket: ServerConnection) -> None:
        recv = socket.recv

        async def filtered():
            while True:
                raw = await recv()
                asked = msgpack.unpackb(raw)
                have = set().union(*self.channels.values()) if self.channels else set()
                if len(have | set(asked.get("trades", ()))) <= 2:
                    return raw
                error = {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
                await socket.send(encode_control(error, "msgpack"))

        socket.recv = filtered
        await super().serve(socket)


async def test_a_symbol_too_many_is_refused_to_who_asked_for_it(tmp_path):
    async with world_of(Limited(), tmp_path) as world:
        reader = Reader(world)
        await reader.subscribe(trades=["A", "B"])
        await world.subscribed(trades={"A", "B"})
        greedy = await json_client(world, world.key())
        await says(greedy)
        await greedy.send(json.dumps({"action": "subscribe", "trades": ["A", "C"]}))
        assert (await says(greedy))[0]["trades"] == ["A", "C"]

        assert (await says(greedy))[0]["code"] == 405
        assert (await says(greedy))[0]["trades"] == ["A"]

        await world.upstream.send(a_trade("A", 1), a_trade("B", 2))
        await until(lambda: reader.ids == [1, 2])
        assert (await says(greedy))[0]["i"] == 1
        assert world.upstream.channels["trades"] == {"A", "B"}
        await greedy.close()
        await reader.close()


async def test_a_mute_feed_is_dropped_while_the_market_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "in_session", lambda now_ns: True)
    monkeypatch.setattr(watchdog, "WHOLE_FEED_S", 0.3)
    async with a_world(tmp_path, extensions=()) as world:  # live: no clock of its own
        reader = Reader(world, extensions=("gap",))
        await reader.subscribe(trades=["*"])
        await world.subscribed(trades={"*"})
        await world.upstream.send(a_trade("A", 1))

        await until(lambda: world.upstream.logins == 2)

        await until(lambda: any(m["T"] == "gap" for m in reader.messages))
        (gap, *_) = [message for message in reader.messages if message["T"] == "gap"]
        assert gap["reason"] == "silent"
        await reader.close()


async def test_a_mute_feed_is_left_alone_when_the_market_is_closed(tmp_path, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(watchdog, "in_session", lambda now_ns: bool(asked.append(now_ns)))
    monkeypatch.setattr(watchdog, "WHOLE_FEED_S", 0.1)
    async with a_world(tmp_path, extensions=()) as world:
        reader = Reader(world)
        await reader.subscribe(trades=["*"])
        await world.subscribed(trades={"*"})

        await until(lambda: len(asked) > 4)

        assert world.upstream.logins == 1
        await reader.close()


async def test_a_server_that_never_speaks_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "WELCOME_TIMEOUT_S", 0.05)
    knocks: list[int] = []

    class Mute(FakeUpstream):
        async def serve(self, socket: ServerConnection) -> None:
            knocks.append(1)
            await socket.wait_closed()

    async with world_of(Mute(), tmp_path) as world:
        reader = Reader(world)
        reader.client.subscribe(trades=["A"])

        await until(lambda: len(knocks) >= 3)

        await reader.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"\x92\x01", b"\x93", b"\x81\xa1T\xa1t", b"\xc1", b"not msgpack at all",
        b"\x91\x81\xa1T\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
    ],
)  # fmt: skip
async def test_frames_that_are_none_are_dropped_and_the_third_ends_the_connection(
    tmp_path, garbage
):
    async with a_world(tmp_path, extensions=()) as world:
        reader = Reader(world, extensions=("gap",))
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})

        for number in range(2):
            await world.upstream.send_raw(garbage)
            await world.upstream.send(a_trade("A", number))
        await until(lambda: reader.ids == [0, 1])
        if garbage:  # an empty one says nothing, and is nothing
            await world.upstream.send_raw(garbage)
            await until(lambda: world.upstream.logins == 2)
            await world.subscribed(trades={"A"})
            reasons = [m["reason"] for m in reader.messages if m["T"] == "gap"]
            assert "malformed frame" in reasons
        await reader.close()


async def test_strange_messages_pass_or_are_nobodys_and_kill_nothing(tmp_path):
    async with a_world(tmp_path) as world:
        reader = Reader(world)
        text = await json_client(world, world.key())
        await says(text)
        await text.send(json.dumps({"action": "subscribe", "trades": ["A"]}))
        await says(text)
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})

        strange = [
            msgpack.packb({"T": "zz", "S": "A", "new": {"deep": [1, 2, {}]}}),
            msgpack.packb({"T": "y", "S": "A"}),
            msgpack.packb({"S": "A"}),
            a_trade("A", 1, p=float("nan"), s=-5),
            a_trade("A", 2**64 - 1, p=0, r=None),
            a_trade("A", 3, p=float("inf"), c=None, x="QQ"),
            msgpack.packb({"T": "t"}),
        ]
        await world.upstream.send(*strange)
        await world.upstream.send(a_trade("A", 4))

        await until(lambda: reader.ids[-1:] == [4])
        assert reader.ids == [1, 2**64 - 1, 3, 4]
        found = await says(text)
        while len(found) < 4:
            found += await says(text)
        assert [message["i"] for message in found] == [1, 2**64 - 1, 3, 4]
        assert found[0]["p"] is None
        await text.close()
        await reader.close()


async def test_messages_nested_without_end_kill_nothing(tmp_path):
    async with a_world(tmp_path) as world:
        reader = Reader(world)
        text = await json_client(world, world.key())
        await says(text)
        await text.send(json.dumps({"action": "subscribe", "trades": ["A"]}))
        await says(text)
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        deep = b"\xa1z" + b"\x91" * 100_000 + b"\xc0"

        await world.upstream.send(b"\x83\xa1T\xa1t\xa1S\xa1A" + deep, a_trade("A", 1))
        await until(lambda: b"\xa1i\x01" in b"".join(reader.frames))
        assert [message["i"] for message in await says(text)] == [1]
        await world.upstream.send_raw(b"\x91\x82\xa1T\xa5clock" + deep)
        await until(lambda: world.upstream.logins == 2)  # a control frame that is none
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 2))

        assert [message["i"] for message in await says(text)] == [2]
        await text.close()
        await reader.close()


async def test_a_huge_frame_arrives_in_pieces_and_a_monster_ends_the_connection(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(client_module, "MAX_MESSAGE_BYTES", 4 << 20)
    async with a_world(tmp_path) as world:
        reader = Reader(world, extensions=("gap",))
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})

        await world.upstream.send(*[a_trade("A", i) for i in range(20_000)])
        await until(lambda: len(reader.ids) == 20_000)
        await world.upstream.send_raw(b"\x91" + bytes(5 << 20))
        await until(lambda: world.upstream.logins == 2)

        assert reader.ids == list(range(20_000))
        assert max(len(frame) for frame in reader.frames) <= 256 * 1024 + 8
        await reader.close()


class Wire:
    """Forwards bytes to a venue until it is frozen; then the connection is open and nothing comes.

    No FIN and no reset: what a network does that forgets a connection.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._frozen: asyncio.Event | None = None
        self._open: list[asyncio.StreamWriter] = []

    async def take(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        frozen = self._frozen = asyncio.Event()
        far_read, far_write = await asyncio.open_connection("127.0.0.1", self._to)
        self._open += [write, far_write]
        await asyncio.gather(
            self._pump(read, far_write, frozen), self._pump(far_read, write, frozen)
        )

    async def _pump(self, read, write, frozen: asyncio.Event) -> None:
        while data := await read.read(1 << 16):
            if not frozen.is_set():
                write.write(data)

    def freeze(self) -> None:
        if self._frozen is not None:
            self._frozen.set()

    def close(self) -> None:
        for write in self._open:
            write.close()


async def test_a_connection_that_is_open_and_dead_is_noticed_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "in_session", lambda now_ns: True)
    monkeypatch.setattr(watchdog, "WHOLE_FEED_S", 0.3)
    async with a_world(tmp_path, extensions=()) as near:
        wire = Wire(int(near.upstream_url.split(":")[2].split("/")[0]))
        server = await asyncio.start_server(wire.take, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/sip"
        async with RelayServer(upstream_url=url, upstream_keys=KEYS, home=near.home) as relay:
            world = World(near.upstream, relay, near.home, url)
            reader = Reader(world, extensions=("gap",))
            await reader.subscribe(trades=["*"])
            await world.subscribed(trades={"*"})
            await world.upstream.send(a_trade("A", 1))
            await until(lambda: reader.ids == [1])

            wire.freeze()
            await until(lambda: near.upstream.logins == 2)
            await until(lambda: relay.upstream._client._subscribed)
            await world.upstream.send(a_trade("A", 2))

            await until(lambda: reader.ids == [1, 2])
            (gap, *_) = [message for message in reader.messages if message["T"] == "gap"]
            assert gap["reason"] == "silent"
            await reader.close()
        wire.close()
        server.close()
        await server.wait_closed()


@pytest.mark.timeout(0 if LINGER_S > 60 else 120)
async def test_a_seat_that_a_dead_session_holds_is_waited_for(tmp_path, monkeypatch, caplog):
    """`TRADEPLANE_SEAT_S=90` does it with the pauses and the ghost of the real venue."""
    if LINGER_S > 60:
        monkeypatch.setattr(client_module, "SEAT_BACKOFF_S", REAL_SEAT_BACKOFF_S)
    tape = write_tape(tmp_path / "quiet.tape", quiet_rows(20_000, step=1.0))
    loop = asyncio.get_running_loop()
    with running_venue(tape, speed=1.0, data_seats=1, seat_linger_s=LINGER_S) as venue:
        keys = (VENUE_KEYS.key, VENUE_KEYS.secret)
        async with RelayServer(
            upstream_url=f"{venue.ws}/v2/sip", upstream_keys=keys, home=tmp_path / "relay"
        ) as relay:
            world = World(None, relay, tmp_path / "relay", "")
            reader = Reader(world, role="hub")
            await reader.subscribe(trades=["SPY"])
            await until(lambda: relay.upstream.state == "open" and reader.ids)

            relay.upstream._client.drop("the line is gone")
            lost_s = loop.time()
            await until(lambda: [m for m in upstream_states(reader) if "retry_ms" in m])
            async with asyncio.timeout(3 * LINGER_S + 20):
                while relay.upstream.state != "open":
                    await asyncio.sleep(0.02)
            back_s = loop.time() - lost_s
            frames_before = len(reader.ids)
            await until(lambda: len(reader.ids) > frames_before)

            waits = [m for m in upstream_states(reader) if m["reason"].startswith("406")]
            logger.info("back after %.1f s, %d refusals", back_s, len(waits))
            await reader.close()

    assert "keepalive ping failed" not in caplog.text
    assert back_s >= LINGER_S
    assert 1 <= len(waits) <= LINGER_S / 0.04
    assert all(message["state"] == "lost" for message in waits)
