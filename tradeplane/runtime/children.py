"""One supervised child process: start, pump its log, know its state, stop it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TETHER = Path(__file__).with_name("tether.py")
MAX_LINE = 16_384
MAX_LOG_BYTES = 32 * 1024 * 1024
_QUIET = re.compile(r"^\S+ \S+ DEBUG ")

Say = Callable[[str, str], None]  # (who, line)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to run and when it counts as ready.

    `stage` orders the stop: the highest stage goes first, children of one stage together.
    `fatal` children are not restarted: their death ends the whole run.
    """

    name: str
    command: list[str]
    stage: int
    ready: Callable[[], bool] | None = None
    marker: re.Pattern[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    fatal: bool = False
    ready_within_s: float = 90.0
    stop_within_s: float = 10.0


class Child:
    """A running `Spec`. Start it from the main thread only (see tether.py)."""

    def __init__(self, spec: Spec, *, log_dir: Path, say: Say, base: Mapping[str, str]) -> None:
        self.spec = spec
        self._log_path = log_dir / f"{spec.name}.log"
        self._say = say
        self._base = base
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._marked = threading.Event()
        self.tail: deque[str] = deque(maxlen=20)
        self.started_at = 0.0

    def start(self) -> None:
        self._marked.clear()
        self.tail.clear()
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.spec.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self._base, **self.spec.environment},
            start_new_session=True,
        )
        self._pump = threading.Thread(
            target=self._pump_lines, args=(self._process.stdout,), daemon=True
        )
        self._pump.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or was never started)."""
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        if self.exit_code is not None:
            return False
        if self.spec.marker is not None and not self._marked.is_set():
            return False
        return self.spec.ready is None or self.spec.ready()

    def last_words(self) -> str:
        """The child's last line that says something, for a one-line reason."""
        if self._pump is not None:
            self._pump.join(timeout=2)
        said = next((line for line in reversed(self.tail) if line.strip()), "no output")
        return said.removeprefix("CommandError: ")

    def signal_group(self, number: int) -> None:
        """Signal the child and whatever it started."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass  # all of them are gone already

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time; afterwards nothing of its group is left."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self.signal_group(signal.SIGKILL)
        return True

    def kill(self) -> None:
        self.signal_group(signal.SIGKILL)
        self.wait(5)

    def _pump_lines(self, stream: IO[bytes]) -> None:
        with stream, self._log_path.open("ab") as log:
            written = log.tell()
            while raw := stream.readline(MAX_LINE):
                if written < MAX_LOG_BYTES:
                    written += log.write(raw)
                    log.flush()
                line = raw.decode(errors="replace").rstrip()
                self.tail.append(line)
                if self.spec.marker is not None and self.spec.marker.search(line):
                    self._marked.set()
                if not _QUIET.match(line):
                    self._say(self.spec.name, line)
