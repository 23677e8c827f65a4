"""Who may talk to the relay, how much, and over what: keys, ranges, TLS, limits, metrics."""

import asyncio
import base64
import json
import ssl
import subprocess
import time
from contextlib import asynccontextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from relay import frames, guard, keys
from relay import server as server_module
from relay.client import RelayClient
from relay.gate import Gate
from relay.server import RelayServer
from tests.integration.test_relay_stream import (
    KEYS,
    FakeUpstream,
    Reader,
    a_trade,
    a_world,
    json_client,
    last_words,
    says,
    until,
)

pytestmark = pytest.mark.asyncio
DEADLINE = 30.0


async def is_let_in(world, key: tuple[str, str]) -> bool:
    socket = await json_client(world, key)
    (answer,) = await says(socket)
    await socket.close()
    return answer["T"] == "success"


async def subscribe(socket, *symbols: str) -> dict:
    await socket.send(json.dumps({"action": "subscribe", "trades": list(symbols)}))
    return (await says(socket))[0]


# --- keys ----------------------------------------------------------------------------------------


async def test_both_secrets_are_good_while_a_key_rotates_and_nobody_is_cut(tmp_path):
    async with a_world(tmp_path) as world:
        key_id, old = world.key()
        reader = Reader(world, key=(key_id, old))
        await reader.subscribe(trades=["A"])

        new = keys.rotate(world.home, key_id, now_s=time.time(), grace_s=60)

        assert await is_let_in(world, (key_id, old))
        assert await is_let_in(world, (key_id, new))
        again = keys.rotate(world.home, key_id, now_s=time.time() - 60, grace_s=1)
        assert not await is_let_in(world, (key_id, old))
        assert not await is_let_in(world, (key_id, new))
        assert await is_let_in(world, (key_id, again))
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 1))
        await until(lambda: reader.ids == [1])
        assert reader.states.count("open") == 1
        await reader.close()


@pytest.mark.parametrize(
    ("asked", "good"),
    [
        (["A"], True), (["AB*"], True), (["[A,C)"], True), (["BZ"], True), (["XYZ"], True),
        (["C"], False), (["*"], False), (["[B,D)"], False), (["A", "D"], False),
        (["XY*"], False), (["XYZ*"], False),
    ],
)  # fmt: skip
async def test_a_key_is_bound_to_its_ranges(tmp_path, asked, good):
    async with a_world(tmp_path) as world:
        key = keys.add_key(world.home, role="shard", name="s", ranges=["A*", "[B,C)", "XYZ"])
        socket = await json_client(world, key, extensions=["prefix"])
        await says(socket)

        answer = await subscribe(socket, *asked)

        assert answer["T"] == ("subscription" if good else "error")
        assert good or answer["code"] == 411
        await socket.close()


async def test_a_strange_secret_of_any_shape_is_just_wrong(tmp_path):
    async with a_world(tmp_path) as world:
        key_id, _ = world.key()
        for secret in ("", "\ud800", "x" * 10_000, "é", "\0"):
            socket = await connect(world.relay.url, compression=None, proxy=None)
            await says(socket)
            await socket.send(json.dumps({"action": "auth", "key": key_id, "secret": secret}))
            assert (await says(socket))[0]["code"] in (400, 402)
            await socket.close()


# --- before the login ----------------------------------------------------------------------------


async def test_browsers_and_foreign_paths_are_refused(tmp_path):
    async with a_world(tmp_path) as world:
        for origin in ("http://example.com", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(world.relay.url, origin=origin, proxy=None)
        async with connect(world.relay.url, proxy=None) as socket:  # offers deflate, as alpaca-py
            assert not socket.protocol.extensions


async def test_strangers_beyond_the_limit_are_hung_up_on_and_others_are_served(tmp_path):
    async with a_world(tmp_path) as world:
        world.relay._gate._pending_per_address_max = 5
        reader = Reader(world)
        await reader.subscribe(trades=["A"])
        port = world.relay.port
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        ended = 0
        for read, _write in strangers[5:]:
            try:
                ended += await read.read(1) == b""
            except ConnectionError:
                ended += 1

        assert ended == 35
        assert world.relay.status()["refused"] == 35
        assert world.relay._gate.pending == 5
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 1))
        await until(lambda: reader.ids == [1])
        for _read, write in strangers:
            write.close()
        await until(lambda: world.relay._gate.pending == 0)
        assert await is_let_in(world, world.key())
        await reader.close()


async def test_a_stranger_who_talks_too_much_is_hung_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "STRANGER_BYTES", 2000)
    async with a_world(tmp_path) as world:
        async with connect(world.relay.url, proxy=None) as socket:
            await says(socket)
            with pytest.raises(ConnectionClosed):
                await talk_forever(socket, lambda: socket.send("x" * 500))
        assert world.relay.status()["refused"] == 1


