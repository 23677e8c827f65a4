"""A whole tape through venue and relay: SDK, bare sockets, 26 letters; crash and return."""

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgpack
import numpy as np
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

from relay import frames
from relay.client import RelayClient
from relay.extension import read_extension
from relay.kept_ring import place_of
from relay.tape import TapeHeader, TapeReader, TapeWriter
from tests.integration.test_relay_clients import LETTERS, BareClient
from tests.integration.test_relay_stream import Reader, World, until
from tests.venue_fixture import KEYS, MS, SESSION, quiet_rows, running_venue, write_tape

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]
RELAY_ENV = {"APCA_API_KEY_ID": "", "TRADEPLANE_RUN": "live"}
FRAMES, PER_FRAME = 120, 40
TYPES = {"t": Trade, "q": Quote, "b": Bar, "u": Bar, "d": Bar, "s": TradingStatus,
         "c": TradeCorrection, "x": TradeCancel}  # fmt: skip


def a_message(rng: np.random.Generator, number: int, symbol: str) -> dict:
    """One message of any kind; prices with all their digits, unknown keys here and there."""
    kind = str(rng.choice(list("ttttttqqqqbudslcxi")))
    price = round(float(rng.uniform(1, 900)), 4)
    bar = {"o": price, "h": price + 1, "l": price - 0.5, "c": price, "v": 100, "n": 3, "vw": price}
    place = {"x": "V", "z": "C"}
    corrected = {"oi": 1, "op": price, "os": 5, "oc": ["@"], "ci": number, "cp": price, "cs": 7,
                 "cc": ["@", "I"]}  # fmt: skip
    sides = {"bx": "V", "bp": price, "bs": 300, "ax": "Q", "ap": price + 0.01, "as": 200}
    body: dict = {
        "t": {"i": number, "p": price, "s": int(rng.integers(1, 9000)), "c": ["@", "F"], **place},
        "q": {**sides, "c": ["R"], "z": "A", "r": None},
        "b": bar, "u": bar, "d": bar | {"new": {"deep": [1, None]}},
        "s": {"sc": "H", "sm": "Halt", "rc": "T1", "rm": "News pending", "z": "C"},
        "l": {"u": price + 5, "d": price - 5, "i": "B", "z": "C"},
        "c": {**place, **corrected}, "x": {"i": number, "p": price, "s": 9, "a": "C", **place},
        "i": {"p": price, "z": "C"},
    }[kind]  # fmt: skip
    return {"T": kind, "S": symbol, **body, "t": SESSION.open_ns + number * MS}


@pytest.fixture(scope="module")
def tape(tmp_path_factory) -> Path:
    """Every kind, names of every letter, frames of 40."""
    rng = np.random.default_rng(26)
    names = [a + b for a in LETTERS for b in ("", "B", "ZZZ", ".A")]
    path = tmp_path_factory.mktemp("tape") / "market.tape"
    with TapeWriter(path, TapeHeader(day=SESSION.day, symbols=tuple(sorted(names)))) as writer:
        for number in range(FRAMES):
            first = number * PER_FRAME
            row = [
                frames.encode_message(a_message(rng, first + i, str(rng.choice(names))))
                for i in range(PER_FRAME)
            ]
            writer.append(SESSION.open_ns + first * MS, frames.encode_array(row))
    return path


def on_tape(path: Path, symbols: str = "") -> list[bytes]:
    """Every message of the tape as its bytes, in order; of symbols that begin with this."""
    found = []
    for block in TapeReader(path).blocks():
        for i in range(block.recv_ns.size):
            frame = block.frame(i)
            for span in frames.scan(frame):
                if frames.key_symbol(span["key"], span["key2"]).startswith(symbols):
                    found.append(frame[span["start"] : span["end"]])
    return found


def kinds_of(bodies: list[bytes], kinds: str) -> list[bytes]:
    return [body for body in bodies if body[4:5].decode() in kinds]


@asynccontextmanager
async def a_relay(home: Path, upstream: str, port: int = 0) -> AsyncIterator[World]:
    """`manage.py relay` as a process, without keys for the upstream: a hub opens it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("manage.py", "relay", "--upstream", upstream, "--port", str(port)),
        cwd=ROOT,
        env={**os.environ, **RELAY_ENV, "TRADEPLANE_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        while b"relay ready on" not in (line := await process.stdout.readline()):
            assert line
        found = World(None, None, home / "relay", upstream)
        found.relay = Process(process, int(line.split(b":")[2].split(b"/")[0]))
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class Process:
    """What tests know of a relay that is another process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port
        self.url = f"ws://127.0.0.1:{port}/v2/sip"

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def a_hub(world: World) -> AsyncIterator[Reader]:
    hub = Reader(world, role="hub")
    await until(lambda: "open" in hub.states)
    yield hub
    await hub.close()


