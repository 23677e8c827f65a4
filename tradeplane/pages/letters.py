"""The map of the alphabet: which shard watches a letter, how far behind it is, how it does."""

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from execution.models import Run, RunState
from shards.letters import LETTERS, effective_letters_per_shard, letter_range
from tradeplane.pages import figures

Beats = Mapping[str, Mapping[str, str]]
SLOW_SHARE = 0.8  # of max_relay_lag_ms


def cells(run: Run | None, beats: Beats | None, limit_ms: float) -> dict[str, Any]:
    """Return the 26 letters in reading order and how many report, are slow, are dark.

    Args: beats: heart-beats by shard number, None when Redis does not answer.
    """
    assigned = {} if run is None else run.assignments
    stocks = Counter(symbol[:1] for symbol in run.universe) if run else Counter[str]()
    dark = _dark_since(run)
    found = [
        _cell(letter, assigned, beats, limit_ms, stocks[letter]) | dark.get(letter, {})
        for letter in LETTERS
    ]
    return {
        "cells": found,
        "ok": sum(cell["state"] == "ok" for cell in found),
        "slow": sum(cell["state"] == "slow" for cell in found),
        "dark": sum(cell["state"] == "dark" for cell in found),
        "none": sum(cell["state"] == "none" for cell in found),
        "silent": beats is None,
    }


def _dark_since(run: Run | None) -> dict[str, dict[str, str]]:
    """Return what to say of letters that nobody reports, at least in part, by the hub's word."""
    found: dict[str, dict[str, str]] = {}
    for row in run.dark if run is not None and run.state == RunState.RUNNING else ():
        for letter in LETTERS:
            if letter not in found and _owners(letter, {"": row["ranges"]}):
                since = figures.time_of(row["since_ns"])
                said = f"✕ no entries since {since}, {row['why']}"
                found[letter] = {"state": "dark", "said": said}
    return found


def with_lags(
    beats: Beats | None, hub: Mapping[str, str] | None, *, speed: float, lockstep: bool
) -> Beats | None:
    """Give the shards of a tape a lag: their watermark against the market's time at the hub.

    Args: speed: market seconds per second. In lock-step there is no lag to speak of.
    """
    if beats is None:
        return None
    found = {}
    for number, beat in beats.items():
        lag_ms = None if lockstep else _tape_lag_ms(beat, hub, speed)
        tape = beat.get("lag_ms") == "0.0"
        text = "" if lag_ms is None else f"{lag_ms:.0f}"
        found[number] = {**beat, "lag_ms": text} if tape else beat
    return found


def _tape_lag_ms(
    beat: Mapping[str, str], hub: Mapping[str, str] | None, speed: float
) -> float | None:
    try:
        at_ms, watermark_ns = int(beat["at"]), int(beat["watermark_ns"])
        hub_ms, market_ns = int((hub or {})["at"]) // 1_000_000, int((hub or {})["market_ns"])
    except (KeyError, ValueError):
        return None
    if watermark_ns <= 0 or market_ns <= 0:
        return None
    return max(0.0, market_ns / 1e6 + (at_ms - hub_ms) * speed - watermark_ns / 1e6)


def _cell(
    letter: str, assigned: Mapping[str, Any], beats: Beats | None, limit_ms: float, stocks: int
) -> dict[str, Any]:
    owners = _owners(letter, assigned)
    cell = {"letter": letter, **_owner_words(owners), "lag": figures.MISSING,
            "load": figures.MISSING, "load_width": "0"}  # fmt: skip
    if not owners:
        return cell | {"state": "none", "said": "not given out"}
    beating = [beats[owner] for owner in owners if beats and owner in beats]
    if len(beating) < len(owners):
        return cell | {"state": "dark", "said": "✕ no entries"}
    lags = [_float(beat.get("lag_ms")) for beat in beating]
    known = [lag for lag in lags if lag is not None]
    cell["lag"] = figures.milliseconds(max(known)) if known else figures.MISSING
    cell |= _load(beating)
    states = {beat.get("state", "") for beat in beating}
    if known and max(known) >= SLOW_SHARE * limit_ms:
        return cell | {"state": "slow", "said": "! slow"}
    word = states.pop() if len(states) == 1 else "mixed"
    if word in ("live", "ready"):
        unit = "stock" if stocks == 1 else "stocks"
        return cell | {"state": "ok", "said": f"✓ {stocks:,}", "unit": unit}
    return cell | {"state": "ok", "said": f"✓ {word or 'reporting'}"}


