"""Lock-step over real sockets: a hub, a data client and a listener driving one tape."""

import asyncio
import json
from dataclasses import dataclass, field

import msgspec
import pytest
import requests
from websockets.asyncio.client import connect

from tests.venue_fixture import (
    KEYS,
    MS,
    SECOND,
    SESSION,
    a_print,
    a_quote,
    quiet_rows,
    running_venue,
    write_tape,
)

OPEN = SESSION.open_ns
HEADERS = {"APCA-API-KEY-ID": KEYS.key, "APCA-API-SECRET-KEY": KEYS.secret}
AUTH = {"action": "auth", "key": KEYS.key, "secret": KEYS.secret}
GRACE = 750 * MS


@dataclass
class Record:
    stops: list[dict] = field(default_factory=list)
    updates: list[bytes] = field(default_factory=list)
    messages: list[dict] = field(default_factory=list)
    stop_frames: list[dict] = field(default_factory=list)


def rising_rows() -> list[tuple[float, dict]]:
    """Thirty seconds; AIG jumps at 12.34 s, falls through everything at 21.45 s."""
    rows = quiet_rows(30)
    rows += [
        (12.34, a_quote("AIG", 50.60, 50.62)),
        (12.35, a_quote("AIG", 50.00, 50.02)),
        (21.40, a_quote("AIG", 49.30, 49.42)),
        (21.45, a_print("AIG", 49.35, number=777)),
    ]
    return sorted(rows, key=lambda row: row[0])


class Hub:
    """Drives a run: at each stop of interest it posts, everywhere it waits for its updates."""

    def __init__(self, venue, plan: dict[int, dict], *, wake_at: dict[int, int] | None = None):
        self.venue = venue
        self.plan = plan
        self.wake_at = wake_at or {}
        self.record = Record()

    async def run(self) -> Record:
        async with asyncio.timeout(60), connect(f"{self.venue.ws}/stream") as stream:
            await stream.send(json.dumps({"action": "authenticate", "data": _key_id()}))
            await stream.recv()
            listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
            await stream.send(json.dumps(listen))
            await stream.recv()
            async with connect(f"{self.venue.ws}/v2/sip", additional_headers=_MSGPACK) as data:
                await self._subscribe(data)
                async with connect(f"{self.venue.ws}/lockstep") as desk:
                    await desk.send(json.dumps(AUTH))
                    assert json.loads(await desk.recv()) == {"state": "attached"}
                    await self._drive(desk, stream, data)
        return self.record

    async def _subscribe(self, data) -> None:
        await data.recv()
        await data.send(msgspec.msgpack.encode(AUTH | {"extensions": ["clock", "frame"]}))
        granted = msgspec.msgpack.decode(await data.recv())
        assert granted[0]["extensions"] == ["clock"]
        wanted = {"action": "subscribe", "trades": ["*"], "quotes": ["AIG"]}
        await data.send(msgspec.msgpack.encode(wanted))
        await data.recv()
        self.record.stop_frames += msgspec.msgpack.decode(await data.recv())

    async def _drive(self, desk, stream, data) -> None:
        while True:
            stop = json.loads(await desk.recv())
            self.record.stops.append(stop)
            if stop["stop"]:
                await self._read_to(data, stop["stop"])
            while len(self.record.updates) < stop["updates"]:
                self.record.updates.append(await stream.recv())
            for body in self.plan.get(stop["stop"], []):
                await asyncio.to_thread(_send, self.venue, body)
            wake_at = self.wake_at.get(stop["stop"])
            answer = {"action": "continue", "stop": stop["stop"], "wake_at": wake_at}
            await desk.send(json.dumps(answer))
            if stop["end"]:
                return

    async def _read_to(self, data, number: int) -> None:
        while True:
            frame = msgspec.msgpack.decode(await data.recv())
            if frame[0]["T"] == "clock":
                self.record.stop_frames.append(frame[0])
                assert frame[0]["stop"] == number
                return
            self.record.messages += frame


_MSGPACK = {"Content-Type": "application/msgpack"}


def _key_id() -> dict:
    return {"key_id": KEYS.key, "secret_key": KEYS.secret}


def _send(venue, request: tuple) -> None:
    method, path, body = request
    answer = requests.request(
        method, f"{venue.http}/v2{path}", json=body, headers=HEADERS, timeout=5
    )
    assert answer.status_code < 300, answer.text


def bracket(client_id: str, **changes) -> tuple:
    body = {
        "symbol": "AIG",
        "qty": 10,
        "side": "buy",
        "type": "limit",
        "limit_price": 50.05,
        "time_in_force": "day",
        "order_class": "bracket",
        "take_profit": {"limit_price": 50.50},
        "stop_loss": {"stop_price": 49.50},
        "client_order_id": client_id,
    }
    return ("POST", "/orders", body | changes)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return write_tape(tmp_path_factory.mktemp("tape") / "rising.tape", rising_rows())


