"""A real relay on loopback, in front of a small upstream: foreign clients, shards, hub."""

import asyncio
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgpack
import pytest
from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from alpaca.data.models import Quote, Trade
from django.core.management import CommandError, call_command
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay import client as client_module
from relay import frames, keys
from relay import server as server_module
from relay.client import RelayClient
from relay.extension import read_extension
from relay.protocol import CLOSE_REVOKED, CLOSE_SLOW, Consumer, ServerProtocol
from relay.server import RelayServer
from relay.symbols import CHANNELS

pytestmark = pytest.mark.asyncio
T0_NS = 1_381_152_600_000_000_001
DEADLINE_S = 20.0
KEYS = ("VENUE", "SECRET")


def a_trade(symbol: str = "A", i: int = 1, **fields) -> bytes:
    body = {"T": "t", "S": symbol, "i": i, "x": "V", "p": 10.25, "s": 100, "c": ["@"], "z": "C"}
    return frames.encode_message({**body, "t": T0_NS + i, **fields})


def a_quote(symbol: str = "A") -> bytes:
    sides = {"bx": "V", "bp": 10.24, "bs": 300, "ax": "Q", "ap": 10.26, "as": 200}
    return frames.encode_message({"T": "q", "S": symbol, **sides, "c": ["R"], "z": "C", "t": T0_NS})


def a_clock(t_ns: int, **extra) -> bytes:
    return msgpack.packb([{"T": "clock", "t": t_ns, **extra}])


async def until(check: Callable[[], object]) -> None:
    """Let the loop run until `check()` holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not check():
            await asyncio.sleep(0.005)


class FakeUpstream:
    """A venue's stream that says what it is told to; remembers logins and subscriptions."""

    def __init__(
        self, *, extensions: tuple[str, ...] = ("clock",), channels=tuple(CHANNELS)
    ) -> None:
        self.sockets: list[ServerConnection] = []
        self.logins = 0
        self.channels: dict[str, frozenset[str]] = {}
        self._extensions, self._offered = extensions, channels

    async def serve(self, socket: ServerConnection) -> None:
        protocol = ServerProtocol(
            "msgpack",
            lambda key, secret: Consumer(id=key) if (key, secret) == KEYS else None,
            extensions_offered=self._extensions,
            channels_offered=self._offered,
        )
        try:
            while True:
                for frame in protocol.frames_to_send():
                    await socket.send(frame)
                if protocol.closed:
                    return
                known = protocol.consumer is not None
                protocol.receive(await socket.recv())
                if protocol.consumer is not None and not known:
                    self.logins += 1
                    self.sockets.append(socket)
                self.channels = protocol.subscription.channels
        except ConnectionClosed:
            pass

    async def send(self, *messages: bytes) -> None:
        await self.sockets[-1].send(frames.encode_array(list(messages)))

    async def send_raw(self, frame: bytes) -> None:
        await self.sockets[-1].send(frame)

    async def drop(self) -> None:
        await self.sockets[-1].close(1011)


class World:
    """An upstream, a relay and its key home."""

    def __init__(self, upstream: FakeUpstream, relay: RelayServer, home, url: str) -> None:
        self.upstream, self.relay, self.home, self.upstream_url = upstream, relay, home, url

    def key(self, role: str = "client") -> tuple[str, str]:
        return keys.add_key(self.home, role=role, name="test")

    async def subscribed(self, **channels: set[str]) -> None:
        """Wait until the upstream has this subscription."""
        wanted = {name: frozenset(entries) for name, entries in channels.items()}
        await until(lambda: all(self.upstream.channels.get(n) == e for n, e in wanted.items()))


