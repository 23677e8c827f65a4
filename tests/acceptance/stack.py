"""Runs the real processes for the acceptance tests: `manage.py up` in a home of its own."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mariadb_plugin import NEUTRAL

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS_MAX = 600
#: What may differ from the surroundings: the tests' own database and server must not leak in.
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "NUMBA_CACHE_DIR",
    "VIRTUAL_ENV",
    "LOG_LEVEL",
)


@dataclass(frozen=True)
class Finished:
    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of standard output: one JSON object."""
        return json.loads(self.stdout.strip().splitlines()[-1])

    @property
    def last_word(self) -> str:
        """The last line on standard error: what a user reads when it failed."""
        return self.stderr.strip().splitlines()[-1]


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return (
        kept
        | NEUTRAL
        | {"TRADEPLANE_HOME": str(home), "DJANGO_SETTINGS_MODULE": "tradeplane.settings"}
        | more
    )


def up_command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "up", *arguments]


def start(home: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start `up` and leave it running; the caller waits for it or ends it."""
    return subprocess.Popen(
        up_command(*arguments),
        env=environment(home, **more),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str], seconds: float = RUN_SECONDS_MAX) -> Finished:
    stdout, stderr = process.communicate(timeout=seconds)
    return Finished(process.returncode, stdout, stderr)


def run(home: Path, *arguments: str, **more: str) -> Finished:
    return finish(start(home, *arguments, **more))


def replay(home: Path, tape: Path, *arguments: str) -> Finished:
    """Run a tape to its end in lock-step with the quiet profile."""
    return paced(home, tape, "max", *arguments)


def paced(home: Path, tape: Path, speed: str, *arguments: str) -> Finished:
    """Run a tape to its end at this speed with the quiet profile."""
    return run(
        home, "--tape", str(tape), "--profile", "quiet", "--speed", speed, "--until-end", "--json",
        *arguments,
    )  # fmt: skip


def lab(home: Path, what: str, tape: Path, *arguments: str) -> Finished:
    """Run the laboratory over a tape."""
    command = [sys.executable, str(ROOT / "manage.py"), "lab", what, str(tape), "--json"]
    done = subprocess.run(
        [*command, *arguments], env=environment(home), cwd=ROOT, text=True, capture_output=True,
        timeout=RUN_SECONDS_MAX, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def rounds_done(home: Path) -> int:
    path = home / "tradeplane.sqlite3"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute("select count(*) from execution_round").fetchone()[0]
    except sqlite3.OperationalError:  # not migrated yet
        return 0


def child_pid(parent: int, *words: str) -> int:
    """Return the id of the child process whose command line ends with these words."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            line = (stat.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if int(fields[1]) == parent and all(word in line for word in words):
            return int(stat.parent.name)
    raise AssertionError(f"no child {words} of {parent}")


def wait_until(fact: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
