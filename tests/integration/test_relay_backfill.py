"""What a gap lost is fetched over REST for who watches it: once, marked, and honest when not."""

import asyncio
import time
from contextlib import asynccontextmanager

import msgpack
import pytest

from relay import backfill, frames, keys, prober, symbol_watch, watchdog
from relay import client as client_module
from relay.json_frames import rfc3339
from relay.market_rest import HttpMarketRest, Page, RestError, rest_url
from relay.server import RelayServer
from tests.integration.test_relay_stream import (
    Reader,
    World,
    a_trade,
    a_world,
    until,
)
from tests.venue_fixture import KEYS, quiet_rows, running_venue, write_tape

pytestmark = pytest.mark.asyncio
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(backfill, "SETTLE_S", 0.05)
    monkeypatch.setattr(client_module, "BACKOFF_S", (0.01, 0.02))


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return write_tape(tmp_path_factory.mktemp("tape") / "quiet.tape", quiet_rows(60))


# --- from gap to backfill ------------------------------------------------------------------------


async def test_a_gap_in_mid_tape_is_filled_with_exactly_what_was_missed(tape, tmp_path):
    frames.warm()
    with running_venue(tape, speed=10.0) as venue:
        relay = RelayServer(
            upstream_url=f"{venue.ws}/v2/sip",
            upstream_keys=(KEYS.key, KEYS.secret),
            home=tmp_path / "relay",
        )
        async with relay:
            world = World(None, relay, tmp_path / "relay", "")
            watcher = Reader(world, extensions=("frame", "gap", "backfill", "prefix"))
            plain = Reader(world, extensions=("frame",))
            await watcher.subscribe(trades=["S*"], quotes=["SPY", "AIG"])
            await plain.subscribe(trades=["SPY"])
            await until(lambda: len(watcher.ids) >= 50)
            client = relay.upstream._client
            client._backoff_s = lambda attempt: 0.7  # seven seconds of tape
            client.drop("cut by the test")

            await until(lambda: markers(watcher, "backfill")[-1:] != [])
            await until(lambda: markers(watcher, "backfill")[-1]["state"] != "begin")
            await until(lambda: max(watcher.ids) >= 400)

            (gap,) = markers(watcher, "gap")
            begin, done = markers(watcher, "backfill")
            filled = [m for m in watcher.messages if m.get("backfill")]
            live = [m["i"] for m in watcher.messages if m["T"] == "t" and not m.get("backfill")]
            assert sorted(watcher.ids) == list(range(min(live), max(watcher.ids) + 1))
            assert [m["i"] for m in filled] == sorted(set(range(live[0], live[-1])) - set(live))
            assert done["trades"] == len(filled) > 30
            assert all(gap["from"] - SECOND < m["t"].to_unix_nano() < gap["to"] for m in filled)
            assert (done["state"], begin["symbols"]) == ("complete", ["SPY"])
            assert (begin["from"], begin["to"]) == (gap["from"], gap["to"])
            first = {k: v for k, v in filled[0].items() if k not in ("i", "t", "backfill")}
            assert first == {"T": "t", "S": "SPY", "x": "N", "p": 170.0, "s": 100, "c": [" "],
                             "z": "A"}  # fmt: skip
            assert list(filled[0]) == ["T", "S", "i", "x", "p", "s", "c", "z", "t", "backfill"]
            assert not [m for m in plain.messages if m.get("backfill") or m["T"] == "gap"]
            assert relay.status()["backfilled"] == len(filled)
            await watcher.close()
            await plain.close()


def markers(reader: Reader, kind: str) -> list[dict]:
    return [message for message in reader.messages if message["T"] == kind]


class FakeApi:
    """A data API that says what the test says; remembers what it was asked."""

    def __init__(self, *answers) -> None:
        self.answers, self.asked = list(answers), []
        self.newest: dict[str, int] = {}

    def latest_ns(self, symbols) -> dict[str, int]:
        return {symbol: self.newest[symbol] for symbol in symbols if symbol in self.newest}

    def trades(self, symbols, from_ns, to_ns, token=None) -> Page:
        self.asked.append((tuple(symbols), from_ns, to_ns, token))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def a_row(i: int, **fields) -> dict:
    now = rfc3339(1_700_000_000 + i, 5)
    return {"t": now, "x": "V", "p": 10.25, "s": 100, "c": ["@"], "i": i, "z": "C", **fields}


@asynccontextmanager
async def a_gap(tmp_path, monkeypatch, api, *, sent=(), asked=("A",)):
    """A watcher after an interruption, with the end of what its backfill brought."""
    async with a_world(tmp_path, extensions=()) as world:
        monkeypatch.setattr(world.relay._backfiller, "_api", lambda: api)
        reader = Reader(world, extensions=("gap", "backfill"))
        await reader.subscribe(trades=list(asked))
        await world.subscribed(trades=set(asked))
        await world.upstream.send(*(sent or [a_trade("A", 1)]))
        await until(lambda: reader.ids)
        await world.upstream.drop()
        await until(lambda: [m for m in markers(reader, "backfill") if m["state"] != "begin"])
        yield reader, markers(reader, "backfill")[-1]
        await reader.close()


async def test_what_was_sent_or_fetched_before_does_not_come_again(tmp_path, monkeypatch):
    rows = [a_row(1), a_row(2), a_row(2), a_row(2, x="Q"), a_row(3, u="canceled"), a_row(4)]
    api = FakeApi(Page({"A": rows}, "more"), Page({"A": [a_row(4), a_row(5)]}))
    async with a_gap(tmp_path, monkeypatch, api) as (reader, done):
        filled = [(m["i"], m["x"]) for m in reader.messages if m.get("backfill")]

    assert filled == [(2, "V"), (2, "Q"), (4, "V"), (5, "V")]
    assert (done["state"], done["trades"]) == ("complete", 4)
    assert [one[3] for one in api.asked] == [None, "more"]


