"""`script/bench takeover [--symbols N] [--shards N] [--kills N] [--json]`.

Runs the whole system in a home of its own on a made-up market in real time, kills one shard after
another with SIGKILL, and prints how long their letters were dark, by the hub's log. The kills are
spread over the five seconds of a bucket: the first comes right after a round, when the next report
is the furthest away that it can be.
"""

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tradeplane.bench.relay.__main__ import machine

ROOT = Path(__file__).parents[3]
SEED = 7
LIVE_ROUNDS = 165  # after the fast-forward, some by the clock
START_S, HEAL_S, BETWEEN_ROUNDS = 900.0, 60.0, 4
BUCKET_S = 5.0
WHOLE = 0.9  # a round with less of the market has letters without a report
LOOK_S = 0.05
DARK = ("take over", "begins anew")
FOREIGN = (
    "REDIS_URL",
    "DATABASE_URL",
    "APCA_API_KEY_ID",
    "APCA_API_SECRET_KEY",
)  # not of this market


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench takeover")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--symbols", type=int, default=11_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-takeover-") as place:
        market = Market(Path(place), told.symbols, told.shards)
        try:
            market.wait_live()
            found = [
                market.drill(1 + n % told.shards, into_bucket_s=BUCKET_S * n / told.kills)
                for n in range(told.kills)
            ]
        except Stuck as exc:
            sys.stderr.write(f"takeover: {exc}\n")
            return 1
        finally:
            market.stop()
    figures = {
        name: round(statistics.median(one[name] for one in found), 3) for name in found[0]
    } | {
        "reports_after_s_max": round(max(one["reports_after_s"] for one in found), 3),
        "rounds_without_max": max(one["rounds_without"] for one in found),
        "symbols_lost_max": max(one["symbols_before"] - one["symbols_after"] for one in found),
        "symbols": told.symbols, "shards": told.shards, "kills": told.kills,
    }  # fmt: skip
    result = {"bench": "takeover", "figures": figures, "ratios": {}, "machine": machine()}
    out = sys.stderr if told.as_json else sys.stdout
    out.writelines(f"{name:>24}  {value}\n" for name, value in figures.items())
    if told.as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


class Stuck(RuntimeError):
    """Something did not happen in time; one line says what."""


