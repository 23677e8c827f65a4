"""`script/bench relay [--json] [--quick]`: throughput, rivals, latency, one frozen consumer."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from tradeplane.bench.relay.children import Child, Counting, Reencoder, Relay, await_all

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PER_FRAME = 100
CUT_WAIT_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench relay")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--quick", action="store_true", help="one short run each, no latencies")
    parser.add_argument("--only", choices=("throughput", "latency", "frozen"))
    told = parser.parse_args()
    runs, seconds = (1, 1.0) if told.quick else (3, 3.0)
    figures: dict[str, float] = {}
    if told.only in (None, "throughput"):
        figures |= throughput(runs, seconds)
    if not told.quick and told.only in (None, "latency"):
        for per_s in (50_000, 100_000):
            figures |= latency(per_s, runs=5, seconds=4.0)
    if not told.quick and told.only in (None, "frozen"):
        figures |= frozen(100_000, runs=5, seconds=4.0)
    result = {
        "bench": "relay",
        "figures": figures,
        "ratios": _ratios(figures),
        "machine": machine(),
    }
    _print(result, as_json=told.as_json)


# --- throughput ----------------------------------------------------------------------------------


def throughput(runs: int, seconds: float) -> dict[str, float]:
    """Return trades per second of the relay and its rivals, medians."""
    found = _flooded("relay", _relay_side, runs, seconds)
    found |= _flooded("reencode", _reencode_side, runs, seconds)
    found |= _flooded("alpaca_py", _sdk_side, runs, seconds)
    found["trades_per_s"] = found.pop("relay_trades_per_s")
    return found


Side = tuple[list[Child], Callable[[], float], Callable[[], None]]


def _flooded(name: str, start: Callable[[str], Side], runs: int, seconds: float) -> dict[str, Any]:
    _note(f"{name}: as fast as it goes, {runs} × {seconds:g} s")
    feed, port, _ = a_feed()
    counting, cpu_s, end = start(f"ws://127.0.0.1:{port}/v2/sip")
    rates, costs, total = [], [], 0
    try:
        for _ in range(runs):
            before_s = cpu_s()
            sent = feed.ask(do="flood", seconds=seconds)
            total += sent["sent"]
            last_ns, holes = await_all(counting, total)
            if holes:
                raise RuntimeError(f"{holes} holes in the offsets")
            rates.append(sent["sent"] / ((last_ns - sent["first_ns"]) / 1e9))
            costs.append((cpu_s() - before_s) * 1e9 / sent["sent"])
            _note(f"  {rates[-1]:,.0f} trades/s, {costs[-1]:.0f} ns CPU each")
    finally:
        end()
        feed.end()
    return {
        f"{name}_trades_per_s": round(statistics.median(rates)),
        f"{name}_cpu_ns_per_trade": round(statistics.median(costs)),
    }


def _relay_side(upstream: str) -> Side:
    relay = Relay(upstream)
    counting = Counting(relay, _halves(), "frame,prefix")

    def end() -> None:
        counting.end()
        relay.end()

    return counting.children, relay.cpu_s, end


def _reencode_side(upstream: str) -> Side:
    relay = Reencoder(upstream)
    counting = Counting(relay, _halves(), "prefix")
    relay.go()

    def end() -> None:
        counting.end()
        relay.end()

    return counting.children, relay.cpu_s, end


def _sdk_side(upstream: str) -> Side:
    client = Child("-m", "tradeplane.bench.relay.rivals", "sdk", "--upstream", upstream)
    client.answer()
    return [client], client.cpu_s, client.end


# --- latency -------------------------------------------------------------------------------------


def latency(per_s: int, *, runs: int, seconds: float) -> dict[str, float]:
    """Return the median p50 and p99 from the feed's stamp to the consumer's read, ms."""
    _note(f"latency at {per_s:,}/s, {runs} × {seconds:g} s")
    feed, port, _ = a_feed()
    relay = Relay(f"ws://127.0.0.1:{port}/v2/sip")
    counting = Counting(relay, _halves(), "frame,prefix")
    found, total = [], 0
    try:
        for number in range(runs + 1):  # the first one warms up
            sent, measured = _paced(feed, counting, per_s, seconds if number else 1.0, total)
            total += sent
            if number:
                found.append(measured)
                _note(f"  p50 {measured[0]:.2f} ms, p99 {measured[1]:.2f} ms")
    finally:
        counting.end()
        relay.end()
        feed.end()
    p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
    label = f"{per_s // 1000}k"
    return {f"p50_ms_at_{label}": round(p50, 3), f"p99_ms_at_{label}": round(p99, 3)}


def _paced(
    feed: Child, counting: Counting, per_s: int, seconds: float, before: int
) -> tuple[int, tuple[float, float]]:
    for child in counting.children:
        child.ask(do="keep")
    sent = int(feed.ask(do="pace", seconds=seconds, per_s=per_s)["sent"])
    await_all(counting.children, before + sent)
    with tempfile.TemporaryDirectory(prefix="bench-relay-") as place:
        parts = []
        for number, child in enumerate(counting.children):
            path = f"{place}/{number}.npy"
            child.ask(do="latencies", path=path)
            parts.append(np.load(path))
    every = np.concatenate(parts)
    if every.size != sent:
        raise RuntimeError(f"{every.size:,} latencies of {sent:,} messages")
    p50, p99 = np.percentile(every, (50, 99)) / 1e6
    return sent, (float(p50), float(p99))


def frozen(per_s: int, *, runs: int, seconds: float) -> dict[str, float]:
    """Return the others' latency while a consumer of everything stands still, and its end.

    A fresh one is frozen in each run; medians, the longest stay and the largest memory.
    """
    _note(f"one of 27 consumers frozen, {per_s:,}/s, {runs} × {seconds:g} s")
    feed, port, _ = a_feed()
    relay = Relay(f"ws://127.0.0.1:{port}/v2/sip")
    counting = Counting(relay, _halves(), "frame,prefix")
    found, total = [], 0
    try:
        total, _ = _paced(feed, counting, per_s, 1.0, total)
        for _ in range(runs):
            still = Counting(relay, [["*"]], "frame")
            try:
                watch = _CutWatch(relay)
                still.children[0].freeze()
                watch.start()
                sent, measured = _paced(feed, counting, per_s, seconds, total)
                total += sent
                found.append((*measured, watch.seconds(), relay.resident_mb()))
                _note(
                    "  p50 {:.2f} ms, p99 {:.2f} ms, cut after {:.2f} s, {:.0f} MB".format(
                        *found[-1]
                    )
                )
            finally:
                still.end()
    finally:
        counting.end()
        relay.end()
        feed.end()
    p50, p99, cut, resident = zip(*found, strict=True)
    return {
        "p50_ms_one_frozen": round(statistics.median(p50), 3),
        "p99_ms_one_frozen": round(statistics.median(p99), 3),
        "frozen_cut_s": round(max(cut), 2),
        "resident_mb_one_frozen": round(max(resident)),
    }


class _CutWatch:
    """Looks at the relay's own metrics until one more consumer was cut."""

    def __init__(self, relay: Relay) -> None:
        self._url = f"http://127.0.0.1:{relay.port}/metrics"
        self._before = self._cuts()
        self._cut_s = float("nan")
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._started_s = time.monotonic()
        self._thread.start()

    def _cuts(self) -> float:
        with urlopen(self._url, timeout=5) as answer:  # noqa: S310 - our own relay
            return _value(answer.read().decode(), "relay_cut_total")

    def _watch(self) -> None:
        while time.monotonic() - self._started_s < CUT_WAIT_S:
            if self._cuts() > self._before:
                self._cut_s = time.monotonic() - self._started_s
                return
            time.sleep(0.1)

    def seconds(self) -> float:
        self._thread.join()
        return self._cut_s


