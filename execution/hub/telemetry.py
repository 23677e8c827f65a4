"""What the hub tells the pages about its surroundings: the relay's figures, where the time goes."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

STAGES = ("collect", "decide", "decided", "send", "order", "total")
KEPT = 200  # of each stage
WORST = 0.99


class StageTimes:
    """The last durations of each stage of a round, ms of the process clock.

    collect: from the end of the grace to the last report; decide: from there to the decision;
    decided: from the bucket's end to the decision, of every round, ms of the market clock;
    send: from the order to the broker's answer; order: from the last report to that answer; total:
    from the bucket's end to it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in STAGES}
        self.rounds = self.late_rounds = 0  # decided, and how many of them after the deadline

    def add(self, stage: str, ms: float) -> None:
        self._kept[stage].append(max(0.0, ms))

    def add_round(self, ms: float, *, in_time: bool) -> None:
        """Count a round that was decided `ms` after its bucket's end."""
        self.add("decided", ms)
        self.rounds += 1
        self.late_rounds += not in_time

    def packed(self) -> str:
        """Return `{stage: [typical, worst 1 %, how many]}` as JSON; stages without one are out."""
        return json.dumps(
            {
                name: [_quantile(kept, 0.5), _quantile(kept, WORST), len(kept)]
                for name, kept in self._kept.items()
                if kept
            }
        )


def _quantile(values: deque[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


class RelayFigures:
    """The relay's answer to `status` as text for a heart-beat. Args: mono: the process clock."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._last: tuple[float, int] | None = None
        self.facts: dict[str, str] = {}

    def take(self, told: Mapping[str, Any]) -> None:
        """Take a status message; the rate comes from two of them."""
        upstream = told.get("upstream") or {}
        consumers = [one for one in told.get("consumers") or () if isinstance(one, dict)]
        slowest = max(consumers, key=lambda one: int(one.get("queued_bytes") or 0), default={})
        found = {
            "state": upstream.get("state", ""),
            "reason": upstream.get("reason", ""),
            "feed": upstream.get("feed", ""),
            "per_s": self._rate(int(told.get("messages") or 0)),
            "consumers": len(consumers),
            "lagging": sum(one.get("state") == "lagging" for one in consumers),
            "slowest": slowest.get("label", ""),
            "slowest_bytes": slowest.get("queued_bytes", 0),
            "ring_bytes": told.get("ring_bytes", 0),
            "loop_lag_ms": told.get("loop_lag_ms", 0),
            "frames": told.get("frames", 0),
            "gaps": told.get("gaps", 0),
            "cut": told.get("cut", 0),
        }
        self.facts = {name: str(value) for name, value in found.items()}

    def _rate(self, messages: int) -> str:
        now, last = self._mono(), self._last
        self._last = (now, messages)
        if last is None or now <= last[0] or messages < last[1]:
            return ""
        return f"{(messages - last[1]) / (now - last[0]):.0f}"