@asynccontextmanager
async def a_world(
    tmp_path, *, upstream_keys: tuple[str, str] | None = KEYS, extensions=("clock",)
) -> AsyncIterator[World]:
    frames.warm()
    upstream = FakeUpstream(extensions=extensions)
    async with serve(upstream.serve, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/sip"
        relay = RelayServer(upstream_url=url, upstream_keys=upstream_keys, home=tmp_path / "relay")
        async with relay:
            yield World(upstream, relay, tmp_path / "relay", url)


class Reader:
    """A RelayClient that remembers frames and states."""

    def __init__(self, world: World, *, role: str = "shard", key=None, extensions=()) -> None:
        self.frames: list[bytes] = []
        self.states: list[str] = []
        self.client = RelayClient(
            world.relay.url,
            *(key or world.key(role)),
            extensions=extensions,
            on_frame=self.frames.append,
            on_state=lambda state, _reason: self.states.append(state),
        )
        self.task = asyncio.create_task(self.client.run())

    @property
    def messages(self) -> list[dict]:
        return [m for frame in self.frames for m in msgpack.unpackb(frame, timestamp=0)]

    @property
    def ids(self) -> list[int]:
        return [message["i"] for message in self.messages if message["T"] == "t"]

    async def subscribe(self, **channels) -> None:
        before = self.states.count("subscribed")
        self.client.subscribe(**channels)
        await until(lambda: self.states.count("subscribed") > before)

    async def close(self) -> None:
        await self.client.close()
        await self.task


async def json_client(world: World, key: tuple[str, str], **auth) -> ClientConnection:
    """A plain JSON client, logged in."""
    socket = await connect(world.relay.url, compression=None, proxy=None)
    assert await says(socket) == [{"T": "success", "msg": "connected"}]
    await socket.send(json.dumps({"action": "auth", "key": key[0], "secret": key[1], **auth}))
    return socket


async def says(socket: ClientConnection) -> list[dict]:
    async with asyncio.timeout(DEADLINE_S):
        return json.loads(await socket.recv())


async def last_words(socket: ClientConnection) -> tuple[list[dict], int]:
    """Read to the end; return the last frame and the close code."""
    last: list[dict] = []
    try:
        while True:
            last = await says(socket)
    except ConnectionClosed as closed:
        return last, closed.rcvd.code if closed.rcvd else 0


# --- foreign clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False])
async def test_the_unmodified_sdk_reads_the_relay(tmp_path, raw):
    async with a_world(tmp_path) as world:
        found: list = []
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        key, secret = world.key()
        stream = StockDataStream(
            key, secret, raw_data=raw, feed=DataFeed.SIP, url_override=world.relay.url
        )

        async def collect(message) -> None:
            found.append(message)
            if len(found) == 3:
                loop.call_soon_threadsafe(arrived.set)

        stream.subscribe_trades(collect, "A")
        stream.subscribe_quotes(collect, "B")
        thread = threading.Thread(target=stream.run, daemon=True)
        thread.start()
        await world.subscribed(trades={"A"}, quotes={"B"})

        await world.upstream.send(a_trade("A", 1), a_trade("Z", 2), a_quote("B"), a_trade("A", 3))

        async with asyncio.timeout(DEADLINE_S):
            await arrived.wait()
        await asyncio.to_thread(stream.stop)
        await asyncio.to_thread(thread.join, 10)
        if raw:
            assert [message["S"] for message in found] == ["A", "B", "A"]
            assert found[0]["t"].to_unix_nano() == T0_NS + 1
        else:
            assert [type(message) for message in found] == [Trade, Quote, Trade]
            assert (found[0].price, found[0].size, found[1].ask_price) == (10.25, 100, 10.26)


async def test_a_json_client_reads_text(tmp_path):
    async with a_world(tmp_path) as world:
        socket = await json_client(world, world.key())
        assert await says(socket) == [{"T": "success", "msg": "authenticated"}]
        await socket.send(json.dumps({"action": "subscribe", "trades": ["*"]}))
        acknowledgment = await says(socket)
        await world.subscribed(trades={"*"})

        await world.upstream.send(a_trade("A", 7))

        assert acknowledgment[0]["trades"] == ["*"]
        assert await says(socket) == [
            {"T": "t", "S": "A", "i": 7, "x": "V", "p": 10.25, "s": 100, "c": ["@"], "z": "C",
             "t": "2013-10-07T13:30:00.000000008Z"}
        ]  # fmt: skip
        await socket.close()


async def test_header_authentication_fragments_and_foreign_paths(tmp_path):
    async with a_world(tmp_path) as world:
        key, secret = world.key()
        headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        async with connect(world.relay.url, additional_headers=headers, proxy=None) as socket:
            assert [(await says(socket))[0]["msg"] for _ in "12"] == ["connected", "authenticated"]
            text = json.dumps({"action": "subscribe", "trades": ["AA"]})
            await socket.send([text[:10], text[10:], ""])
            assert (await says(socket))[0]["trades"] == ["AA"]
        with pytest.raises(InvalidStatus, match="404"):
            await connect(world.relay.url.replace("sip", "iex"), proxy=None)


async def test_a_wrong_key_is_refused_with_402_and_logged_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.001, 0.002))
    async with a_world(tmp_path) as world:
        socket = await json_client(world, ("RKNOBODY", "TOPSECRET"))
        assert await says(socket) == [{"T": "error", "code": 402, "msg": "auth failed"}]
        with pytest.raises(ConnectionClosed):
            await says(socket)

        reader = Reader(world, key=("RKNOBODY", "TOPSECRET"))
        reader.client._retry_refused_s = 0.01
        await until(lambda: reader.states.count("refused") > 2)
        await reader.close()

        lines = [record for record in caplog.records if "refused our key" in record.message]
        assert len(lines) == 1
        assert "TOPSECRET" not in caplog.text
        assert reader.states[-1] == "closed"


