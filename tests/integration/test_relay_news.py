"""News from the venue's own endpoint, through the relay, to the SDK, to hubs, to tapes."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager

import msgpack
import pytest
from alpaca.data.live import NewsDataStream
from alpaca.data.models import News
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from relay import client as client_module
from relay import frames
from relay.client import RelayClient
from relay.recorder import Recorder
from relay.server import RelayServer
from relay.symbols import CHANNELS, NEWS_CHANNELS
from tests.integration.test_relay_record import recorded
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
from tests.venue_fixture import a_print, running_venue, write_tape

pytestmark = pytest.mark.asyncio
T0_NS = 1_700_000_000_000_000_001


def a_story(number: int, *symbols: str, **fields) -> dict:
    return {
        "T": "n", "id": number, "headline": f"Story {number}", "summary": "", "author": "A. Writer",
        "created_at": frames.timestamp(T0_NS), "updated_at": frames.timestamp(T0_NS),
        "url": "https://example.com/1", "content": "<p>…</p>", "symbols": list(symbols),
        "source": "benzinga", **fields,
    }  # fmt: skip


def encoded(*stories: dict) -> bytes:
    return frames.encode_array([frames.encode_message(story) for story in stories])


class TwoStreams:
    """A venue with a stock stream and a news stream on one port."""

    def __init__(self) -> None:
        self.stock = FakeUpstream(extensions=())
        self.news = FakeUpstream(extensions=(), channels=NEWS_CHANNELS)

    async def serve(self, socket: ServerConnection) -> None:
        news = socket.request is not None and socket.request.path == "/v1beta1/news"
        await (self.news if news else self.stock).serve(socket)


@asynccontextmanager
async def two_streams(tmp_path, **options):
    frames.warm()
    venue = TwoStreams()
    async with serve(venue.serve, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/sip"
        home = tmp_path / "relay"
        relay = RelayServer(upstream_url=url, upstream_keys=KEYS, home=home, **options)
        async with relay:
            yield venue, World(venue.stock, relay, home, url)


def news_address(world: World) -> str:
    return world.relay.url.replace("/v2/sip", "/v1beta1/news")


def ids(frames_: list[bytes]) -> list[int]:
    messages = [m for frame in frames_ for m in msgpack.unpackb(frame, timestamp=0)]
    return [message["id"] for message in messages if message["T"] == "n"]


@pytest.mark.parametrize("raw", [True, False])
async def test_the_unmodified_sdk_reads_news_from_the_relay(tmp_path, raw):
    async with two_streams(tmp_path) as (venue, world):
        found: list = []
        stream = NewsDataStream(*world.key(), raw_data=raw, url_override=news_address(world))

        async def collect(story) -> None:
            found.append(story)

        stream.subscribe_news(collect, "AAPL", "MSFT")
        thread = threading.Thread(target=stream.run, daemon=True)
        thread.start()
        await until(lambda: venue.news.channels.get("news") == {"AAPL", "MSFT"})
        await venue.news.send_raw(encoded(a_story(1, "AAPL"), a_story(2, "TSLA"), a_story(3)))
        await venue.news.send_raw(encoded(a_story(4, "TSLA", "MSFT")))

        await until(lambda: len(found) == 2)
        await asyncio.to_thread(stream.stop)
        await asyncio.to_thread(thread.join, 10)
        if raw:
            assert [story["id"] for story in found] == [1, 4]
            assert found[0]["created_at"].to_unix_nano() == T0_NS
            assert list(found[0]) == list(a_story(1))
        else:
            assert [type(story) for story in found] == [News, News]
            assert (found[1].headline, found[1].symbols) == ("Story 4", ["TSLA", "MSFT"])


async def test_the_news_connection_is_opened_when_somebody_wants_news_and_not_before(tmp_path):
    async with two_streams(tmp_path) as (venue, world):
        reader = Reader(world)
        await reader.subscribe(trades=["A"])
        await world.subscribed(trades={"A"})
        assert (venue.news.logins, world.relay.status()["news_upstream"]) == (0, "closed")

        socket = await connect(news_address(world), compression=None, proxy=None)
        await says(socket)
        key, secret = world.key()
        await socket.send(json.dumps({"action": "auth", "key": key, "secret": secret}))
        await says(socket)
        await socket.send(json.dumps({"action": "subscribe", "news": ["*"]}))
        assert await says(socket) == [{"T": "subscription", "news": ["*"]}]
        await until(lambda: world.relay.status()["news_upstream"] == "subscribed")
        await venue.news.send_raw(encoded(a_story(7)))

        (story,) = await says(socket)
        assert (story["id"], story["created_at"]) == (7, "2023-11-14T22:13:20.000000001Z")
        await socket.send(json.dumps({"action": "subscribe", "trades": ["A"]}))
        assert (await says(socket))[0]["code"] == 410
        await socket.close()
        await reader.close()


async def test_a_hub_gets_news_on_the_connection_it_has(tmp_path):
    async with two_streams(tmp_path) as (venue, world):
        hub = Reader(world, role="hub", extensions=("news", "frame"))
        hub.client.want({"quotes": ["A"], "news": ["*"]})
        await until(lambda: "subscribed" in hub.states)
        await until(lambda: venue.news.channels.get("news") == {"*"})
        await venue.news.send_raw(encoded(a_story(1, "A"), a_story(2)))

        await until(lambda: ids(hub.frames) == [1, 2])

        assert venue.stock.channels["quotes"] == {"A"}
        await hub.close()


async def test_without_the_extension_the_stock_stream_has_no_news(tmp_path):
    async with a_world(tmp_path) as world:
        socket = await json_client(world, world.key())
        await says(socket)
        await socket.send(json.dumps({"action": "subscribe", "news": ["*"]}))

        assert (await says(socket))[0]["code"] == 410
        await socket.close()


async def test_news_that_are_none_are_counted_and_a_lost_connection_comes_back(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))
    async with two_streams(tmp_path) as (venue, world):
        hub = Reader(world, role="hub", extensions=("news",))
        hub.client.want({"news": ["*"]})
        await until(lambda: venue.news.channels.get("news") == {"*"})

        await venue.news.send_raw(b"\xc1")
        strange = [{"T": "n", "symbols": 5}, {"T": "t", "S": "A"}, {"T": "n", "symbols": None}]
        await venue.news.send_raw(encoded(*strange, a_story(1)))
        await until(lambda: ids(hub.frames[-1:]) == [1])
        await venue.news.drop()
        await until(lambda: venue.news.logins == 2)
        await until(lambda: world.relay.status()["news_upstream"] == "subscribed")
        await venue.news.send_raw(encoded(a_story(2)))
        await until(lambda: ids(hub.frames[-1:]) == [2])

        assert world.relay.status()["malformed_news"] == 1
        await hub.close()


async def test_recorded_news_come_out_of_the_venue_again(tmp_path):
    recorder = Recorder(tmp_path / "tapes", feed="sip")
    everything = (*CHANNELS, *NEWS_CHANNELS)
    options = {"recorder": recorder, "record_channels": everything}
    async with two_streams(tmp_path, **options) as (venue, world):
        await world.subscribed(trades={"*"})
        await until(lambda: venue.news.channels.get("news") == {"*"})
        await venue.news.send_raw(encoded(a_story(1, "A")))
        await until(lambda: world.relay.status().get("news") == 1)
        await venue.stock.send(a_trade("A", 1))
        await until(lambda: world.relay.status().get("frames") == 1)
    stories = recorded(tmp_path / "tapes")
    assert stories[0] == encoded(a_story(1, "A"))

    rows = [(0.0, a_print("AIG", 50.0)), (1.0, a_story(8, "AIG") | {"S": ""}),
            (2.0, a_print("AIG", 50.0, number=2))]  # fmt: skip
    tape = write_tape(tmp_path / "news.tape", rows)
    found: list[bytes] = []
    traded: list[bytes] = []
    with running_venue(tape, speed=50.0) as running:
        clients = []
        for path, want, where in (
            ("/v1beta1/news", {"news": ["AIG"]}, found), ("/v2/sip", {"trades": ["*"]}, traded)
        ):  # fmt: skip
            told: list[str] = []
            client = RelayClient(
                f"{running.ws}{path}", VENUE_KEYS.key, VENUE_KEYS.secret, on_frame=where.append,
                on_state=lambda state, _reason, told=told: told.append(state),
            )  # fmt: skip
            client.want(want)
            clients.append((client, asyncio.create_task(client.run())))
            await until(lambda told=told: "subscribed" in told)  # the tape begins with the second
        await until(lambda: ids(found))
        await until(lambda: len(traded) >= 5)
        for client, task in clients:
            await client.close()
            await task
    assert ids(found) == [8]
    assert ids(traded) == []
