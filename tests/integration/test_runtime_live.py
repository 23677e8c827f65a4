"""`manage.py up` with all its real roles: one home once, a clean stop, nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tradeplane.runtime.home import HomeLock

ROOT = Path(__file__).parents[2]
READY = re.compile(r"ready: (http://127\.0\.0\.1:\d+)/")
START_S, STOP_S = 120.0, 30.0


def processes_of(home: Path) -> list[int]:
    """Process ids whose environment names this home."""
    needle = f"TRADEPLANE_HOME={home}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            if alive and needle in (entry / "environ").read_bytes() + b"\0":
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked, or is not ours to see
    return found


def until(what: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


class Running:
    """One `up` in a home of its own, its terminal in a file."""

    def __init__(self, home: Path, *arguments: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        self.home = home
        self.terminal = home / "terminal"
        home.mkdir(parents=True, exist_ok=True)
        with self.terminal.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", "18000", *arguments],
                cwd=ROOT,
                env=inherited | {"TRADEPLANE_HOME": str(home)},
                stdout=out,
                stderr=out,
            )

    def said(self) -> str:
        return self.terminal.read_text(errors="replace")

    def wait_ready(self) -> str:
        """Return the pages' address."""
        until(lambda: READY.search(self.said()) is not None or self.ended, START_S)
        found = READY.search(self.said())
        assert found is not None, self.said()[-3000:]
        return found[1]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    for pid in processes_of(home):
        os.kill(pid, signal.SIGKILL)


def test_up_serves_refuses_a_second_start_and_stops_cleanly(home: Path) -> None:
    up = Running(home)
    address = up.wait_ready()
    with urllib.request.urlopen(f"{address}/login/", timeout=10) as answer:  # noqa: S310
        assert answer.status == 200

    second = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TRADEPLANE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    code = up.stop()

    assert second.returncode == 1
    assert "is in use by `up` with process id" in second.stderr.strip().splitlines()[-1]
    assert code == 0
    assert processes_of(home) == []
    assert "shown only now" in up.said()
    for log in (home / "logs").glob("*.log"):
        assert "shown only now" not in log.read_text(errors="replace")


def test_two_homes_run_side_by_side_and_kill_minus_nine_leaves_nothing(
    home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    one, two = Running(home), Running(other)
    try:
        assert one.wait_ready() != two.wait_ready()

        one.process.kill()
        one.process.wait()

        until(lambda: processes_of(home) == [], STOP_S)
        lock = HomeLock(home)
        lock.acquire()
        lock.release()
        assert not two.ended
        assert two.stop() == 0
    finally:
        for pid in processes_of(other):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_web_role_comes_back(home: Path) -> None:
    up = Running(home)
    address = up.wait_ready()
    port = address.rsplit(":", 1)[1]
    (web,) = (
        pid
        for pid in processes_of(home)
        if f"web\0--port\0{port}" in Path(f"/proc/{pid}/cmdline").read_text()
    )

    os.kill(web, signal.SIGKILL)
    until(lambda: "web restarted, process id" in up.said(), START_S)

    assert "web died (signal 9); restart in 0.5 s" in up.said()
    assert up.stop() == 0
