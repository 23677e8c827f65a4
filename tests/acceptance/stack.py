"""Runs the real processes for the acceptance tests: `manage.py up` in a home of its own."""

import json
import os
import subprocess
import sys
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
