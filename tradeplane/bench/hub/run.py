"""A whole made-up market at real-time speed, through every process of `up`, watched from outside.

Somebody looks at the live page all the time. One line a minute goes to standard error. Memory is
the proportional set size of each role: what the processes share is counted once.
"""

import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db.models import Min

from execution.models import Decision, Round, Run, Trade
from signals.session import BUCKET_NS
from tradeplane.bench.hub.options import Options
from tradeplane.bench.hub.stack import Stack, cpu_s, pss_mb
from tradeplane.bench.hub.viewer import Viewer

START_S = 300.0
MINUTE_S = 60.0
LOOK_S = 5.0
SETTLED_MINUTE = 3  # from here on memory should not grow
FOUND_WITHIN_NS = 60_000_000_000  # after the climb's start
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS


@dataclass
class Watched:
    """Looks at the roles: memory by minute, CPU from first to last look."""

    minutes: list[dict[str, float]] = field(default_factory=list)
    cpu: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def total(self, minute: int) -> float:
        return sum(self.minutes[min(minute, len(self.minutes) - 1)].values())


def figures(options: Options) -> dict[str, float]:
    """Return the figures of the run: rounds, memory, CPU, what was found of what was planted."""
    minutes = min(options.minutes, 0.5) if options.quick else options.minutes
    symbols = min(options.symbols, 400) if options.quick else options.symbols
    _note(f"{symbols:,} symbols, {options.shards} shards, {minutes:g} minutes at speed 1")
    with live_market(options.seed, symbols, options.shards) as (stack, run):
        viewer = Viewer(stack.terminal)
        viewer.start()
        started_ns = int(stack.beat()["market_ns"])
        watched = _watch(stack, minutes * MINUTE_S)
        page_per_s = viewer.per_s
        viewer.end()
        beat, relay = stack.beat(), stack.beat("relay")
        planted = _planted(stack)
        ended_ns = int(beat["market_ns"])
    stages = json.loads(beat.get("stages") or "{}")
    return {
        "run_minutes": round(minutes, 1),
        "run_symbols": symbols,
        "run_rounds": int(beat["rounds"]),
        "run_late_rounds": int(beat["late_rounds"]),
        "run_decided_ms_p50": stages.get("decided", [0, 0])[0],
        "run_decided_ms_p99": stages.get("decided", [0, 0])[1],
        "run_collect_ms_p99": stages.get("collect", [0, 0])[1],
        "run_page_updates_per_s": round(page_per_s, 1),
        "run_relay_loop_lag_ms": float(relay.get("loop_lag_ms") or 0),
        **_market(run, started_ns, ended_ns, planted),
        **_resources(watched),
    }


@contextmanager
def live_market(seed: int, symbols: int, shards: int, *more: str) -> Iterator[tuple[Stack, Run]]:
    """Start `up` on a made-up market and wait until its first paced rounds are decided."""
    stack = Stack(
        "--synthetic", str(seed), "--symbols", str(symbols), "--shards", str(shards), *more
    )  # fmt: skip
    try:
        stack.wait_for(lambda: int(stack.beat().get("rounds") or 0) > 0, START_S, "a paced round")
        run = stack.run()
        if run is None:
            raise RuntimeError("there is no run")
        yield stack, run
    finally:
        stack.end()


def _watch(stack: Stack, seconds: float) -> Watched:
    watched, pids = Watched(), stack.children()
    began = time.monotonic()
    first = {name: cpu_s(pid) for name, pid in pids.items()}
    while (passed := time.monotonic() - began) < seconds:
        if passed >= len(watched.minutes) * MINUTE_S:
            _look(stack, watched, pids)
        if stack.process.poll() is not None:
            raise RuntimeError("up ended in the middle of its run")
        time.sleep(min(LOOK_S, max(0.0, seconds - passed)))
    _look(stack, watched, pids)
    watched.seconds = time.monotonic() - began
    watched.cpu = {name: (first[name], cpu_s(pid)) for name, pid in pids.items()}
    return watched