async def test_silence_is_ended_with_404(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "AUTH_TIMEOUT_S", 0.05)
    async with a_world(tmp_path) as world, connect(world.relay.url, proxy=None) as socket:
        await says(socket)

        assert (await says(socket))[0]["code"] == 404
        with pytest.raises(ConnectionClosed):
            await says(socket)


# --- shards --------------------------------------------------------------------------------------


async def test_two_shards_get_every_message_exactly_once(tmp_path):
    async with a_world(tmp_path) as world:
        left = Reader(world, extensions=("frame", "prefix"))
        right = Reader(world, extensions=("frame", "prefix"))
        await left.subscribe(trades=["[A,M)"])
        await right.subscribe(trades=["[M,)"])
        await world.subscribed(trades={"*"})

        for start in range(0, 1000, 40):
            await world.upstream.send(
                *[a_trade("ABMZ"[i % 4], i) for i in range(start, start + 40)]
            )

        await until(lambda: len(left.ids) + len(right.ids) >= 1000)
        assert left.ids == [i for i in range(1000) if i % 4 < 2]
        assert right.ids == [i for i in range(1000) if i % 4 >= 2]
        for reader in (left, right):
            places = [read_extension(frame) for frame in reader.frames]
            found = [(place.previous, place.offset) for place in places if place]
            assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
            await reader.close()


async def test_clock_frames_pass_in_order_after_the_data_before_them(tmp_path):
    async with a_world(tmp_path) as world:
        shard = Reader(world, extensions=("frame", "clock", "prefix"))
        hub = Reader(world, role="hub", extensions=("clock",))
        await shard.subscribe(trades=["A*"])
        await hub.subscribe(quotes=["A"])
        await world.subscribed(trades={"*"}, quotes={"A"})

        for stop in range(50):
            await world.upstream.send(a_trade("A", stop), a_trade("B", stop))
            await world.upstream.send_raw(a_clock(T0_NS + stop, stop=stop))

        def told(reader: Reader) -> list:
            kinds = [(m["T"], m.get("i", m.get("stop"))) for m in reader.messages]
            return [kind for kind in kinds if kind[0] in ("t", "clock")]

        await until(lambda: len(told(shard)) == 100 and len(told(hub)) == 50)
        assert told(shard) == [(kind, n) for n in range(50) for kind in ("t", "clock")]
        assert told(hub) == [("clock", n) for n in range(50)]
        assert msgpack.unpackb(hub.frames[-1]) == [{"T": "clock", "t": T0_NS + 49, "stop": 49}]
        await until(lambda: read_extension(shard.frames[-1]).watermark_ns == T0_NS + 49)
        await shard.close()
        await hub.close()


