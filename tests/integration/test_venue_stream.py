"""The venue's websockets as any client sees them: codecs, refusals, pace, slow readers."""

import asyncio
import itertools
import json
from datetime import UTC, datetime

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from execution.venue import datafeed
from tests.venue_fixture import KEYS, SESSION, quiet_rows, running_venue, write_tape

AUTH = {"action": "auth", "key": KEYS.key, "secret": KEYS.secret}
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return write_tape(tmp_path_factory.mktemp("tape") / "quiet.tape", quiet_rows(12))


async def session(venue, *, codec="json", feed="sip", subscribe, extensions=None):
    """Yield decoded frames of an authenticated, subscribed client."""
    packed = codec == "msgpack"
    encode = msgspec.msgpack.encode if packed else json.dumps
    decode = msgspec.msgpack.decode if packed else json.loads
    headers = {"Content-Type": f"application/{codec}"}
    url = f"{venue.ws}/v2/{feed}"
    async with asyncio.timeout(30), connect(url, additional_headers=headers) as ws:
        yield decode(await ws.recv())
        await ws.send(encode(AUTH | ({"extensions": extensions} if extensions else {})))
        yield decode(await ws.recv())
        await ws.send(encode({"action": "subscribe", **subscribe}))
        async for frame in ws:
            yield decode(frame)


async def first_frames(count: int, venue, **kwargs) -> list:
    found = []
    async for frame in session(venue, **kwargs):
        found.append(frame)
        if len(found) == count:
            break
    return found


