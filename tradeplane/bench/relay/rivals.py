"""What the relay is measured against: one that decodes and re-encodes, and the venue's own SDK."""

import argparse
import asyncio
import json
import sys
import threading
import time

import msgspec
import uvloop
from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from relay.client_protocol import ClientProtocol, ClientState
from relay.protocol import Consumer, ServerProtocol
from relay.wire import EXTENSIONS
from tradeplane.bench.relay.counting import say


class Trade(msgspec.Struct, gc=False):
    """Every field of a trade, as a program that decodes it has it."""

    T: str
    S: str
    i: int
    x: str
    p: float
    s: int
    c: list[str]
    z: str
    t: msgspec.msgpack.Ext


class Reencoder:
    """Decode each frame, group by first letter, encode and send to each letter's consumer."""

    def __init__(self) -> None:
        self._consumers: dict[str, ServerConnection] = {}
        self._decode = msgspec.msgpack.Decoder(list[Trade]).decode
        self._encode = msgspec.msgpack.Encoder().encode

    async def serve(self, socket: ServerConnection) -> None:
        protocol = ServerProtocol(
            "msgpack", lambda key, secret: Consumer(id=key), extensions_offered=EXTENSIONS
        )
        try:
            while True:
                for frame in protocol.frames_to_send():
                    await socket.send(frame)
                for entry in protocol.subscription.channels["trades"]:
                    self._consumers[entry[0]] = socket
                protocol.receive(await socket.recv())
        except ConnectionClosed:
            pass

    async def read(self, url: str) -> None:
        headers = {"Content-Type": "application/msgpack"}
        async with connect(
            url, additional_headers=headers, compression=None, max_size=None, proxy=None
        ) as socket:
            protocol = ClientProtocol("K", "S")
            while protocol.state is not ClientState.LIVE:
                protocol.receive(_binary(await socket.recv()))
                for request in protocol.frames_to_send():
                    await socket.send(request)
            protocol.change({}, {"trades": ["*"]})
            for request in protocol.frames_to_send():
                await socket.send(request)
            await socket.recv()
            async for frame in socket:
                await self._forward(_binary(frame))

    async def _forward(self, frame: bytes) -> None:
        by_letter: dict[str, list[Trade]] = {}
        for trade in self._decode(frame):
            by_letter.setdefault(trade.S[0], []).append(trade)
        for letter, trades in by_letter.items():
            await self._consumers[letter].send(self._encode(trades))


async def reencode(upstream: str) -> None:
    relay = Reencoder()
    async with serve(relay.serve, "127.0.0.1", 0, compression=None) as server:
        say({"port": server.sockets[0].getsockname()[1]})
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        reading = asyncio.create_task(relay.read(upstream))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        reading.cancel()


def sdk(upstream: str) -> None:
    """Count trades as an ordinary program does. Told and answering as the counting processes."""
    count, last_ns = 0, 0

    async def on_trade(_trade: object) -> None:
        nonlocal count, last_ns
        count += 1
        last_ns = time.monotonic_ns()

    stream = StockDataStream("K", "S", feed=DataFeed.SIP, url_override=upstream)
    stream.subscribe_trades(on_trade, "*")
    threading.Thread(target=stream.run, daemon=True).start()
    say({"ready": 1})
    for line in sys.stdin:
        if json.loads(line)["do"] == "counts":
            say({"counts": {"*": count}, "last_ns": last_ns, "holes": 0, "closed": []})


def _binary(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rival", choices=("reencode", "sdk"))
    parser.add_argument("--upstream", required=True)
    told = parser.parse_args()
    if told.rival == "sdk":
        sdk(told.upstream)
    else:
        uvloop.run(reencode(told.upstream))


if __name__ == "__main__":
    main()
