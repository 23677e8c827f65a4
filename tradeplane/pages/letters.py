"""The map of the alphabet: which shard watches a letter, how far behind it is, how it does."""

from collections.abc import Mapping
from typing import Any

from execution.models import Run
from shards.letters import LETTERS, letter_range
from tradeplane.pages import figures

Beats = Mapping[str, Mapping[str, str]]
SLOW_SHARE = 0.8  # of max_relay_lag_ms


def cells(run: Run | None, beats: Beats | None, limit_ms: float) -> dict[str, Any]:
    """Return the 26 letters in reading order and how many report, are slow, are dark.

    Args: beats: heart-beats by shard number, None when Redis does not answer.
    """
    assigned = {} if run is None else run.assignments
    found = [_cell(letter, assigned, beats, limit_ms) for letter in LETTERS]
    return {
        "cells": found,
        "ok": sum(cell["state"] == "ok" for cell in found),
        "slow": sum(cell["state"] == "slow" for cell in found),
        "dark": sum(cell["state"] == "dark" for cell in found),
        "none": sum(cell["state"] == "none" for cell in found),
        "silent": beats is None,
    }


def _cell(
    letter: str, assigned: Mapping[str, Any], beats: Beats | None, limit_ms: float
) -> dict[str, Any]:
    owners = _owners(letter, assigned)
    cell = {"letter": letter, **_owner_words(owners), "lag": figures.MISSING}
    if not owners:
        return cell | {"state": "none", "said": "not given out"}
    beating = [beats[owner] for owner in owners if beats and owner in beats]
    if len(beating) < len(owners):
        return cell | {"state": "dark", "said": "✕ no entries"}
    lags = [_float(beat.get("lag_ms")) for beat in beating]
    known = [lag for lag in lags if lag is not None]
    cell["lag"] = figures.milliseconds(max(known)) if known else figures.MISSING
    states = {beat.get("state", "") for beat in beating}
    if known and max(known) >= SLOW_SHARE * limit_ms:
        return cell | {"state": "slow", "said": "! slow"}
    word = states.pop() if len(states) == 1 else "mixed"
    return cell | {"state": "ok", "said": f"✓ {word or 'reporting'}"}


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


def shards(run: Run | None, beats: Beats | None) -> list[dict[str, str]]:
    """Return one line per shard for the system page."""
    numbers = sorted(set(beats or {}) | set(run.assignments if run else ()), key=_as_number)
    assigned = {} if run is None else run.assignments
    return [
        _shard(number, _letters_of(number, assigned), (beats or {}).get(number))
        for number in numbers
    ]


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