def _value(metrics: str, name: str) -> float:
    return sum(float(row.split()[-1]) for row in metrics.splitlines() if row.startswith(name))


# --- setting and result --------------------------------------------------------------------------


def a_feed() -> tuple[Child, int, dict[str, int]]:
    """Start an upstream; return it, its port and its messages by letter."""
    feed = Child(
        "-m", "tradeplane.bench.relay.feed", "--frames", "400", "--messages", str(PER_FRAME)
    )
    told = feed.answer()
    return feed, int(told["port"]), told["letters"]


def _halves() -> list[list[str]]:
    """Return the letters for two processes, each about half of the market."""
    entries = [f"{letter}*" for letter in LETTERS]
    return [entries[::2], entries[1::2]]


def _ratios(figures: dict[str, float]) -> dict[str, float]:
    if "trades_per_s" not in figures:
        return {}
    rate = figures["trades_per_s"]
    return {
        "vs_reencode": round(rate / figures["reencode_trades_per_s"], 2),
        "vs_alpaca_py": round(rate / figures["alpaca_py_trades_per_s"], 2),
        "cpu_vs_reencode": round(
            figures["reencode_cpu_ns_per_trade"] / figures["relay_cpu_ns_per_trade"], 2
        ),
    }


def machine() -> dict[str, Any]:
    """Say where the figures are from."""
    model = platform.processor() or "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpus": os.cpu_count(),
        "model": model,
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for part in ("figures", "ratios", "machine"):
        for name, value in result[part].items():
            shown = f"{value:>14,}" if isinstance(value, int | float) else value
            sys.stdout.write(f"{name:28} {shown}\n")


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