async def test_heartbeats_come_while_nothing_else_does(tmp_path):
    async with a_world(tmp_path) as world:
        reader = Reader(world, extensions=("frame",))
        await reader.subscribe(trades=["A"])

        await until(lambda: sum(bool(read_extension(frame)) for frame in reader.frames) >= 3)

        assert all(msgpack.unpackb(f)[0]["T"] == "x" for f in reader.frames if read_extension(f))
        await reader.close()


async def test_a_cut_connection_takes_up_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.05, 0.1))
    async with a_world(tmp_path) as world:
        keeper = Reader(world, extensions=("frame",))
        reader = Reader(world, extensions=("frame", "resume", "clock"))
        for one in (keeper, reader):
            await one.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 0))
        await until(lambda: reader.ids == [0])

        line = next(x for x in world.relay.fanout.lines if "resume" in x.protocol.extensions)
        world.relay._sockets[id(line)].transport.abort()
        for i in range(1, 20):
            await world.upstream.send(a_trade("A", i))
            await world.upstream.send_raw(a_clock(i))

        await until(lambda: len(reader.ids) >= 20)
        assert reader.ids == list(range(20))
        assert [m["t"] for m in reader.messages if m["T"] == "clock"] == list(range(1, 20))
        assert [m["state"] for m in reader.messages if m["T"] == "resume"] == ["RECOVERED"]
        assert "lost" in reader.states
        for one in (keeper, reader):
            await one.close()


async def test_a_restarted_relay_is_an_honest_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))
    async with a_world(tmp_path) as world:
        reader = Reader(world, extensions=("frame", "resume"))
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 1))
        await until(lambda: reader.ids == [1])
        port, epoch = world.relay.port, world.relay.fanout.epoch

        await world.relay.__aexit__()
        again = RelayServer(
            upstream_url=world.upstream_url, upstream_keys=KEYS, home=world.home, port=port
        )
        async with again:
            await until(lambda: reader.states.count("subscribed") == 2)
            await until(lambda: world.upstream.logins == 2 and again.upstream.state == "open")
            await world.subscribed(trades={"A"})
            await world.upstream.send(a_trade("A", 2))
            await until(lambda: reader.ids == [1, 2])

        (reply,) = [message for message in reader.messages if message["T"] == "resume"]
        assert (reply["state"], reply["e"]) == ("GAP", again.fanout.epoch)
        assert again.fanout.epoch != epoch
        await reader.close()


async def test_a_relay_whose_heartbeats_stop_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "SILENT_TICKS_MAX", 0)
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 60)
    async with a_world(tmp_path) as world:
        reader = Reader(world, extensions=("frame",))
        await reader.subscribe(trades=["A"])

        await until(lambda: "lost" in reader.states)

        await reader.close()


async def test_a_slow_consumer_is_cut_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("relay.fanout.QUEUE_BYTES", 1 << 20)
    async with a_world(tmp_path) as world:
        reader = Reader(world, extensions=("frame",))
        await reader.subscribe(trades=["A"])
        slow = await json_client(world, world.key())
        await slow.send(json.dumps({"action": "subscribe", "trades": ["A"]}))
        await world.subscribed(trades={"A"})
        await until(lambda: world.relay.fanout.lines[-1].route)
        slow.transport.pause_reading()

        sent = 0
        while world.relay.fanout.counters["cut"] == 0:
            await world.upstream.send(*[a_trade("A", sent + i, pad="x" * 900) for i in range(200)])
            sent += 200
            await until(lambda count=sent: len(reader.ids) == count)

        await world.upstream.send(a_trade("A", sent))
        await until(lambda: len(reader.ids) == sent + 1)
        assert reader.ids == list(range(sent + 1))
        slow.transport.resume_reading()
        last, code = await last_words(slow)
        assert last == [{"T": "error", "code": 407, "msg": "slow client"}]
        assert code == CLOSE_SLOW
        await reader.close()


async def test_a_malformed_upstream_frame_is_dropped(tmp_path):
    async with a_world(tmp_path) as world:
        reader = Reader(world)
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})

        await world.upstream.send_raw(b"\x92\x01")
        await world.upstream.send(a_trade("A", 1))

        await until(lambda: reader.ids == [1])
        assert world.relay.status()["malformed"] == 1
        await reader.close()