def test_a_json_client_gets_text_with_full_times_and_acknowledgments(tape):
    with running_venue(tape, speed=50.0) as venue:
        wanted = {"trades": ["SPY"], "bars": None, "orderbooks": None}
        frames = asyncio.run(first_frames(5, venue, subscribe=wanted))

    assert frames[0] == [{"T": "success", "msg": "connected"}]
    assert frames[1] == [{"T": "success", "msg": "authenticated"}]
    assert frames[2][0]["trades"] == ["SPY"]
    assert frames[2][0]["quotes"] == []
    first = frames[3][0]
    opened = datetime.fromtimestamp(SESSION.open_ns // SECOND, UTC)
    assert first == {
        "T": "t",
        "S": "SPY",
        "i": 0,
        "x": "N",
        "p": 170.0,
        "s": 100,
        "c": [" "],
        "z": "A",
        "t": f"{opened:%Y-%m-%dT%H:%M:%S}Z",
    }
    assert all(message["S"] == "SPY" for frame in frames[3:] for message in frame)


def test_a_paced_tape_sends_its_clock_each_quarter_second_of_tape(tape):
    with running_venue(tape, speed=10.0) as venue:
        frames = asyncio.run(
            first_frames(
                60,
                venue,
                codec="msgpack",
                subscribe={"quotes": ["A*"]},
                extensions=["clock", "prefix", "resume"],
            )
        )

    assert frames[1][0]["extensions"] == ["prefix", "clock"]
    newest, clocks = 0, []
    for frame in frames[3:]:
        for message in frame:
            if message["T"] == "clock":
                clocks.append(message["t"])
                assert newest <= message["t"]
            else:
                assert message["S"] == "AIG"
                newest = round(message["t"].timestamp() * 10) * SECOND // 10
                assert not clocks or newest > clocks[-1]
    assert clocks == sorted(clocks)
    assert len(clocks) > 5
    assert max(b - a for a, b in itertools.pairwise(clocks)) < 3 * SECOND


def test_wrong_keys_are_told_and_cut(tape):
    async def knock(venue) -> tuple:
        async with asyncio.timeout(20), connect(f"{venue.ws}/v2/iex") as ws:
            await ws.recv()
            await ws.send(json.dumps(AUTH | {"secret": "wrong"}))
            answer = json.loads(await ws.recv())
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            return answer

    with running_venue(tape, speed=1.0) as venue:
        answer = asyncio.run(knock(venue))

    assert answer == [{"T": "error", "code": 402, "msg": "auth failed"}]


def test_keys_in_the_handshake_authenticate_too(tape):
    async def knock(venue) -> list:
        headers = {"APCA-API-KEY-ID": KEYS.key, "APCA-API-SECRET-KEY": KEYS.secret}
        url = f"{venue.ws}/v2/test"
        async with asyncio.timeout(20), connect(url, additional_headers=headers) as ws:
            answers = [json.loads(await ws.recv())[0] for _ in range(2)]
            await ws.send(json.dumps(AUTH))
            return [*answers, json.loads(await ws.recv())[0]]

    with running_venue(tape, speed=1.0) as venue:
        answers = asyncio.run(knock(venue))

    assert [answer.get("msg") for answer in answers] == [
        "connected",
        "authenticated",
        "already authenticated",
    ]


def test_a_slow_client_of_a_paced_tape_is_cut_and_nobody_else_notices(tape, monkeypatch):
    monkeypatch.setattr(datafeed, "OUTBOX_BYTES", 2_000)

    class Stuck(datafeed.Outbox):
        async def drain(self) -> None:
            if not stuck:
                stuck.append(self)
                while not self.overflowed:
                    await self._filled.wait()
                    self._filled.clear()
            else:
                await super().drain()

    stuck: list = []
    monkeypatch.setattr(datafeed, "Outbox", Stuck)

    async def both(venue) -> tuple:
        headers = {
            "APCA-API-KEY-ID": KEYS.key,
            "APCA-API-SECRET-KEY": KEYS.secret,
        }
        async with (
            asyncio.timeout(20),
            connect(f"{venue.ws}/v2/sip", additional_headers=headers) as slow,
        ):
            await slow.send(json.dumps({"action": "subscribe", "trades": ["*"]}))
            good = await first_frames(30, venue, subscribe={"trades": ["*"]})
            said = json.loads(await slow.recv())
            with pytest.raises(ConnectionClosed) as closed:
                await slow.recv()
            return good, said, closed.value.rcvd.code

    with running_venue(tape, speed=10.0, wait_for=2) as venue:
        good, said, code = asyncio.run(both(venue))

    assert len(good) == 30
    assert said == [{"T": "error", "code": 407, "msg": "slow client"}]
    assert code == 4408


def test_the_update_stream_refuses_before_it_says_anything_else(tape):
    async def knock(venue) -> list:
        async with asyncio.timeout(20), connect(f"{venue.ws}/stream") as ws:
            await ws.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
            early = json.loads(await ws.recv())
            await ws.send("not json")
            late = json.loads(await ws.recv())
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            return [early["data"], late["data"]]

    with running_venue(tape, speed=1.0) as venue:
        assert asyncio.run(knock(venue)) == [
            {"status": "unauthorized", "action": "listen"},
            {"status": "unauthorized", "action": "authenticate"},
        ]


def test_a_hub_on_a_paced_tape_is_told_the_time_but_never_asked(tape):
    async def listen(venue) -> list:
        async with asyncio.timeout(20), connect(f"{venue.ws}/lockstep") as desk:
            await desk.send(json.dumps(AUTH))
            frames = [json.loads(await desk.recv()) for _ in range(2)]
            reader = asyncio.create_task(first_frames(3, venue, subscribe={"trades": ["*"]}))
            while not frames[-1].get("end"):
                frames.append(json.loads(await desk.recv()))
            await reader
            return frames

    with running_venue(tape, speed=60.0) as venue:
        frames = asyncio.run(listen(venue))

    assert frames[0] == {"state": "attached"}
    assert frames[1] == {"t": SESSION.open_ns, "end": False, "speed": 60.0, "warm_up": False}
    times = [frame["t"] for frame in frames[1:]]
    assert times == sorted(times)
    assert frames[-1]["t"] == SESSION.open_ns + 15 * SECOND + 750_000_000