def open_upstream(hub: Reader) -> None:
    hub.client.send(
        {"action": "upstream", "command": "open", "key": KEYS.key, "secret": KEYS.secret}
    )


def an_sdk(world: World, collect, *, raw: bool) -> tuple[StockDataStream, threading.Thread]:
    stream = StockDataStream(
        *world.key(), raw_data=raw, feed=DataFeed.SIP, url_override=world.relay.url
    )
    for add in (
        stream.subscribe_trades, stream.subscribe_quotes, stream.subscribe_bars,
        stream.subscribe_updated_bars, stream.subscribe_daily_bars,
        stream.subscribe_trading_statuses,
    ):  # fmt: skip
        add(collect, "*")
    stream.register_trade_corrections(collect)
    stream.register_trade_cancels(collect)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    return stream, thread


async def states_of(hub: Reader) -> dict:
    """Ask the relay how everybody is."""
    before = len(hub.frames)
    hub.client.send({"action": "status"})
    await until(lambda: any(b"status" in frame[:16] for frame in hub.frames[before:]))
    frame = next(frame for frame in hub.frames[before:] if b"status" in frame[:16])
    return msgpack.unpackb(frame)[0]


@pytest.mark.parametrize("raw", [True, False])
async def test_the_unmodified_sdk_gets_the_whole_tape_in_order(tape, tmp_path, raw):
    wanted = [msgpack.unpackb(body) for body in kinds_of(on_tape(tape), "".join(TYPES))]
    found: list = []

    async def collect(message) -> None:
        found.append(message)

    with running_venue(tape, speed=None) as venue:
        async with a_relay(tmp_path, f"{venue.ws}/v2/sip") as world, a_hub(world) as hub:
            stream, thread = an_sdk(world, collect, raw=raw)
            async with asyncio.timeout(20):
                while (await states_of(hub))["wanted"].get("statuses") != "*":
                    await asyncio.sleep(0.02)
            open_upstream(hub)
            await until(lambda: len(found) >= len(wanted))
            await asyncio.to_thread(stream.stop)
            await asyncio.to_thread(thread.join, 10)

    if raw:
        assert found == wanted
        assert [list(one) for one in found] == [list(one) for one in wanted]
    else:
        assert [type(one) for one in found] == [TYPES[one["T"]] for one in wanted]
        assert [one.symbol for one in found] == [one["S"] for one in wanted]
        assert [one.timestamp for one in found] == [one["t"].to_datetime() for one in wanted]
        trades = [one for one in found if type(one) is Trade]
        assert [(t.id, t.price, t.size, t.conditions) for t in trades] == [
            (one["i"], one["p"], one["s"], one["c"]) for one in wanted if one["T"] == "t"
        ]


async def test_bare_clients_get_the_tape_byte_for_byte_whole_and_by_letter(tape, tmp_path):
    every = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds",
             "imbalances")  # fmt: skip
    with running_venue(tape, speed=None) as venue:
        async with a_relay(tmp_path, f"{venue.ws}/v2/sip") as world, a_hub(world) as hub:
            clients = {}
            for letter in ("", *LETTERS):
                clients[letter] = client = await BareClient.open(world.relay.port)
                await client.log_in(world.key(), extensions=["prefix"])
                asked = {name: [f"{letter}*"] for name in every}
                client.say({"action": "subscribe", **asked})
                await client.frame()
            open_upstream(hub)

            async with asyncio.timeout(30):
                for letter, client in clients.items():
                    wanted = on_tape(tape, letter)
                    found: list[bytes] = []
                    while len(found) < len(wanted):
                        frame = await client.frame()
                        found += [frame[s["start"] : s["end"]] for s in frames.scan(frame)]
                    assert found == wanted
                    client.close()