def drive(tape, plan, *, wake_at=None, **options) -> tuple[Record, dict]:
    with running_venue(tape, speed=None, lockstep=True, **options) as venue:
        record = asyncio.run(Hub(venue, plan, wake_at=wake_at).run())
        status = requests.get(f"{venue.http}/venue/status", headers=HEADERS, timeout=5).json()
    return record, status


def events(record: Record) -> list[tuple]:
    found = []
    for update in record.updates:
        data = json.loads(update)["data"]
        found.append((data["event"], data["order"]["type"], data.get("price")))
    return found


def seconds(t_ns: int) -> float:
    return (t_ns - OPEN) / SECOND


def test_a_tape_stops_at_bucket_ends_plus_grace_and_where_something_happens(tape):
    plan = {1: [bracket("first")]}

    record, status = drive(tape, plan, wake_at={2: OPEN + 7 * SECOND})

    times = [seconds(stop["t"]) for stop in record.stops]
    assert times[:6] == [0.0, 5.75, 5.9, 7.0, 10.75, 12.34]
    assert times[6:] == [15.75, 20.75, 25.75, 30.75]
    assert [stop["end"] for stop in record.stops] == [False] * 9 + [True]
    assert [stop["stop"] for stop in record.stops] == list(range(10))
    assert events(record) == [
        ("new", "limit", None),
        ("fill", "limit", "50.02"),
        ("new", "limit", None),
        ("fill", "limit", "50.6"),
        ("canceled", "stop", None),
    ]
    assert status["state"] == "ended"
    assert status["truth"]["cash"] == "100005.8"
    assert status["truth"]["unprotected"] == []


def test_a_stop_leg_fills_at_the_print_that_elects_it(tape):
    plan = {3: [bracket("late", stop_loss={"stop_price": 49.40})]}

    record, _ = drive(tape, plan)

    assert seconds(record.stops[5]["t"]) == 20.75
    assert seconds(record.stops[6]["t"]) == 21.45
    assert events(record)[-2:] == [("fill", "stop", "49.3"), ("canceled", "limit", None)]


def test_data_is_everything_subscribed_in_order_and_the_clock_comes_after_it(tape):
    record, status = drive(tape, {})

    expected = [
        (at, message)
        for at, message in rising_rows()
        if at >= 0 and (message["T"] == "t" or message["S"] == "AIG")
    ]
    assert [message["S"] for message in record.messages] == [m["S"] for _, m in expected]
    assert record.messages[0]["T"] == "q"
    assert status["prints_sent"] == sum(m["T"] == "t" for _, m in expected)
    assert record.stop_frames[0] == {"T": "clock", "t": OPEN - 1}  # before the first message
    numbers = [frame["stop"] for frame in record.stop_frames[1:]]
    assert numbers == [stop["stop"] for stop in record.stops[1:]]


def test_two_identical_runs_give_the_same_bytes(tape):
    plan = {
        1: [bracket("one"), bracket("two", qty=20, limit_price="49.90")],
        6: [bracket("three", stop_loss={"stop_price": 49.40})],
    }

    first, truth = drive(tape, plan, partial_rate=0.4)
    second, again = drive(tape, plan, partial_rate=0.4)

    assert first.updates == second.updates
    assert first.stops == second.stops
    assert first.messages == second.messages
    assert len(first.updates) > 8
    assert truth["truth"] == again["truth"]


def test_a_hub_that_comes_back_is_given_the_stop_again(tape):
    async def leave_and_return(venue) -> list:
        seen = []
        for last in (False, True):
            async with asyncio.timeout(20), connect(f"{venue.ws}/lockstep") as desk:
                await desk.send(json.dumps(AUTH))
                await desk.recv()
                seen.append(json.loads(await desk.recv()))
                await desk.send(json.dumps({"action": "continue", "stop": 99}))  # ignored
                if not last:
                    await desk.send(json.dumps({"action": "continue", "stop": 0}))
                    seen.append(json.loads(await desk.recv()))
        return seen

    with running_venue(tape, speed=None, lockstep=True) as venue:
        stops = asyncio.run(leave_and_return(venue))

    assert [stop["stop"] for stop in stops] == [0, 1, 1]


def test_a_hub_with_wrong_keys_is_refused(tape):
    async def knock(venue) -> dict:
        async with asyncio.timeout(20), connect(f"{venue.ws}/lockstep") as desk:
            await desk.send(json.dumps(AUTH | {"secret": "no"}))
            return json.loads(await desk.recv())

    with running_venue(tape, speed=None, lockstep=True) as venue:
        assert asyncio.run(knock(venue)) == {"state": "refused", "reason": "auth failed"}
