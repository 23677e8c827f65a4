"""Children of the bench: started, told by lines of JSON, ended by their own process id."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from relay import keys
from tradeplane.runtime.environment import base_environment

ROOT = Path(__file__).resolve().parents[3]
ANSWER_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Child:
    """One process with a conversation on its standard streams."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        self.process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, *command],
            cwd=ROOT,
            env=base_environment(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def line(self) -> str:
        found = _open(self.process.stdout).readline()
        if not found:
            self._errors.seek(0)
            raise RuntimeError(f"a child ended: {self._errors.read()[-800:].decode()}")
        return found

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def tell(self, **message: object) -> None:
        told = _open(self.process.stdin)
        told.write(json.dumps(message) + "\n")
        told.flush()

    def ask(self, **message: object) -> dict[str, Any]:
        self.tell(**message)
        return self.answer()

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            _open(stream).close()
        self._errors.close()


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("not a pipe")
    return stream


class Relay(Child):
    """`manage.py relay` with a home of its own and one key for all consumers."""

    def __init__(self, upstream: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="bench-relay-")
        self.key, self.secret = keys.add_key(
            Path(self._home.name) / "relay", role="shard", name="bench"
        )
        env = {
            "TRADEPLANE_HOME": self._home.name,
            "APCA_API_KEY_ID": "BENCH",
            "APCA_API_SECRET_KEY": "BENCH",
        }
        super().__init__("manage.py", "relay", "--upstream", upstream, "--port", "0", env=env)
        while "relay ready on" not in (said := self.line()):
            pass
        self.port = int(said.split(":")[2].split("/")[0])

    def end(self) -> None:
        super().end()
        self._home.cleanup()


class Reencoder(Child):
    """The rival that decodes and re-encodes; `go` lets it read the upstream."""

    key = secret = "K"  # noqa: S105 - it takes any

    def __init__(self, upstream: str) -> None:
        super().__init__("-m", "tradeplane.bench.relay.rivals", "reencode", "--upstream", upstream)
        self.port = int(self.answer()["port"])

    def go(self) -> None:
        self.tell(go=True)


class Counting:
    """The processes that hold the connections, as one.

    Args:
        groups: the entries of each process.
    """

    def __init__(self, relay: Relay | Reencoder, groups: list[list[str]], extensions: str) -> None:
        self.children = [
            Child(
                *("-m", "tradeplane.bench.relay.counting", "--port", str(relay.port)),
                *(f"--key={relay.key}", f"--secret={relay.secret}"),  # one may begin with a dash
                *("--extensions", extensions),
                *entries,
            )
            for entries in groups
        ]
        for child in self.children:
            child.answer()

    def counts(self) -> tuple[dict[str, int], int, int]:
        """Return (messages by entry, time of the last one, holes in the offsets)."""
        return counted(self.children)

    def end(self) -> None:
        for child in self.children:
            child.end()


def counted(children: list[Child]) -> tuple[dict[str, int], int, int]:
    """Ask all; return (messages by entry, time of the last one, holes)."""
    counts: dict[str, int] = {}
    last_ns, holes = 0, 0
    for child in children:
        told = child.ask(do="counts")
        counts |= told["counts"]
        last_ns, holes = max(last_ns, told["last_ns"]), holes + told["holes"]
        if told["closed"]:
            raise RuntimeError(f"consumers were cut: {told['closed']}")
    return counts, last_ns, holes


def await_all(children: list[Child], expected: int, *, stall_s: float = 15.0) -> tuple[int, int]:
    """Wait until `expected` messages have come; return (time of the last one, holes).

    Raises:
        RuntimeError: they do not come, or more than that.
    """
    before, since_s = -1, time.monotonic()
    while True:
        counts, last_ns, holes = counted(children)
        total = sum(counts.values())
        if total == expected:
            return last_ns, holes
        if total > expected or time.monotonic() - since_s > stall_s:
            raise RuntimeError(f"{total:,} of {expected:,} messages arrived")
        if total != before:
            before, since_s = total, time.monotonic()
        time.sleep(0.05)