async def test_a_revoked_key_ends_its_connection(tmp_path):
    async with a_world(tmp_path) as world:
        key = world.key()
        socket = await json_client(world, key)
        await says(socket)

        keys.revoke(world.home, key[0])

        assert (await last_words(socket))[1] == CLOSE_REVOKED


# --- the upstream --------------------------------------------------------------------------------


async def test_the_hub_opens_the_upstream_and_is_told_every_state(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))
    async with a_world(tmp_path, upstream_keys=None) as world:
        hub = Reader(world, role="hub", extensions=("clock",))
        shard = Reader(world)

        def states() -> list[str]:
            return [message["state"] for message in hub.messages if message["T"] == "upstream"]

        await shard.subscribe(trades=["A"])
        assert world.upstream.logins == 0
        hub.client.send({"action": "upstream", "command": "open", "key": "VENUE", "secret": "bad"})
        await until(lambda: "refused" in states())
        hub.client.send(
            {"action": "upstream", "command": "open", "key": KEYS[0], "secret": KEYS[1]}
        )
        await until(lambda: states()[-1] == "open")
        await world.subscribed(trades={"A"})
        await world.upstream.drop()
        await until(lambda: states().count("open") == 2)
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 5))
        await until(lambda: shard.ids == [5])

        last = [message for message in hub.messages if message["T"] == "upstream"][-1]
        assert last == {
            "T": "upstream",
            "state": "open",
            "reason": "",
            "feed": "sip",
            "clock": True,
        }
        assert "lost" in states()
        assert not [message for message in shard.messages if message["T"] == "upstream"]
        assert "SECRET" not in caplog.text
        await hub.close()
        await shard.close()


async def test_a_missing_upstream_is_retried_until_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))
    upstream = FakeUpstream()
    server = await serve(upstream.serve, "127.0.0.1", 0, compression=None)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    url = f"ws://127.0.0.1:{port}/v2/sip"
    async with RelayServer(upstream_url=url, upstream_keys=KEYS, home=tmp_path) as relay:
        world = World(upstream, relay, tmp_path, url)
        reader = Reader(world)
        await reader.subscribe(trades=["A"])
        await until(lambda: relay.upstream.state == "lost")

        async with serve(upstream.serve, "127.0.0.1", port, compression=None):
            await world.subscribed(trades={"A"})
            await world.upstream.send(a_trade("A", 1))
            await until(lambda: reader.ids == [1])
        await reader.close()


# --- the command ---------------------------------------------------------------------------------


async def test_the_keys_command_adds_lists_and_revokes(tmp_path, settings, capsys):
    settings.RELAY_HOME = tmp_path / "home"

    call_command("relay", "keys", "add", "--role", "hub", "--name", "main")
    key_id = capsys.readouterr().out.split()[1]
    call_command("relay", "keys", "list")
    listed = capsys.readouterr().out
    call_command("relay", "keys", "revoke", key_id)

    assert f"{key_id}  hub     main" in listed
    with pytest.raises(CommandError, match="no key"):
        call_command("relay", "keys", "revoke", key_id)


async def a_relay_process(tmp_path, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("manage.py", "relay", "--upstream", "ws://127.0.0.1:1/v2/sip", "--port", str(port)),
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "TRADEPLANE_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_command_says_when_it_is_ready_and_when_its_port_is_taken(tmp_path):
    async with asyncio.timeout(120):
        first = await a_relay_process(tmp_path, 0)
        line = (await first.stdout.readline()).decode()
        second = await a_relay_process(tmp_path, int(line.split(":")[2].split("/")[0]))
        _, complaint = await second.communicate()
        first.send_signal(signal.SIGTERM)
        await first.communicate()

    assert line.startswith("relay ready on ws://127.0.0.1:")
    assert line.endswith("/v2/sip\n")
    assert (second.returncode, complaint.decode().count("\n")) == (1, 1)
    assert "cannot listen on" in complaint.decode()
    assert first.returncode == 0
