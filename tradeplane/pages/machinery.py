"""The relay and the stages of a round, as the hub tells them with its heart-beat."""

import json
from collections.abc import Mapping
from typing import Any

from tradeplane.pages import figures
from tradeplane.pages.letters import Beats

#: stage of the hub → how it is called, and what it is
NAMES = {
    "feed": ("Feed to shard", "How far the shards' market clock trails this machine's."),
    "grace": ("Waiting for late prints", "lateness_grace_ms: prints of a bucket may come late."),
    "collect": ("Shards compute, hub collects", "Until the last shard has reported the bucket."),
    "decide": ("Hub decides", "Every gate of every candidate, and the records written."),
    "send": ("Broker acknowledges", "From the order to the broker's answer."),
}
MB = 1_000_000
RELAY_WORDS = {
    "open": ("up", "✓ connected"),
    "connecting": ("warn", "◷ connecting"),
    "lost": ("warn", "! lost, trying again"),
    "refused": ("down", "✕ refused"),
    "closed": ("", "not opened"),
}


def relay(beat: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the relay's state and its lines. Args: beat: the hash `hb:relay`."""
    if not beat:
        return {"tone": "warn", "said": "? silent", "rows": []}
    tone, said = RELAY_WORDS.get(beat.get("state", ""), ("", beat.get("state", "")))
    queued = _int(beat.get("slowest_bytes"))
    slow = f"{beat.get('slowest')}, {figures.size(queued)}" if queued else "all empty"
    lagging = _int(beat.get("lagging"))
    rows = [
        ("Messages per second", figures.count(_int(beat.get("per_s"))) if beat.get("per_s") else
         figures.MISSING),
        ("Feed", f"{beat.get('feed', '').upper()}, one connection"),
        ("Readers", beat.get("consumers", "0") + (f", {lagging} slow" if lagging else "")),
        ("Slowest queue", slow),
        ("Kept for replays", figures.size(_int(beat.get("ring_bytes")))),
        ("Gaps", f"{_int(beat.get('gaps')):,} in {figures.count(_int(beat.get('frames')))} frames"),
        ("Readers put out", f"{_int(beat.get('cut')):,}"),
        ("Own delay", figures.milliseconds(float(_int(beat.get("loop_lag_ms"))))),
    ]  # fmt: skip
    return {"tone": tone, "said": said, "reason": beat.get("reason", ""), "rows": rows}


def stages(hub: Mapping[str, str] | None, beats: Beats | None, grace_ms: float) -> dict[str, Any]:
    """Return the stages of a round on one axis that starts at the bucket's end, in percent.

    The feed's delay lies before that end in truth; it is drawn in front.
    """
    told = _packed((hub or {}).get("stages", ""))
    lags = sorted(
        float(beat["lag_ms"]) for beat in (beats or {}).values() if _is_number(beat.get("lag_ms"))
    )
    measured: dict[str, tuple[float, float]] = {}
    if told:
        if lags and lags[-1] > 0:
            measured["feed"] = (max(0.0, lags[len(lags) // 2]), lags[-1])
        measured["grace"] = (grace_ms, grace_ms)
        measured |= {name: (row[0], row[1]) for name, row in told.items() if name in NAMES}
    rows = _on_one_axis({name: measured[name] for name in NAMES if name in measured})
    total = told.get("total")
    return {
        "rows": rows,
        "n": int(told["collect"][2]) if "collect" in told else 0,
        "total": None
        if total is None
        else {
            "typical": figures.duration(total[0] / 1000),
            "worst": figures.duration(total[1] / 1000),
        },
    }


def _on_one_axis(measured: dict[str, tuple[float, float]]) -> list[dict[str, str]]:
    """Each bar begins where the typical one before it ended; the pale part is the worst 1 %."""
    start, ends = 0.0, [0.0]
    for typical, worst in measured.values():
        ends.append(start + max(typical, worst))
        start += typical
    whole = max(ends) or 1.0
    rows, start = [], 0.0
    for name, (typical, worst) in measured.items():
        rows.append(
            {
                "name": NAMES[name][0],
                "help": NAMES[name][1],
                "from": f"{100 * start / whole:.1f}",
                "typical": f"{max(0.6, 100 * typical / whole):.1f}",
                "worst": f"{100 * max(typical, worst) / whole:.1f}",
                "typical_said": figures.milliseconds(typical),
                "worst_said": figures.milliseconds(worst),
            }
        )
        start += typical
    return rows


def _packed(text: str) -> dict[str, list[float]]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _int(text: str | None) -> int:
    return int(float(text)) if text and _is_number(text) else 0


def _is_number(text: str | None) -> bool:
    try:
        return float(text or "") == float(text or "")
    except ValueError:
        return False
