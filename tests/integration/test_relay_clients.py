"""Foreign clients get what the venue sent: every kind, every field, byte for byte, in order."""

import asyncio
import base64
import json
import os
import threading

import msgpack
import pytest
from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from alpaca.data.models import (
    Bar,
    Quote,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from websockets.asyncio.client import connect

from relay import frames
from tests.integration.test_relay_stream import T0_NS, World, a_world, until

pytestmark = pytest.mark.asyncio
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def everything() -> list[dict]:
    """One message of each kind, with nulls and keys that nobody knows."""
    bar = {"o": 10.0, "h": 12.5, "l": 9.75, "c": 11.0, "v": 1200, "n": 13, "vw": 10.62}
    correction = {"oi": 5, "op": 10.0, "os": 100, "oc": ["@"], "ci": 6, "cp": 10.5, "cs": 90}
    return [
        {"T": "t", "S": "A", "i": 5, "x": "V", "p": 10.25, "s": 100, "c": ["@", "I"], "z": "C"},
        {"T": "q", "S": "A", "bx": "V", "bp": 10.2, "bs": 300, "ax": "Q", "ap": 10.3, "as": 200,
         "c": ["R"], "z": "C", "r": None},
        {"T": "b", "S": "A", **bar}, {"T": "u", "S": "A", **bar}, {"T": "d", "S": "A", **bar},
        {"T": "s", "S": "A", "sc": "H", "sm": "Halt", "rc": "T1", "rm": "News", "z": "C"},
        {"T": "l", "S": "A", "u": 11.0, "d": 9.0, "i": "B", "z": "C"},
        {"T": "c", "S": "A", "x": "V", **correction, "cc": ["@"], "z": "C"},
        {"T": "x", "S": "A", "i": 6, "x": "V", "p": 10.5, "s": 90, "a": "C", "z": "C"},
        {"T": "i", "S": "A", "p": 10.1, "z": "C", "new": {"unknown": [1, None]}},
    ]  # fmt: skip


def encoded(message: dict, t_ns: int = T0_NS) -> bytes:
    return frames.encode_message({**message, "t": t_ns})


async def shown_to_the_sdk(world: World, *, raw: bool) -> list:
    """Everything once, as the unmodified SDK hands it to its handlers."""
    found: list = []
    stream = StockDataStream(
        *world.key(), raw_data=raw, feed=DataFeed.SIP, url_override=world.relay.url
    )

    async def collect(message) -> None:
        found.append(message)

    for add in (
        stream.subscribe_trades, stream.subscribe_quotes, stream.subscribe_bars,
        stream.subscribe_updated_bars, stream.subscribe_daily_bars,
        stream.subscribe_trading_statuses,
    ):  # fmt: skip
        add(collect, "A")
    stream.register_trade_corrections(collect)
    stream.register_trade_cancels(collect)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    await world.subscribed(trades={"A"}, quotes={"A"}, bars={"A"}, statuses={"A"})
    messages = [one for one in everything() if one["T"] not in "li"]
    for message in messages:
        await world.upstream.send(encoded(message))
    await world.upstream.send(*[encoded(message) for message in messages])
    await until(lambda: len(found) == 2 * len(messages))
    await asyncio.to_thread(stream.stop)
    await asyncio.to_thread(thread.join, 10)
    return found


async def test_the_sdk_gets_every_kind_it_knows_raw(tmp_path):
    async with a_world(tmp_path) as world:
        found = await shown_to_the_sdk(world, raw=True)

    sent = [one for one in everything() if one["T"] not in "li"]
    assert [{k: v for k, v in m.items() if k != "t"} for m in found] == sent * 2
    assert {message["t"].to_unix_nano() for message in found} == {T0_NS}


async def test_the_sdk_gets_every_kind_it_knows_as_its_own_types(tmp_path):
    async with a_world(tmp_path) as world:
        found = await shown_to_the_sdk(world, raw=False)

    kinds = [Trade, Quote, Bar, Bar, Bar, TradingStatus, TradeCorrection, TradeCancel]
    assert [type(message) for message in found] == kinds * 2
    assert (found[0].price, found[0].size, found[0].conditions) == (10.25, 100, ["@", "I"])
    assert (found[2].vwap, found[2].trade_count) == (10.62, 13)
    assert (found[6].original_id, found[6].corrected_price) == (5, 10.5)
    assert found[5].status_code == "H"


class BareClient:
    """Another client: plain sockets and `msgpack`, nothing of ours and no WebSocket library."""

    def __init__(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        self._read, self._write = read, write

    @classmethod
    async def open(cls, port: int) -> "BareClient":
        read, write = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        write.write(
            f"GET /v2/sip HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Content-Type: application/msgpack\r\n\r\n".encode()
        )
        assert b" 101 " in await read.readuntil(b"\r\n\r\n")
        return cls(read, write)

    def say(self, message: dict, *, fragments: int = 1) -> None:
        """Send one message, masked, in so many fragments and an empty last one."""
        payload, mask = msgpack.packb(message), os.urandom(4)
        size = -(-len(payload) // fragments)
        parts = [payload[i : i + size] for i in range(0, len(payload), size)]
        parts += [b""] if fragments > 1 else []
        for number, part in enumerate(parts):
            last = 0x80 if number == len(parts) - 1 else 0
            lead = last | (2 if number == 0 else 0)
            length = bytes((0x80 | len(part),)) if len(part) < 126 else (
                b"\xfe" + len(part).to_bytes(2, "big")
            )  # fmt: skip
            masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(part))
            self._write.write(bytes((lead,)) + length + mask + masked)

    async def frame(self) -> bytes:
        """Return the next data frame's payload; pings are not answered, on purpose."""
        while True:
            lead, size = await self._read.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self._read.readexactly(2 if size == 126 else 8), "big")
            payload = await self._read.readexactly(size)
            if lead == 0x82:
                return payload

    async def log_in(self, key: tuple[str, str], *, extensions=None) -> None:
        await self.frame()
        asked = {"extensions": extensions} if extensions else {}
        self.say({"action": "auth", "key": key[0], "secret": key[1], **asked}, fragments=3)
        (answer,) = msgpack.unpackb(await self.frame())
        assert answer["msg"] == "authenticated"

    def close(self) -> None:
        self._write.close()


async def test_a_bare_client_gets_the_venues_bytes(tmp_path):
    async with a_world(tmp_path) as world:
        client = await BareClient.open(world.relay.port)
        await client.log_in(world.key())
        channels = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
        asked = {name: ["A"] for name in (*channels, "imbalances")}
        client.say({"action": "subscribe", "orderbooks": None, "news": [], **asked}, fragments=2)
        (acknowledgment,) = msgpack.unpackb(await client.frame())
        assert {name: acknowledgment[name] for name in asked} == asked
        assert acknowledgment["corrections"] == acknowledgment["cancelErrors"] == ["A"]
        await world.subscribed(trades={"A"}, imbalances={"A"})
        sent = [encoded(message) for message in everything()]

        await world.upstream.send(*sent[:5], encoded({"T": "t", "S": "B"}), *sent[5:])

        assert await client.frame() == frames.encode_array(sent)
        client.close()


async def test_a_json_client_gets_every_kind_with_its_fields(tmp_path):
    async with (
        a_world(tmp_path) as world,
        connect(world.relay.url, compression=None, proxy=None) as socket,
    ):
        key, secret = world.key()
        for message in (
            {"action": "auth", "key": key, "secret": secret},
            {"action": "subscribe", **{n: ["*"] for n in ("trades", "quotes", "bars", "lulds")}},
        ):
            await socket.recv()
            await socket.send(json.dumps(message))
        await socket.recv()
        await world.subscribed(trades={"*"}, lulds={"*"})

        await world.upstream.send(*[encoded(message) for message in everything()])

        found = json.loads(await socket.recv())
        wanted = [one for one in everything() if one["T"] in "tqblcx"]
        assert found == [{**one, "t": "2013-10-07T13:30:00.000000001Z"} for one in wanted]
        assert [next(iter(message)) for message in found] == ["T"] * len(found)


async def test_26_letters_together_get_each_message_once(tmp_path):
    async with a_world(tmp_path) as world:
        clients = {}
        for letter in LETTERS:
            clients[letter] = client = await BareClient.open(world.relay.port)
            await client.log_in(world.key("shard"), extensions=["prefix"])
            client.say({"action": "subscribe", "trades": [f"{letter}*"]})
            await client.frame()
        await world.subscribed(trades={"*"})
        names = [a + b for a in LETTERS for b in ("", "A", "ZZ", ".B")]
        sent = [
            encoded({"T": "t", "S": names[i % len(names)], "i": i, "p": 1.0}) for i in range(2000)
        ]

        for start in range(0, 2000, 100):
            await world.upstream.send(*sent[start : start + 100])

        for letter, client in clients.items():
            wanted = [one for i, one in enumerate(sent) if names[i % len(names)][0] == letter]
            found: list[bytes] = []
            while len(found) < len(wanted):
                frame = await client.frame()
                spans = frames.scan(frame)
                found += [frame[span["start"] : span["end"]] for span in spans]
            assert found == wanted
            client.close()
