"""The supervisor with tiny children: readiness, restart, stop order, and nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tradeplane.runtime.children import Spec
from tradeplane.runtime.home import HomeBusy, HomeLock
from tradeplane.runtime.ports import Ports
from tradeplane.runtime.supervisor import FatalDeath, StartFailed, Supervisor

READY_THEN_WAIT = """
import signal, sys, time
def leave(*_):
    with open(sys.argv[1], "a") as f:
        f.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready now", flush=True)
while True:
    time.sleep(0.05)
"""
DIES_WHEN_ASKED = """
import signal, sys, time
def leave(*_):
    print("tape x is damaged", flush=True)
    sys.exit(1)
signal.signal(signal.SIGUSR1, leave)
print("ready now", flush=True)
while True:
    time.sleep(0.05)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready now", flush=True)
while True:
    time.sleep(0.05)
"""
ROOT = Path(__file__).parents[2]


def until(
    what: Callable[[], bool], *, within_s: float = 15.0, step: Callable[[], None] = lambda: None
) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        step()
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def a_spec(name: str, code: str, *arguments: str, stage: int = 1, **fields: object) -> Spec:
    values = {"marker": re.compile("ready now"), "ready_within_s": 15.0} | fields
    return Spec(name=name, command=[sys.executable, "-c", code, *arguments], stage=stage, **values)  # type: ignore[arg-type]


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, lines: list[tuple[str, str]]) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        log_dir=tmp_path / "logs", say=lambda who, line: lines.append((who, line)), base=os.environ
    )
    yield supervisor
    supervisor.stop()


def start(supervisor: Supervisor, *specs: Spec) -> None:
    supervisor.start(specs, stopping=lambda: False)


def test_children_stop_in_reverse_order_of_their_stages(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    start(
        supervisor,
        *(
            a_spec(n, READY_THEN_WAIT, str(trace), n, stage=s)
            for s, n in enumerate(["db", "relay", "hub"])
        ),
    )

    supervisor.stop()

    assert trace.read_text().split() == ["hub", "relay", "db"]


def test_a_killed_child_is_restarted_and_said(
    supervisor: Supervisor, tmp_path: Path, lines: list[tuple[str, str]]
) -> None:
    start(supervisor, a_spec("shard-1", READY_THEN_WAIT, str(tmp_path / "t"), "x"))
    (child,) = supervisor.children
    first = child.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    until(lambda: child.pid != first and child.is_ready(), step=supervisor.watch)

    assert ("up", "shard-1 died (signal 9); restart in 0.5 s") in lines


def test_a_fatal_child_ends_the_run_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    start(supervisor, a_spec("venue", DIES_WHEN_ASKED, fatal=True))
    (child,) = supervisor.children

    child.signal_group(signal.SIGUSR1)
    until(lambda: child.exit_code is not None)

    with pytest.raises(FatalDeath, match=r"^venue stopped: tape x is damaged$"):
        supervisor.watch()


def test_a_child_that_never_starts_is_one_clear_line(supervisor: Supervisor) -> None:
    code = "import sys; print('no such key'); sys.exit(1)"

    with pytest.raises(StartFailed, match=r"^hub does not start: no such key$"):
        start(supervisor, a_spec("hub", code))


def test_a_run_with_an_end_gives_up_on_a_child_that_keeps_dying(tmp_path: Path) -> None:
    supervisor = Supervisor(
        log_dir=tmp_path, say=lambda _who, _line: None, base=os.environ, give_up_after=2
    )
    start(supervisor, a_spec("hub", DIES_WHEN_ASKED))
    (child,) = supervisor.children

    def look() -> None:
        if child.exit_code is None and child.is_ready():
            child.signal_group(signal.SIGUSR1)
        supervisor.watch()

    with pytest.raises(FatalDeath, match=r"^hub died 2 times; its last words: tape x is damaged$"):
        until(lambda: False, step=look)


def test_a_child_that_ignores_the_request_is_killed(
    supervisor: Supervisor, lines: list[tuple[str, str]]
) -> None:
    start(supervisor, a_spec("deaf", DEAF, stop_within_s=0.3))
    pid = supervisor.children[0].pid
    assert pid is not None

    supervisor.stop()

    assert not is_alive(pid)
    assert ("up", "deaf did not stop in time: killed") in lines


def test_kill_minus_nine_of_the_supervisor_leaves_no_child_and_no_lock(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import os, re, sys, time
        from pathlib import Path
        from tradeplane.runtime.children import Spec
        from tradeplane.runtime.home import HomeLock
        from tradeplane.runtime.supervisor import Supervisor
        home = Path({str(tmp_path)!r})
        lock = HomeLock(home); lock.acquire()
        supervisor = Supervisor(log_dir=home / "logs", say=lambda w, l: None, base=os.environ)
        code = {READY_THEN_WAIT!r}
        def spec(name):
            command = [sys.executable, "-c", code, str(home / "t"), name]
            return Spec(name=name, stage=1, command=command, marker=re.compile("ready now"))
        supervisor.start([spec("a"), spec("b")], stopping=lambda: False)
        print(*(c.pid for c in supervisor.children), flush=True)
        time.sleep(60)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    with pytest.raises(HomeBusy, match="in use by `up` with process id"):
        HomeLock(tmp_path).acquire()

    process.kill()
    process.wait()
    process.stdout.close()

    until(lambda: not any(is_alive(pid) for pid in pids))
    lock = HomeLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_taken_port_is_stepped_over_and_said() -> None:
    ports = Ports()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        wanted = holder.getsockname()[1]

        got = ports.take(wanted, "web")

    assert got > wanted
    assert ports.notes == [f"port {wanted} is taken: web uses {got}"]
    ports.close()


def test_two_that_ask_at_the_same_moment_get_two_ports() -> None:
    one, two = Ports(), Ports()

    first = one.take(18_600, "web")
    second = two.take(18_600, "web")

    assert first != second
    one.close()
    two.close()
