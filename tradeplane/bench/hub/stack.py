"""The processes of `up` as a child of the bench, and what one can read of them from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import close_old_connections

from execution.models import Run

ROOT = Path(__file__).resolve().parents[3]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PORT = 8900  # the next free one is taken
STOP_S = 60.0
LOOK_S = 0.5
_ROLE = re.compile(r"manage\.py\0(\w+)(?:\0--id\0(\d+))?")


class Stack:
    """One `up`, from its start to `end`; its run's rows are in the bench's own database."""

    def __init__(self, *arguments: str) -> None:
        self.home: Path = settings.TRADEPLANE_HOME
        self._known = set(Run.objects.values_list("pk", flat=True))
        self.terminal = self.home / "up.out"
        self._out = self.terminal.open("w")
        self._redis: redis.Redis | None = None
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(PORT), *arguments],
            cwd=ROOT, stdout=self._out, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Look until something holds.

        Raises:
            RuntimeError: `up` has ended, or it took longer.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if self.process.poll() is not None:
                raise RuntimeError(f"up ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {seconds:.0f} s for {what}: {self._last_words()}")
            time.sleep(LOOK_S)

    def _last_words(self) -> str:
        return self.terminal.read_text()[-600:]

    def run(self) -> Run | None:
        """Return the row of this start's run, None before there is one."""
        close_old_connections()
        return Run.objects.exclude(pk__in=self._known).first()

    # --- heart-beats ------------------------------------------------------------------------------
    def beat(self, name: str = "hub") -> dict[str, str]:
        """Return a heart-beat as text, empty while there is none."""
        try:
            found: Any = self._server().hgetall(f"hb:{name}")
        except (redis.RedisError, OSError):
            return {}
        return {key.decode(): value.decode() for key, value in found.items()}

    def _server(self) -> redis.Redis:
        if self._redis is None:
            text = (self.home / "redis" / "server.conf").read_text()
            words = dict(line.split(" ", 1) for line in text.splitlines())
            self._redis = redis.Redis(
                port=int(words["port"]), password=words["requirepass"], socket_timeout=2
            )
        return self._redis

    # --- processes --------------------------------------------------------------------------------
    def children(self) -> dict[str, int]:
        """Return the process ids of the roles by name."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                words = (place / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue  # it has ended
            if parent == self.process.pid and words:
                found[_name(words)] = int(place.name)
        return found

    def end(self) -> None:
        """Stop all, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._out.close()


def _name(words: str) -> str:
    role = _ROLE.search(words)
    if role is None:
        return "redis"
    return f"{role[1]}_{role[2]}" if role[2] else role[1]


def pss_mb(pid: int) -> float:
    """Return what a process holds, pages that it shares counted by their share; MB.

    Raises: OSError: it has ended.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used. Raises: OSError: it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