async def test_addresses_get_only_so_many_connections_in_time():
    gate = Gate(burst=3, per_second=1)

    assert [gate.admit("a", now_s=0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert gate.admit("b", now_s=0)
    assert gate.admit("a", now_s=1)


# --- after it ------------------------------------------------------------------------------------


async def test_a_message_that_is_too_long_ends_the_connection(tmp_path):
    async with a_world(tmp_path) as world:
        socket = await json_client(world, world.key())
        await says(socket)
        await socket.send("x" * 70_000)

        assert (await last_words(socket))[1] == 1009


async def test_who_never_stops_asking_is_put_out(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "REQUESTS", (5, 0.001))
    async with a_world(tmp_path) as world:
        socket = await json_client(world, world.key())
        for _ in range(10):
            await socket.send("{}")

        assert (await last_words(socket))[1] == 4429


async def talk_forever(socket, say) -> None:
    async with asyncio.timeout(DEADLINE):
        while not socket.close_code:
            await say()
            await asyncio.sleep(0)
    while True:
        await socket.recv()


async def test_a_flood_of_pings_ends_the_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "INBOUND_PIECES", (50, 1))
    async with a_world(tmp_path) as world:
        socket = await json_client(world, world.key())
        await says(socket)
        with pytest.raises(ConnectionClosed):
            await talk_forever(socket, socket.ping)


# --- metrics and status --------------------------------------------------------------------------


def scrape(world) -> str:
    with urlopen(f"http://127.0.0.1:{world.relay.port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.read().decode()


async def test_metrics_are_prometheus_text_on_the_same_port(tmp_path):
    async with a_world(tmp_path) as world:
        reader = Reader(world)
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        await world.upstream.send(a_trade("A", 1), a_trade("A", 2))
        await until(lambda: reader.ids == [1, 2])

        text = await asyncio.to_thread(scrape, world)

        rows = dict(row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#"))
        assert rows["relay_messages_total"] == "2"
        assert rows['relay_upstream_state{state="open"}'] == "1"
        assert float(rows["relay_upstream_age_seconds"]) < DEADLINE
        (sent,) = [v for k, v in rows.items() if k.startswith("relay_consumer_messages_total{")]
        assert sent == "2"
        assert all(float(value) >= 0 for value in rows.values())
        with pytest.raises(HTTPError, match="404"):
            await asyncio.to_thread(urlopen, f"http://127.0.0.1:{world.relay.port}/other")
        forged = Request(f"http://127.0.0.1:{world.relay.port}/metrics", headers={"Origin": "null"})
        with pytest.raises(HTTPError, match="403"):
            await asyncio.to_thread(urlopen, forged)
        await reader.close()


async def test_a_hub_asks_how_everybody_is_and_nobody_else_may(tmp_path):
    async with a_world(tmp_path) as world:
        hub = Reader(world, role="hub")
        shard = Reader(world, role="shard")
        for one in (hub, shard):
            await one.subscribe(trades=["A"])
            await world.subscribed(trades={"A"})
            one.client.send({"action": "status"})
        await until(lambda: any(m["T"] == "status" for m in hub.messages))
        await until(lambda: any(m["T"] == "error" for m in shard.messages))

        (status,) = [m for m in hub.messages if m["T"] == "status"]
        assert status["upstream"]["state"] == "open"
        assert {c["role"] for c in status["consumers"]} == {"hub", "shard"}
        assert {c["state"] for c in status["consumers"]} == {"ok"}
        assert [m["code"] for m in shard.messages if m["T"] == "error"] == [411]
        await hub.close()
        await shard.close()


# --- TLS -----------------------------------------------------------------------------------------


def a_ca(folder, name: str) -> None:
    """Make a CA and a certificate of 127.0.0.1 with the openssl program."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-days", "2", "-subj", f"/CN={name}"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1"]
    made += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
    done = subprocess.run(made, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no openssl here")


@asynccontextmanager
async def a_secure_relay(tmp_path):
    a_ca(tmp_path, "good")
    a_ca(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "good.pem", tmp_path / "good.key")
    frames.warm()
    upstream = FakeUpstream()
    async with serve(upstream.serve, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/sip"
        relay = RelayServer(
            upstream_url=url, upstream_keys=KEYS, home=tmp_path / "relay", tls=context
        )
        async with relay:
            yield upstream, relay


async def test_over_tls_the_client_takes_the_right_certificate_only(tmp_path):
    async with a_secure_relay(tmp_path) as (upstream, relay):
        assert relay.url.startswith("wss://")
        key = keys.add_key(tmp_path / "relay", role="shard", name="s")
        found: list[bytes] = []
        states: list[tuple[str, str]] = []

        def a_client(ca: str) -> RelayClient:
            client = RelayClient(
                relay.url, *key, ca_file=str(tmp_path / f"{ca}.pem"), on_frame=found.append,
                on_state=lambda *state: states.append(state),
            )  # fmt: skip
            client.subscribe(trades=["A"])
            return client

        wrong = a_client("other")
        task = asyncio.create_task(wrong.run())
        await until(lambda: any(state == "lost" for state, _ in states))
        await wrong.close()
        await task
        assert "certificate" in next(reason for state, reason in states if state == "lost").lower()
        right = a_client("good")
        task = asyncio.create_task(right.run())
        await until(lambda: upstream.channels.get("trades") == {"A"})
        big = [a_trade("A", i, pad="x" * 300) for i in range(5000)]
        for start in range(0, 5000, 500):
            await upstream.send(*big[start : start + 500])
        await until(lambda: sum(frame.count(b"\xa1i") for frame in found) >= 5000)
        await right.close()
        await task
        with pytest.raises(InvalidMessage):
            await connect(relay.url.replace("wss:", "ws:"), proxy=None, open_timeout=10)


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_an_authority_that_cannot_be_read_is_a_state_that_names_it(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    states: list[tuple[str, str]] = []
    client = RelayClient(
        "wss://127.0.0.1:1/v2/sip", "K", "S", ca_file=str(path), on_frame=lambda frame: None,
        on_state=lambda *state: states.append(state),
    )  # fmt: skip
    task = asyncio.create_task(client.run())

    await until(lambda: any(state == "lost" for state, _ in states))

    await client.close()
    await task
    assert f"cannot trust {path}" in dict(states)["lost"]


# --- every error a consumer can get --------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code", "goes_on"),
    [
        ("{not json", 400, True),
        ({"action": "subscribe", "trades": ["no spaces"]}, 400, True),
        ({"action": "subscribe", "orderbooks": ["A"]}, 410, True),
        ({"action": "subscribe", "trades": ["B"]}, 411, True),
        ({"action": "auth", "key": "K", "secret": "S"}, 403, True),
        ({"action": "status"}, 411, True),
    ],
)
async def test_a_refused_request_has_its_code_and_the_conversation_goes_on(
    tmp_path, said, code, goes_on
):
    async with a_world(tmp_path) as world:
        key = keys.add_key(world.home, role="client", name="c", ranges=["A"])
        socket = await json_client(world, key)
        await says(socket)

        await socket.send(said if isinstance(said, str) else json.dumps(said))

        (answer,) = await says(socket)
        assert (answer["T"], answer["code"], bool(answer["msg"])) == ("error", code, True)
        assert ((await subscribe(socket, "A"))["trades"] == ["A"]) is goes_on
        await socket.close()


async def test_before_the_login_requests_are_401_and_a_wrong_login_is_the_end(tmp_path):
    async with a_world(tmp_path) as world:
        socket = await connect(world.relay.url, compression=None, proxy=None)
        await says(socket)

        assert (await subscribe(socket, "A"))["code"] == 401
        await socket.send(json.dumps({"action": "auth", "key": "K", "secret": "S"}))
        last, code = await last_words(socket)

        assert (last[0]["code"], code) == (402, 1008)


async def test_one_connection_too_many_is_406(tmp_path, monkeypatch):
    async with a_world(tmp_path) as world:
        monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 1)
        first = await json_client(world, world.key())
        assert (await says(first))[0]["msg"] == "authenticated"
        second = await connect(world.relay.url, compression=None, proxy=None)

        last, code = await last_words(second)

        assert (last[0]["code"], code) == (406, 1008)
        assert (await subscribe(first, "A"))["trades"] == ["A"]
        await first.close()


async def test_a_defect_of_ours_is_500_for_one_and_nothing_for_the_others(
    tmp_path, monkeypatch, caplog
):
    async with a_world(tmp_path) as world:
        well = await json_client(world, world.key())
        await says(well)
        ill = await json_client(world, world.key())
        await says(ill)
        real = world.relay.fanout.subscribed

        def broken(line, channels, resume, **times):
            if "BROKEN" in channels["trades"]:
                raise ZeroDivisionError
            real(line, channels, resume, **times)

        monkeypatch.setattr(world.relay.fanout, "subscribed", broken)
        await ill.send(json.dumps({"action": "subscribe", "trades": ["BROKEN"]}))
        last, code = await last_words(ill)

        assert (last[0]["code"], code) == (500, 1011)
        assert "a conversation failed" in caplog.text
        assert (await subscribe(well, "A"))["trades"] == ["A"]
        await well.close()


@pytest.mark.parametrize(
    ("scheme", "text", "good"),
    [("Basic", "{0}:{1}", True), ("basic", "{0}:{1}", True), ("Basic", "{0}:x", False),
     ("Basic", "!", False), ("Bearer", "{0}:{1}", False)],
)  # fmt: skip
async def test_an_authorization_header_is_a_login(tmp_path, scheme, text, good):
    async with a_world(tmp_path) as world:
        told = text.format(*world.key())
        value = told if told == "!" else base64.b64encode(told.encode()).decode()
        socket = await connect(
            world.relay.url, additional_headers={"Authorization": f"{scheme} {value}"}, proxy=None
        )
        await says(socket)

        (answer,) = await says(socket)

        assert answer.get("msg" if good else "code") == ("authenticated" if good else 402)
        await socket.close()