def _load(beating: list[Mapping[str, str]]) -> dict[str, str]:
    """The busiest of the letter's shards, percent of one core."""
    known = [load for load in (_float(beat.get("load")) for beat in beating) if load is not None]
    if not known:
        return {}
    return {
        "load": f"{max(known):.0f}{figures.NARROW}%",
        "load_width": f"{min(100.0, max(known)):.0f}",
    }


def _owners(letter: str, assigned: Mapping[str, Any]) -> list[str]:
    low, high = letter_range(letter)
    return sorted(
        (
            shard
            for shard, ranges in assigned.items()
            if any((not hi or low < hi) and lo < high for lo, hi in ranges)
        ),
        key=lambda shard: (len(shard), shard),
    )


def _owner_words(owners: list[str]) -> dict[str, str]:
    if not owners:
        return {"word": "", "owner": "no owner"}
    return {"word": "shard" if len(owners) == 1 else "shards", "owner": ", ".join(owners)}


def _letters_of(number: str, assigned: Mapping[str, Any]) -> str:
    """`A–M, S`: the letters a shard has, at least in part; runs are joined."""
    mine = [letter for letter in LETTERS if number in _owners(letter, assigned)]
    runs: list[list[str]] = []
    for letter in mine:
        if runs and ord(letter) == ord(runs[-1][-1]) + 1:
            runs[-1].append(letter)
        else:
            runs.append([letter])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def versions(
    run: Run | None, hub: Mapping[str, str] | None, beats: Beats | None
) -> list[dict[str, str]]:
    """Return the parameter version that each role runs, the hub first."""
    rows = []
    if run is not None:
        alive = hub is not None
        rows.append(
            {
                "role": "Hub",
                "version": str(run.parameters_version) if alive else figures.MISSING,
                "said": "" if alive else "silent",
            }
        )
    for number in sorted(set(beats or {}) | set(run.assignments if run else ()), key=_as_number):
        beat = (beats or {}).get(number)
        version = beat.get("params_version", "") if beat else ""
        rows.append(
            {
                "role": f"Shard {number}",
                "version": version or figures.MISSING,
                "said": "" if beat else "silent",
            }
        )
    return rows


def shards(
    run: Run | None, beats: Beats | None, drained: Container[int] = ()
) -> list[dict[str, str]]:
    """Return one line per shard for the system page."""
    numbers = sorted(set(beats or {}) | set(run.assignments if run else ()), key=_as_number)
    assigned = {} if run is None else run.assignments
    return [
        _shard(number, _letters_of(number, assigned), (beats or {}).get(number))
        | {"drained": "yes" if _as_number(number) in drained else ""}
        for number in numbers
    ]


def plan(run: Run | None, text: str, living: int) -> dict[str, str]:
    """Return how letters are given out, in words, and what of it people chose."""
    each = int(run.plan[1]) if run is not None and run.plan else 1
    effective = effective_letters_per_shard(each, living) if living else each
    said = f"{each} asked for per shard"
    if effective != each:
        said += f"; {effective} in effect with {figures.counted(living, 'living shard')}"
    words = {"letters": f"consecutive letters, {said}", "load": "balanced by measured load"}
    chosen = text if text in words else "map"
    return {"chosen": chosen, "map": "" if text in words else text, "said": words.get(text, text)}


def _shard(number: str, mine: str, beat: Mapping[str, str] | None) -> dict[str, str]:
    if beat is None:
        return {"number": number, "letters": mine, "state": "silent", "ok": ""}
    symbols = beat.get("symbols", "")
    return {
        "number": number,
        "ok": "yes",
        "state": beat.get("state", ""),
        "letters": mine or "none yet",
        "symbols": figures.count(int(symbols)) if symbols.isdigit() else figures.MISSING,
        "lag": figures.milliseconds(_float(beat.get("lag_ms"))),
        "queue": beat.get("queue", "") or "0",
        "store": beat.get("store", ""),
        "version": beat.get("params_version", "") or figures.MISSING,
    }


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _as_number(text: str) -> int:
    return int(text) if text.isdigit() else 0
