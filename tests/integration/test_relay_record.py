"""Recording from a running relay, and from any stream by `tape record`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from websockets.asyncio.server import serve

from relay import frames, tape
from relay.recorder import Recorder
from relay.server import RelayServer
from relay.symbols import CHANNELS
from tests.integration.test_relay_stream import (
    KEYS,
    FakeUpstream,
    a_clock,
    a_trade,
    a_world,
    until,
)

ROOT = Path(__file__).resolve().parents[2]


def recorded(directory: Path) -> list[bytes]:
    found = []
    for path in sorted(directory.glob("*.tape")):
        for block in tape.TapeReader(path, allow_truncated=True).blocks():
            found += [block.frame(i) for i in range(block.recv_ns.size)]
    return found


@pytest.mark.asyncio
async def test_a_recording_relay_subscribes_everything_and_keeps_every_frame(tmp_path):
    frames.warm()
    upstream = FakeUpstream()
    async with serve(upstream.serve, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/sip"
        recorder = Recorder(tmp_path / "tapes", feed="sip")
        relay = RelayServer(
            upstream_url=url, upstream_keys=KEYS, home=tmp_path / "home", recorder=recorder
        )
        async with relay:
            await until(lambda: upstream.channels == dict.fromkeys(CHANNELS, frozenset("*")))
            for i in range(50):
                await upstream.send(a_trade("A", i), a_trade("B", i))
                await upstream.send_raw(a_clock(i))
            await until(lambda: recorded(tmp_path / "tapes")[49:])  # while it is written
        await until(lambda: relay.status()["recorded"] == 50)

    wanted = [frames.encode_array([a_trade("A", i), a_trade("B", i)]) for i in range(50)]
    assert recorded(tmp_path / "tapes") == wanted


@pytest.mark.asyncio
async def test_tape_record_follows_a_relay_until_it_is_told_to_stop(tmp_path):
    async with a_world(tmp_path) as world, asyncio.timeout(90):
        key, secret = world.key()
        own = {"TRADEPLANE_HOME": str(tmp_path), "RELAY_KEY_ID": key, "RELAY_SECRET": secret}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("manage.py", "tape", "record", "--url", world.relay.url),
            *("--out", str(tmp_path / "tapes"), "--channels", "trades"),
            cwd=ROOT,
            env={**os.environ, **own},
            stdout=asyncio.subprocess.PIPE,
        )
        await world.subscribed(trades={"*"})
        for i in range(20):
            await world.upstream.send(a_trade("A", i))
        await until(lambda: len(recorded(tmp_path / "tapes")) > 0)
        await until(lambda: sum(frames.scan(f).size for f in recorded(tmp_path / "tapes")) == 20)
        child.send_signal(signal.SIGTERM)
        out, _ = await child.communicate()

    assert child.returncode == 0
    assert b"frames recorded" in out
    (path,) = (tmp_path / "tapes").glob("*.tape")
    assert tape.info(path).damaged is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("relay", "--record", "/proc/nope", "--port", "0"), "cannot record to /proc/nope"),
        (("tape", "record", "--out", "/proc/nope"), "cannot record to /proc/nope"),
        (("tape", "record", "--out", "OUT", "--url", "nonsense"), "is no address like"),
        (("tape", "record", "--out", "OUT", "--keep-gb", "0"), "not a number above zero"),
        (("tape", "record", "--out", "OUT", "--channels", "trades,foo"), "foo is not of trades"),
        (("tape", "record", "--out", "OUT", "--url", "ws://127.0.0.1:1/v2/sip", "--seconds", "1"),
         "was never reached"),
        (("relay", "--upstream", "http://x"), "is no address like"),
        (("relay", "--data-url", "x"), "is no address like https"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded_is_one_clear_line(tmp_path, arguments, word):
    given = [str(tmp_path) if one == "OUT" else one for one in arguments]

    with pytest.raises(CommandError, match=word) as refused:
        call_command(*given)

    assert "\n" not in str(refused.value)