def _look(stack: Stack, watched: Watched, pids: dict[str, int]) -> None:
    watched.minutes.append({name: pss_mb(pid) for name, pid in pids.items()})
    newest, beat = watched.minutes[-1], stack.beat()
    each = ", ".join(f"{name} {mb:.0f}" for name, mb in sorted(newest.items()))
    decided = json.loads(beat.get("stages") or "{}").get("decided", [0, 0])
    _note(
        f"minute {len(watched.minutes) - 1}: {beat.get('rounds')} rounds, "
        f"{beat.get('late_rounds')} late, decided {decided[0]} / {decided[1]} ms after the "
        f"bucket's end (median, worst 1 %); MB: {each}"
    )


def _resources(watched: Watched) -> dict[str, float]:
    settled, last = watched.total(SETTLED_MINUTE), watched.total(len(watched.minutes))
    at = min(SETTLED_MINUTE, len(watched.minutes) - 1)
    used = {name: after - before for name, (before, after) in watched.cpu.items()}
    return {
        **{f"run_{name}_mb_minute_3": round(mb) for name, mb in watched.minutes[at].items()},
        **{f"run_{name}_mb_end": round(mb) for name, mb in watched.minutes[-1].items()},
        "run_memory_growth_percent": round(100 * (last / settled - 1), 1),
        **{
            f"run_{name}_cpu_percent": round(100 * seconds / watched.seconds, 1)
            for name, seconds in used.items()
        },
    }


# --- what was found -----------------------------------------------------------------------------


def _planted(stack: Stack) -> list[tuple[str, int]]:
    """Return (symbol, start) of what is planted today, from the list that `up` writes."""
    with (stack.home / "planted.csv").open(newline="") as file:
        return [(row["symbol"], int(row["start_ns"])) for row in csv.DictReader(file)]


def _market(run: Run, from_ns: int, to_ns: int, planted: list[tuple[str, int]]) -> dict[str, float]:
    run.refresh_from_db()
    from_k = from_ns // BUCKET_NS
    live = Decision.objects.filter(run=run, k__gte=from_k, shadow=False)
    first = live.aggregate(first=Min("k"))["first"]
    rounds = Round.objects.filter(run=run, k__gte=from_k)
    hours = max(rounds.count() * BUCKET_NS / HOUR_NS, 1e-9)
    due = [(symbol, at) for symbol, at in planted if from_ns <= at <= to_ns - FOUND_WITHIN_NS]
    share, false = found_and_false(run, from_k, due, {symbol for symbol, _ in planted})
    prints = list(rounds.order_by("k").values_list("prints", flat=True))
    found = {
        "run_prints_per_s": round((prints[-1] - prints[0]) / max(len(prints) - 1, 1) / 5),
        "run_candidates": live.values("candidate_id").distinct().count(),
        "run_planted": len(due),
        "run_false_per_hour": round(false / hours, 1),
        "run_trades": Trade.objects.filter(run=run, filled_quantity__gt=0).count(),
    }
    if due:
        found["run_planted_found_share"] = round(share, 3)
    if first is not None:
        found["run_first_candidate_s"] = round(((first + 1) * BUCKET_NS - from_ns) / SECOND_NS, 1)
    return found


def found_and_false(
    run: Run, from_k: int, due: list[tuple[str, int]], names: set[str]
) -> tuple[float, int]:
    """Return the share of the planted that became candidates, and the false candidates.

    Args: due: symbol and start of what must be found by now; names: all that are planted today.
    """
    live = Decision.objects.filter(run=run, k__gte=from_k, shadow=False)
    seen: dict[str, list[int]] = {}
    others = set()
    for symbol, k, candidate in live.values_list("symbol", "k", "candidate_id").iterator():
        seen.setdefault(symbol, []).append((k + 1) * BUCKET_NS)
        if symbol not in names:
            others.add(candidate)
    found = sum(
        any(at < end <= at + FOUND_WITHIN_NS + BUCKET_NS for end in seen.get(symbol, ()))
        for symbol, at in due
    )
    return found / len(due) if due else 0.0, len(others)


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
