"""Two hubs, each a process: one leads, the other can neither write nor send."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A hub reduced to what the fence is about: it takes the lease as told, then writes on command.
HUB = textwrap.dedent(
    """
    import sys
    import django
    django.setup()
    from execution.errors import LeaseLost
    from execution.services import lease, journal
    from execution.services.moves import OrderStatus
    from execution.models import Order, OrderAttempt, Run, Trade
    from execution.brokers.port import OutcomeUnknown

    class Socket:
        sent = 0
        def submit_bracket(self, **order):
            Socket.sent += 1
            raise OutcomeUnknown("the venue of this test keeps silent")

    name, force = sys.argv[1], sys.argv[2] == "force"
    try:
        epoch = lease.take(name, force=force)
        print("leads", flush=True)
    except LeaseLost as exc:
        epoch = 0
        print(f"waits: {exc}", flush=True)
    for line in sys.stdin:
        order = Order.objects.get(client_order_id=line.strip())
        try:
            lease.renew(epoch)  # as the coordinator does all the time
        except LeaseLost:
            pass  # the write itself must be fenced
        try:
            journal.submit(order, Socket(), epoch=epoch, now_ns=1)
            print(f"sent {Socket.sent}", flush=True)
        except LeaseLost:
            print(f"fenced {Socket.sent} {order.attempts.count()}", flush=True)
    """
)
SETUP = textwrap.dedent(
    """
    import datetime, django
    django.setup()
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    from execution.models import Order, Run, Trade
    run = Run.objects.create(id="r")
    for n in (1, 2, 3):
        trade = Trade.objects.create(
            run=run, account_number="PA1", day=datetime.date(2026, 11, 20), slot=n, symbol=f"S{n}",
            state="reserved", k=1, candidate_id=str(n), quantity=1, limit=10, take_profit=11,
            stop_loss=9, parameters_version=1, reserved_ns=1,
        )
        Order.objects.create(
            run=run, trade=trade, purpose="e", client_order_id=f"order-{n}", symbol=f"S{n}",
            side="buy", type="limit", quantity=1, limit=10, take_profit=11, stop_loss=9,
            status="intent", fence_epoch=0, created_ns=1,
        )
    """
)


class Hub:
    """A hub's process; `ask` lets it submit an order and returns what it says."""

    def __init__(self, env: dict[str, str], name: str, mode: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HUB, name, mode or "-"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self._line()

    def ask(self, order: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    made = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tradeplane.settings",
        "TRADEPLANE_HOME": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/two.sqlite3",
        "SECRET_KEY": "x" * 40,
        "LOG_LEVEL": "ERROR",
    }
    subprocess.run([sys.executable, "-c", SETUP], cwd=ROOT, env=made, check=True, timeout=120)
    return made


@pytest.fixture
def hubs(env: dict[str, str]) -> Iterator[tuple[Hub, list[Hub], dict[str, str]]]:
    started = [Hub(env, "first")]
    yield started[0], started, env
    for hub in started:
        hub.signal(signal.SIGCONT)
        hub.end()


def test_one_leads_the_other_waits_and_can_send_nothing(hubs) -> None:
    first, started, env = hubs
    second = Hub(env, "second")
    started.append(second)

    assert first.said == "leads"
    assert second.said.startswith("waits: the hub's lease is held by first")
    assert second.ask("order-1") == "fenced 0 0"
    assert first.ask("order-1") == "sent 1"


def test_a_take_over_fences_the_old_leader_even_when_it_was_stopped_meanwhile(hubs) -> None:
    first, started, env = hubs
    assert first.ask("order-1") == "sent 1"
    first.signal(signal.SIGSTOP)
    second = Hub(env, "second", "force")
    started.append(second)
    first.signal(signal.SIGCONT)

    assert second.said == "leads"
    assert first.ask("order-2") == "fenced 1 0"
    assert second.ask("order-2") == "sent 1"