@pytest.mark.tape
async def test_real_ticks_arrive_byte_for_byte(imported_tape, tmp_path):
    path = imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131007", ("10:00", "10:03"))
    wanted = on_tape(path)
    got: list[bytes] = []
    with running_venue(path, speed=None) as venue:
        async with a_relay(tmp_path, f"{venue.ws}/v2/sip") as world, a_hub(world) as hub:
            reader = Reader(world, extensions=())
            await reader.subscribe(trades=["*"], quotes=["*"])
            open_upstream(hub)

            def arrived() -> list[bytes]:
                nonlocal got
                got = [
                    frame[span["start"] : span["end"]]
                    for frame in reader.frames
                    for span in frames.scan(frame)
                    if span["kind"] in (frames.TRADE, frames.QUOTE)
                ]
                return got

            await until(lambda: sum(map(len, reader.frames)) >= sum(map(len, wanted)))
            await until(lambda: len(arrived()) >= len(wanted))
            await reader.close()

    assert len(wanted) > 10_000
    assert got == wanted


# --- crash and return ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ticking(tmp_path_factory) -> Path:
    """Five prints a second of SPY, numbered; five minutes at ten times the pace."""
    return write_tape(tmp_path_factory.mktemp("tape") / "quiet.tape", quiet_rows(3000, step=0.2))


class Traveler:
    """A consumer that comes and goes, and takes up where it was."""

    def __init__(self, world: World) -> None:
        self.key, self.url = world.key("shard"), world.relay.url
        self.frames: list[bytes] = []
        self.place: tuple[int, int] | None = None

    @asynccontextmanager
    async def here(self) -> AsyncIterator[None]:
        states: list[str] = []
        client = RelayClient(
            self.url, *self.key, extensions=("frame", "resume", "gap", "backfill"),
            on_frame=self._take, on_state=lambda state, reason: states.append(state),
        )  # fmt: skip
        resume = (self.place[0], self.place[1] + 1) if self.place else None
        client.subscribe(trades=["SPY"], resume=resume)
        task = asyncio.create_task(client.run())
        await until(lambda: "subscribed" in states)
        yield
        await client.close()
        await task

    def _take(self, frame: bytes) -> None:
        found = read_extension(frame)
        if found is not None:
            self.place = (found.epoch, found.offset)
        self.frames.append(frame)

    def messages(self, kind: str) -> list[dict]:
        every = [msgpack.unpackb(frame, timestamp=0) for frame in self.frames]
        return [message for frame in every for message in frame if message["T"] == kind]

    @property
    def ids(self) -> list[int]:
        return [message["i"] for message in self.messages("t")]


async def test_a_relay_killed_in_mid_tape_loses_nothing_that_it_had_and_says_what_it_had_not(
    ticking, tmp_path
):
    with running_venue(ticking, speed=10.0) as venue:
        upstream = f"{venue.ws}/v2/sip"
        async with a_relay(tmp_path, upstream) as world, a_hub(world) as hub:
            traveler, keeper = Traveler(world), Traveler(world)
            async with keeper.here():
                async with traveler.here():
                    open_upstream(hub)
                    await until(lambda: len(traveler.ids) >= 30)
                away = traveler.ids[-1]
                await until(lambda: keeper.ids[-1] >= away + 100)
                await world.relay.kill()
            port = world.relay.port

        async with a_relay(tmp_path, upstream, port) as world, a_hub(world) as hub:
            async with traveler.here():
                open_upstream(hub)
                await until(lambda: traveler.messages("backfill")[1:])
                last = traveler.ids[-1]
                await until(lambda: traveler.ids[-1] > last + 50)
            (resumed,) = traveler.messages("resume")
            (gap,) = traveler.messages("gap")
            filled = [m["i"] for m in traveler.messages("t") if m.get("backfill")]
            kinds = [m["T"] for frame in map(msgpack.unpackb, traveler.frames) for m in frame]
            await world.relay.kill()

        shutil.rmtree(place_of(tmp_path / "relay"))
        async with a_relay(tmp_path, upstream, port), traveler.here():
            await until(lambda: len(traveler.messages("resume")) == 2)
        shutil.rmtree(place_of(tmp_path / "relay"))

    assert resumed["state"] == "RECOVERED"
    assert gap["reason"] == "relay restarted"
    assert gap["to"] > gap["from"] > SESSION.open_ns
    assert sorted(traveler.ids) == list(range(traveler.ids[0], traveler.ids[-1] + 1))
    live = [i for i in traveler.ids if i not in set(filled)]
    assert live == sorted(live)
    assert filled == list(range(filled[0], filled[-1] + 1))
    assert kinds.index("gap") > kinds.index("resume")
    assert traveler.messages("resume")[1]["state"] == "GAP"
