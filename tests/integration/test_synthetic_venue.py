"""`manage.py venue --synthetic` as a process: fast-forward, then pace; what is planted."""

import asyncio
import csv
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect

from tests.venue_fixture import KEYS

ROOT = Path(__file__).resolve().parents[2]
SECOND_NS = 1_000_000_000
CLOCK_BYTES_MAX = 100
AUTH = {"action": "auth", "key": KEYS.key, "secret": KEYS.secret, "extensions": ["clock"]}


@pytest.fixture
def venue(tmp_path, monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEYS.key)
    monkeypatch.setenv("APCA_API_SECRET_KEY", KEYS.secret)
    monkeypatch.setenv("TRADEPLANE_HOME", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "venue", "--synthetic", "7", "--speed", "1", "--port", "0",
         "--planted", str(tmp_path / "planted.csv")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


async def first_seconds(port: str, count: int) -> tuple[list[dict], list[int]]:
    """Return what a client of everything sees until `count` market seconds have passed.

    It reads what it has got when that is over: the venue cuts off who lags.
    """
    frames: list[bytes] = []
    clocks: list[int] = []
    headers = {"Content-Type": "application/msgpack"}
    url = f"ws://127.0.0.1:{port}/v2/sip"
    async with asyncio.timeout(60), connect(url, additional_headers=headers) as ws:
        await ws.recv()
        await ws.send(msgspec.msgpack.encode(AUTH))
        await ws.recv()
        wanted = {"trades": ["*"], "quotes": ["*"], "statuses": ["*"], "lulds": ["*"]}
        await ws.send(msgspec.msgpack.encode({"action": "subscribe", **wanted}))
        while len(clocks) < 2 or clocks[-1] - clocks[0] < count * SECOND_NS:
            frames.append(await ws.recv())
            if len(frames[-1]) < CLOCK_BYTES_MAX:  # a clock is alone in its frame
                told = msgspec.msgpack.decode(frames[-1])
                clocks += [one["t"] for one in told if one["T"] == "clock"]
    messages = [one for frame in frames for one in msgspec.msgpack.decode(frame)]
    return [one for one in messages if one["T"] != "clock"], clocks


def test_a_whole_market_plays_at_once_and_lists_what_is_planted(venue, tmp_path):
    line = venue.stdout.readline()
    messages, _ = asyncio.run(first_seconds(line.rsplit(":", 1)[1].strip(), 20))

    kinds = [m["T"] for m in messages]
    planted = list(csv.DictReader((tmp_path / "planted.csv").read_text().splitlines()))
    assert line.startswith("venue ready on http://127.0.0.1:")
    assert kinds.count("t") > 10_000
    assert kinds.count("q") > 10_000
    assert kinds.count("l") > 100
    assert len({m["S"] for m in messages if m["T"] == "q"}) > 5_000
    assert len(planted) > 60