@pytest.mark.parametrize(
    ("answers", "state", "reason"),
    [
        ([RestError("data.example answers 403", 403)], "failed", "403"),
        ([Page({"A": [a_row(2)]}, "x")] * backfill.PAGES_MAX, "partial", "more trades"),
        ([Page({"A": [a_row(2, p="ten"), a_row(3)]})], "partial", "1 trades could not"),
    ],
)
async def test_what_cannot_be_filled_is_said(tmp_path, monkeypatch, answers, state, reason):
    async with a_gap(tmp_path, monkeypatch, FakeApi(*answers)) as (_, done):
        assert done["state"] == state
        assert reason in done["reason"]


async def test_without_an_api_the_gap_stays_open_and_says_so(tmp_path, monkeypatch):
    async with a_gap(tmp_path, monkeypatch, None) as (reader, done):
        assert (done["state"], done["trades"]) == ("failed", 0)
        assert len(markers(reader, "gap")) == 1


async def test_nobody_is_asked_for_patterns(tmp_path, monkeypatch):
    async with a_world(tmp_path, extensions=()) as world:
        api = FakeApi()
        monkeypatch.setattr(world.relay._backfiller, "_api", lambda: api)
        reader = Reader(world, extensions=("gap", "backfill", "prefix"))
        await reader.subscribe(trades=["A*", "[B,C)"], quotes=["*"])
        await world.subscribed(trades={"*"}, quotes={"*"})
        await world.upstream.send(a_trade("A", 1))
        await until(lambda: reader.ids == [1])

        await world.upstream.drop()
        await until(lambda: markers(reader, "gap"))
        await until(lambda: not world.relay._backfiller._waiting)

        assert api.asked == []
        assert markers(reader, "backfill") == []
        await reader.close()


async def test_a_symbol_that_is_mute_alone_is_told_and_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(prober, "LOOK_S", 0.02)
    monkeypatch.setattr(symbol_watch, "PATIENCE_S", (0.1, 0.1))
    monkeypatch.setattr(watchdog, "in_session", lambda now_ns: True)
    async with a_world(tmp_path, extensions=()) as world:
        api = FakeApi(*[Page({"A": [a_row(1), a_row(7)]})] * 2)
        now_ns = time.time_ns()
        api.newest = {"A": now_ns + 60 * SECOND}
        monkeypatch.setattr(world.relay.prober, "_api", lambda: api)
        monkeypatch.setattr(world.relay._backfiller, "_api", lambda: api)
        hub = Reader(world, role="hub")
        shard = Reader(world, extensions=("gap", "backfill"))
        await hub.subscribe(quotes=["A"])
        await shard.subscribe(trades=["A", "B"])
        await world.subscribed(trades={"A", "B"}, quotes={"A"})
        await world.upstream.send(a_trade("A", 1), a_trade("B", 2))

        await until(lambda: markers(hub, "symbol"))
        await until(lambda: markers(shard, "backfill")[1:])

        (mute,) = markers(hub, "symbol")
        assert mute == {"T": "symbol", "S": "A", "state": "mute", "seen": mute["seen"],
                        "venue": api.newest["A"]}  # fmt: skip
        assert now_ns <= mute["seen"] < api.newest["A"]
        assert markers(shard, "backfill")[-1]["symbols"] == ["A"]
        assert [m["i"] for m in shard.messages if m.get("backfill")] == [7]
        assert world.relay.status_message()["mute"] == ["A"]
        await world.upstream.send(a_trade("A", 8, t=api.newest["A"]))
        await until(lambda: markers(hub, "symbol")[1:])
        assert markers(hub, "symbol")[-1]["state"] == "ok"
        assert not markers(shard, "gap")
        await hub.close()
        await shard.close()


@pytest.mark.parametrize(
    ("row", "good"),
    [
        ({}, True), ({"c": None}, True), ({"s": 0.5}, True), ({"t": "2013-10-07T13:30:00Z"}, True),
        ({"i": "7"}, False), ({"p": None}, False), ({"p": float("nan")}, False), ({"t": 5}, False),
        ({"t": "yesterday"}, False), ({"i": -1}, False), ({"i": 1 << 64}, False),
        ({"s": "x"}, False),
    ],
)  # fmt: skip
async def test_rows_become_messages_or_are_counted(row, good):
    rows = backfill.Rows()

    found = rows.frames({"A": [a_row(7) | row]})

    assert (len(found), rows.bad) == (int(good), int(not good))


async def test_many_rows_come_in_frames_of_500():
    found = backfill.Rows().frames({"A": [a_row(i) for i in range(1001)]})

    assert [len(msgpack.unpackb(frame)) for frame in found] == [500, 500, 1]


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        ("wss://stream.data.alpaca.markets/v2/sip", "https://data.alpaca.markets"),
        ("wss://stream.data.sandbox.alpaca.markets/v2/iex", "https://data.sandbox.alpaca.markets"),
        ("ws://127.0.0.1:8766/v2/sip", "http://127.0.0.1:8766"),
        ("wss://stream.data.alpaca.markets/v2/test", None),
    ],
)
async def test_the_data_api_lies_beside_the_stream(stream, rest):
    assert rest_url(stream) == rest


async def test_a_data_api_that_is_not_there_is_one_line():
    key = keys.StoredKey(id="K", role="client", name="", sha256="")
    api = HttpMarketRest("http://127.0.0.1:1", key.id, "S", feed="sip", timeout_s=1)

    with pytest.raises(RestError, match=r"127\.0\.0\.1") as refused:
        await asyncio.to_thread(api.trades, ["A"], 0, 1)

    assert "\n" not in str(refused.value)
