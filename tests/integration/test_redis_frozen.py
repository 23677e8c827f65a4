"""A Redis that is stopped in mid-sentence, or has no room: nobody waits for long, no exit does."""

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from execution.hub import exits
from execution.hub.flow import TASK_WAIT_LIVE_S, Flow
from execution.hub.shard_desk import read_beats, read_load, write_fence
from execution.nudges import Sender
from execution.redis_line import PAUSE_S, TIMEOUT_S, Breaker, guarded
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench
from tests.servers import Valkey, free_port, new_password

SLACK_S = 0.5  # of a loaded machine
TASK = ("shards.drop", {"run": "r", "as_of": 1, "keep": []}, "shard.1")


@pytest.fixture
def server() -> Iterator[Valkey]:
    made = Valkey(port=free_port(), password=new_password())
    yield made
    os.kill(made.pid, signal.SIGCONT)
    made.stop()


@pytest.fixture
def sender(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> Sender:
    from tradeplane.celery import app  # noqa: PLC0415 - needs the settings

    app.set_current()
    monkeypatch.setattr(app.conf, "broker_url", f"{server.url}/1")
    monkeypatch.setattr(app.conf, "broker_write_url", f"{server.url}/1")
    return Sender(Breaker())


def test_a_task_for_a_frozen_redis_costs_one_short_wait_and_then_nothing(
    server: Valkey, sender: Sender
) -> None:
    assert sender.send(*TASK)
    os.kill(server.pid, signal.SIGSTOP)

    began = time.monotonic()
    assert not sender.send(*TASK)
    assert time.monotonic() - began < TIMEOUT_S + SLACK_S

    began = time.monotonic()
    assert not any(sender.send(*TASK) for _ in range(20))
    assert time.monotonic() - began < SLACK_S


def test_tasks_go_out_again_when_redis_is_back(server: Valkey, sender: Sender) -> None:
    client = redis.Redis.from_url(f"{server.url}/1")
    assert sender.send(*TASK)
    os.kill(server.pid, signal.SIGSTOP)
    assert not sender.send(*TASK)
    os.kill(server.pid, signal.SIGCONT)
    time.sleep(PAUSE_S)
    before = client.llen("shard.1")

    assert sender.send(*TASK)

    assert client.llen("shard.1") == before + 1


def test_what_the_hub_asks_a_frozen_redis_costs_one_short_wait_for_all(server: Valkey) -> None:
    breaker = Breaker()
    client = guarded(f"{server.url}/0", by=breaker)
    client.hset("hb:shard:1", mapping={"epoch": "1"})
    assert read_beats(client) == {1: {"epoch": "1"}}
    os.kill(server.pid, signal.SIGSTOP)

    began = time.monotonic()
    for _ in range(10):
        assert read_beats(client) == {}
        assert read_load(client, "r") == {}
        write_fence(client, "r", {1})
    assert time.monotonic() - began < TIMEOUT_S + SLACK_S

    os.kill(server.pid, signal.SIGCONT)
    time.sleep(PAUSE_S)
    assert read_beats(client) == {1: {"epoch": "1"}}


def test_an_open_breaker_lets_one_question_through_in_a_pause() -> None:
    now = [0.0]
    breaker = Breaker(pause_s=2.0, mono=lambda: now[0])
    assert (breaker.may_ask(), breaker.may_ask()) == (True, True)

    breaker.failed()
    assert not breaker.may_ask()
    now[0] = 2.0
    assert (breaker.may_ask(), breaker.may_ask()) == (True, False)
    breaker.worked()
    assert (breaker.may_ask(), breaker.may_ask()) == (True, True)


def test_a_refused_command_says_nothing_about_the_server(server: Valkey) -> None:
    breaker = Breaker()
    client = guarded(f"{server.url}/0", by=breaker)
    client.set("word", "x")

    with pytest.raises(redis.ResponseError):
        client.hgetall("word")

    assert (breaker.may_ask(), breaker.may_ask()) == (True, True)


def test_a_full_redis_takes_no_task_and_says_so_and_drops_none_that_it_has(
    server: Valkey, sender: Sender
) -> None:
    client = redis.Redis.from_url(f"{server.url}/1")
    hub, now = guarded(f"{server.url}/0", by=Breaker()), [0.0]
    sender._breaker = Breaker(mono=lambda: now[0])
    hub.hset("hb:shard:1", mapping={"epoch": "1"})
    assert sender.send(*TASK)
    client.config_set("maxmemory-policy", "volatile-lru")  # as the embedded one: queues have no end
    client.config_set("maxmemory", "1")

    assert not sender.send(*TASK)
    write_fence(hub, "r", {1})
    assert read_beats(hub) == {1: {"epoch": "1"}}
    assert client.llen("shard.1") == 1

    client.config_set("maxmemory", "0")
    now[0] += PAUSE_S
    assert sender.send(*TASK)
    assert client.llen("shard.1") == 2


# --- exits meanwhile ------------------------------------------------------------------------------


def a_hub(bench: Bench) -> SimpleNamespace:
    """Enough of a live hub for its flow; waiting lets the market go on."""

    def pump(done: Any, seconds_: float) -> bool:
        bench.mono_s += seconds_
        bench.venue.advance(int(1000 * seconds_))
        return bool(done())

    idle = SimpleNamespace(retry_due=lambda: False, act=lambda: False, wake_ns=lambda: None)
    return SimpleNamespace(
        in_lockstep=False,
        mono=lambda: bench.mono_s,
        pump=pump,
        clock=SimpleNamespace(now_ns=lambda: bench.venue.now_ns),
        switches=SimpleNamespace(kill="none", heed_kill=lambda: None, enforce=lambda: False),
        barrier=SimpleNamespace(take_updates=bench.venue.updates, take_signals=lambda: []),
        agreement=SimpleNamespace(hear_of=lambda ts_ns: None),
        trader=bench.trader,
        desk=bench.desk,
        exit_desk=idle,
        software=idle,
        day_end=idle,
        shard_desk=SimpleNamespace(release=lambda trade: None),
    )


@pytest.mark.db
@pytest.mark.django_db
def test_an_exit_goes_on_while_a_task_is_not_answered() -> None:
    bench = Bench.make()
    exits.begin(bench.desk, bench.open(), "manual", hard=True)
    flow = Flow(a_hub(bench))

    assert not flow._await_task(lambda: True, lambda: False)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert bench.mono_s == pytest.approx(TASK_WAIT_LIVE_S, abs=0.2)


@pytest.mark.db
@pytest.mark.django_db
def test_a_task_that_could_not_be_sent_is_not_waited_for() -> None:
    bench = Bench.make()

    assert not Flow(a_hub(bench))._await_task(lambda: False, lambda: False)

    assert bench.mono_s == 0
