"""`script/bench shards [--json] [--quick]`: throughput, rivals, closes, cost by shards, memory."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import shards
from tradeplane.bench.relay.__main__ import machine
from tradeplane.bench.shards import measure, stores, ticks

ROOT = Path(__file__).parents[3]
RIVALS_VENV = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "requirements-bench.txt"
RIVALS = ("nautilus", "polars", "pandas")
SHARDS = (1, 2, 4, 13, 26)
PARTS = ("throughput", "rivals", "real", "symbols", "shards", "close", "store")
REAL_NAMES, REAL_DAY = ("AIG", "BAC", "IBM", "SPY"), "20131007"


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench shards")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--tapes", type=Path, default=ROOT.parent / "shared" / "tapes")
    told = parser.parse_args()
    parts, runs = told.only or PARTS, 1 if told.quick else 3
    shards.warm()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-shards-") as place:
        work = Path(place)
        if set(parts) & {"throughput", "rivals", "shards"}:
            figures |= throughput(parts, runs, 4 if told.quick else 8, work)
        if "real" in parts and ticks.has_real(told.tapes):
            figures |= real(told.tapes, runs, work)
        if "symbols" in parts:
            figures |= by_symbols(runs)
        if "store" in parts:
            _note("a close of 11,000 names kept in Redis, by layout")
            figures |= stores.stores()
        if "close" in parts:
            figures |= close(9 if told.quick else 16)
    result = {
        "bench": "shards", "figures": figures, "ratios": _ratios(figures), "machine": machine(),
    }  # fmt: skip
    _print(result, as_json=told.as_json)


def throughput(parts: Any, runs: int, minutes: int, work: Path) -> dict[str, float]:
    """Measure us and the rivals on the same ticks of 500 names, then shard counts."""
    some = ticks.synthetic(500, minutes)
    measure.throughput(some.upto(100_000))  # the processor's clock and our pages are warm then
    _note(f"500 names, {some.trades:,} trades in frames of {ticks.PER_FRAME}, {runs} runs")
    found: dict[str, float] = {"trades_per_s_per_core": measure.median_throughput(some, runs)}
    if "rivals" in parts:
        saved = work / "ticks.npz"
        ticks.save(some, saved)
        for rival in RIVALS:
            found |= _rival(rival, saved, runs)
    found["trades_per_s_per_core"] = measure.median_throughput(some, runs)
    if "shards" in parts:
        for count in SHARDS:
            rate = measure.median_throughput(some, runs, count)
            found[f"trades_per_s_with_{count}_shards"] = rate
    return found


def real(folder: Path, runs: int, work: Path) -> dict[str, float]:
    """Measure us and the rivals on a day of four real names."""
    some = ticks.real(folder, work, REAL_NAMES, REAL_DAY)
    _note(f"real tapes, {some.trades:,} trades")
    found: dict[str, float] = {"real_trades_per_s": measure.median_throughput(some, runs)}
    saved = work / "real.npz"
    ticks.save(some, saved)
    for rival in RIVALS:
        told = _rival(rival, saved, 1)
        found |= {f"real_{name}": value for name, value in told.items()}
    return found


def by_symbols(runs: int) -> dict[str, float]:
    """Measure how the cost grows with the names."""
    found: dict[str, float] = {}
    for count in (2_000, 11_000):
        some = ticks.synthetic(count, 3)
        found[f"trades_per_s_{count}_symbols"] = measure.median_throughput(some, runs)
    return found


def close(minutes: int) -> dict[str, float]:
    """Measure closes and reports of the whole market."""
    many = ticks.synthetic(11_000, minutes, per_hour=120)
    _note(f"11,000 names, {many.trades:,} trades in {minutes} minutes")
    found = measure.closes(many)
    return {
        "close_ms_p50_11000": measure.percentile(found.close_ms, 50),
        "close_ms_p99_11000": measure.percentile(found.close_ms, 99),
        "close_cpu_ms_p50_11000": measure.percentile(found.close_cpu_ms, 50),
        "close_cpu_ms_p99_11000": measure.percentile(found.close_cpu_ms, 99),
        "report_cpu_ms_p99": measure.percentile(found.report_cpu_ms, 99),
        "report_ms_p50": measure.percentile(found.report_ms, 50),
        "report_ms_p99": measure.percentile(found.report_ms, 99),
        "closes": len(found.close_ms),
        "candidates_per_close": round(found.candidates / len(found.close_ms), 1),
        "mb_per_1000_symbols": round(1000 * found.engine_mb / found.symbols, 1),
    }


# --- the rivals' own environment -----------------------------------------------------------------


def _rival(name: str, saved: Path, runs: int) -> dict[str, float]:
    _note(f"  {name}")
    done = subprocess.run(  # noqa: S603 - our own script
        [rivals_python(), str(Path(__file__).with_name("rivals.py")), name, str(saved), str(runs)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    found = {f"{name}_trades_per_s": told.get("from_frames", told["from_columns"])}
    if "from_frames" in told:
        found[f"{name}_from_columns_trades_per_s"] = told["from_columns"]
    return found


def rivals_python() -> str:
    """Return the Python of the rivals' environment, made and filled the first time."""
    python = RIVALS_VENV / "bin" / "python"
    stamp = RIVALS_VENV / ".installed"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        _note("installing what we are measured against")
        uv = Path(sys.executable).with_name("uv")
        tool = [str(uv)] if uv.exists() else [shutil.which("uv") or "uv"]
        base = ["--python", sys.executable, "--quiet", "--clear", str(RIVALS_VENV)]
        subprocess.run([*tool, "venv", *base], check=True)  # noqa: S603 - uv
        install = ["pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS)]
        subprocess.run([*tool, *install], check=True)  # noqa: S603 - uv
        stamp.write_text(wanted)
    return str(python)


def _ratios(figures: dict[str, float]) -> dict[str, float]:
    ours = figures.get("trades_per_s_per_core", 0)
    return {
        f"vs_{rival}": round(ours / figures[f"{rival}_trades_per_s"], 2)
        for rival in RIVALS
        if f"{rival}_trades_per_s" in figures
    }


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for part in ("figures", "ratios", "machine"):
        for name, value in result[part].items():
            shown = f"{value:>14,}" if isinstance(value, int | float) else value
            sys.stdout.write(f"{name:34} {shown}\n")


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