class Market:
    """One `up` on a made-up market, watched through its database.

    Args: more: further words of its command line; given: goes into every role's environment.
    """

    def __init__(
        self, home: Path, symbols: int, shards: int, *more: str, seed: int = SEED, **given: str
    ) -> None:
        self._home = home
        own = [*(f"--unset={name}" for name in FOREIGN), f"TRADEPLANE_HOME={home}"]
        own += [f"{name}={value}" for name, value in given.items()]
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--synthetic", str(seed)]
        size = ["--symbols", str(symbols), "--shards", str(shards), *more]
        with (home / "terminal").open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                ["/usr/bin/env", *own, *command, *size], cwd=ROOT, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def wait_live(self) -> None:
        self.until(lambda: self._rounds() >= LIVE_ROUNDS, START_S, "the market to be live")

    def drill(
        self,
        shard: int,
        while_dark: Callable[[], object] = lambda: None,
        *,
        into_bucket_s: float = 0.0,
    ) -> dict[str, float]:
        """Kill a shard; return the seconds until each thing had happened, and what was seen.

        Either others take over, or the shard is back within its lease and begins anew. Then it
        takes its share again; two rounds later every stock must be in a round.
        Args: into_bucket_s: how long after a round it is killed.
        """
        self._rest(BETWEEN_ROUNDS)
        self.until(lambda: self._whole(shard), HEAL_S, "the last drill")
        self._rest(1)
        time.sleep(into_bucket_s)
        before = self._newest_round()
        (newest,) = self.one("select coalesce(max(id), 0) from execution_activity")
        pid = child_pid(self._process.pid, "shard", str(shard))
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: bool(self._notes(newest, *DARK)), HEAL_S, "dark letters")
        while_dark()
        self.until(
            lambda: self._notes(newest, "reports") and not self._dark(),
            HEAL_S, "all letters to report again",
        )  # fmt: skip
        dark, reported = self._notes(newest, *DARK)[0], self._notes(newest, "reports")[-1]
        self.until(lambda: self._whole(shard), HEAL_S, "the shard to take its share again")
        healed_k = self._newest_round()[0] + 2
        self.until(lambda: self._newest_round()[0] >= healed_k, HEAL_S, "whole rounds")
        (least,) = self.one("select min(coverage) from execution_round where k > ?", before[0])
        return {
            "dark_after_s": dark - at,
            "reports_after_s": reported - at,
            "whole_after_s": self._notes(newest, "reports")[-1] - at,
            "least_coverage": least,
            "rounds_without": self._rounds_without(before[0]),
            "fired_while_dark": self._fired_since(before[0]),
            "symbols_before": before[1],
            "symbols_after": self._newest_round()[1],
        }

    def newest_note(self) -> int:
        """Return where the hub's log stands."""
        return int(self.one("select coalesce(max(id), 0) from execution_activity")[0])

    def said_since(self, note: int) -> list[str]:
        """Return the hub's log behind a place in it, oldest first."""
        query = "select text from execution_activity where id > ? order by id"
        return [text for (text,) in self.rows(query, note)]

    # --- looks -----------------------------------------------------------------------------------

    def until(self, fact: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            if self._process.poll() is not None:
                raise Stuck(f"`up` ended: {self._last_words()}")
            if time.monotonic() > deadline:
                raise Stuck(f"waited {seconds:.0f} s for {what}")
            time.sleep(LOOK_S)

    def _last_words(self) -> str:
        return (self._home / "terminal").read_text(errors="replace").strip().splitlines()[-1]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        path = self._home / "tradeplane.sqlite3"
        if not path.exists():
            return []
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # not migrated yet
            return []

    def one(self, query: str, *values: object) -> tuple[Any, ...]:
        return self.rows(query, *values)[0]

    def _rounds(self) -> int:
        return int((self.rows("select count(*) from execution_round") or [(0,)])[0][0])

    def _rest(self, rounds: int) -> None:
        """Wait until so many more rounds are over."""
        enough = self._rounds() + rounds
        self.until(lambda: self._rounds() >= enough, HEAL_S, "more rounds")

    def _newest_round(self) -> tuple[int, int]:
        k, symbols = self.one("select k, n_symbols from execution_round order by k desc limit 1")
        return int(k), int(symbols)

    def _fired_since(self, k: int) -> int:
        """Return how many entries rounds with too little of the market have made."""
        query = (
            "select count(*) from execution_decision d join execution_round r"
            " on r.run_id = d.run_id and r.k = d.k"
            " where d.outcome = 'fired' and r.k > ? and r.coverage < ?"
        )
        return int(self.one(query, k, WHOLE)[0])

    def _rounds_without(self, k: int) -> int:
        """Return how many rounds since did without some letters."""
        query = "select count(*) from execution_round where k > ? and coverage < ?"
        return int(self.one(query, k, WHOLE)[0])

    def _dark(self) -> list[Any]:
        found: list[Any] = json.loads(self.one("select dark from execution_run")[0])
        return found

    def _whole(self, shard: int) -> bool:
        """Has the shard letters, and is nothing dark?"""
        has = str(shard) in json.loads(self.one("select assignments from execution_run")[0])
        return has and not self._dark()

    def _notes(self, after: int, *words: str) -> list[float]:
        """Return when the hub has said one of these, seconds since the epoch."""
        query = (
            "select at, text from execution_activity where id > ? and kind = 'shard' order by id"
        )
        said = self.rows(query, after)
        times = [at for at, text in said if any(one in text for one in words)]
        return [datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() for at in times]


def child_pid(parent: int, *words: str) -> int:
    """Return the id of the child process with these words on its command line.

    Raises:
        Stuck: there is none.
    """
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            line = (stat.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent and all(word in line for word in words):
            return int(stat.parent.name)
    raise Stuck(f"no child {' '.join(words)}")


if __name__ == "__main__":
    sys.exit(main())
