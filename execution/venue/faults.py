"""A plan of what goes wrong at the venue: seeded, scriptable by a file, the same every time.

Rules are asked in the order of the plan; a rule fires on its n-th occasion, or at a rate, and at
most so many times. What fired is counted by name, so that a test can say how much went wrong.
Source of the kinds: reliability 2 (rows 59 to 75), alpaca 5.4.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from execution.venue.options import VenueError

MS = 1_000_000
SECOND_NS = 1_000_000_000
#: What may happen to a request, to the stream, and inside the venue.
REQUEST_FAULTS = {
    "lose_request": "the request is lost: nothing is done, no answer comes",
    "execute_then_time_out": "done, and the answer never comes",
    "execute_late": "done `seconds` later, and the answer never comes",
    "http_429": "refused with the rate-limit headers",
    "http_500": "an error page; nothing is done",
    "http_503": "an error page; nothing is done",
    "http_504": "an error page; nothing is done",
    "execute_then_504": "done, and an error page comes",
    "bad_json": "done, and the answer is cut in the middle",
    "not_found": "a 404 for something that is there",
}
STREAM_FAULTS = {
    "drop": "an event is never sent",
    "duplicate": "an event is sent twice",
    "reorder": "an event is sent after the one that follows it",
    "silence": "the stream stays open and says nothing for `seconds`",
    "close": "the connection is cut after the event",
}
VENUE_FAULTS = {
    "late_fill": "a canceled order is filled all the same, `delay_ms` later",
    "both_legs": "the second exit of a group fills, too",
    "bust": "an execution is broken, `delay_ms` later",
    "correct": "an execution gets another price (+`ticks` cents), `delay_ms` later",
    "partial": "a fill is partial",
    "overfill": "an order gets a third more shares than it asked for, `delay_ms` later",
    "halt": "a symbol stops trading for `seconds` after a fill",
    "hidden": "a look-up by its name misses an order that is younger than 20 s",
    "lose_leg": "the stop of a group is canceled by somebody, `delay_ms` after the entry is filled",
}
KINDS = {**REQUEST_FAULTS, **STREAM_FAULTS, **VENUE_FAULTS}


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a plan.

    `on` is a method and the beginning of a path ("POST /v2/orders"), "" for any; for venue faults
    a symbol, "" for any. `nth`: fire on that occasion (from 1); else `rate` of the occasions.
    """

    do: str
    on: str = ""
    nth: int = 0
    rate: float = 0.0
    times: int = 0  # at most so often; 0: no limit for a rate, once for an nth
    seconds: float = 5.0  # of silence, of a halt; of waiting before a lost answer's end, or so late
    delay_ms: int = 0
    ticks: int = 1
    from_ns: int = 0  # market time; 0: from the start
    until_ns: int = 0  # market time; 0: to the end


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[Rule]
    seed: int = 0


@dataclass
class FaultPlan:
    """Decides, occasion by occasion; `injected` counts what fired."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    healed: bool = False
    ended: set[str] = field(default_factory=set)  # what does not go wrong any more

    def __post_init__(self) -> None:
        for rule in self.rules:
            _check(rule)
        self._random = random.Random(self.seed)
        self._seen = [0] * len(self.rules)
        self._fired = [0] * len(self.rules)
        self._of = {
            kinds: [n for n, rule in enumerate(self.rules) if rule.do in of]
            for kinds, of in (
                ("request", REQUEST_FAULTS),
                ("stream", STREAM_FAULTS),
                ("venue", VENUE_FAULTS),
            )
        }

    @classmethod
    def load(cls, path: Path) -> "FaultPlan":
        """Read a plan.

        Raises:
            VenueError: no such file, not JSON, or an unknown kind; the text names it.
        """
        try:
            body = msgspec.json.decode(path.read_bytes(), type=_File)
            return cls(rules=tuple(body.rules), seed=body.seed)
        except OSError as exc:
            raise VenueError(f"{path}: {exc.strerror}") from exc
        except (msgspec.MsgspecError, ValueError) as exc:
            raise VenueError(f"{path}: {exc}") from exc

    def request(self, method: str, path: str, now_ns: int) -> Rule | None:
        """Return what goes wrong with this request, if anything."""
        asked = f"{method} {path}"
        return self._first("request", now_ns, lambda rule: asked.startswith(rule.on))

    def stream(self, now_ns: int) -> Rule | None:
        """Return what goes wrong with this event of the stream, if anything."""
        return self._first("stream", now_ns, lambda rule: True)

    def venue(self, kind: str, symbol: str, now_ns: int) -> Rule | None:
        """Return the rule of one kind that fires on this occasion inside the venue, if any."""
        return self._first(
            "venue", now_ns, lambda rule: rule.do == kind and rule.on in ("", symbol)
        )

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.healed = True

    def _first(self, kinds: str, now_ns: int, fits: Any) -> Rule | None:
        if self.healed:
            return None
        for n in self._of[kinds]:
            rule = self.rules[n]
            if rule.do not in self.ended and fits(rule) and self._fires(n, rule, now_ns):
                self.injected[rule.do] += 1
                return rule
        return None

    def _fires(self, n: int, rule: Rule, now_ns: int) -> bool:
        if now_ns < rule.from_ns or (rule.until_ns and now_ns >= rule.until_ns):
            return False
        self._seen[n] += 1
        most = rule.times or (1 if rule.nth else 0)
        if most and self._fired[n] >= most:
            return False
        due = self._seen[n] >= rule.nth if rule.nth else self._random.random() < rule.rate
        self._fired[n] += due
        return due


def _check(rule: Rule) -> None:
    if rule.do not in KINDS:
        raise ValueError(f"no such fault: {rule.do} (there are {', '.join(KINDS)})")
    if not 0 <= rule.rate <= 1 or rule.nth < 0 or rule.times < 0 or rule.delay_ms < 0:
        raise ValueError(f"{rule.do}: a rate from 0 to 1, counts and delays not negative")
    if not (rule.nth or rule.rate):
        raise ValueError(f"{rule.do}: never fires: give it nth or rate")


@dataclass
class FaultyStream:
    """Events on their way to listeners: lost, doubled, swapped, held back. Pure."""

    plan: FaultPlan
    _held: list[dict[str, Any]] = field(default_factory=list)
    _silent_until_ns: int = 0

    def pass_on(
        self, updates: Iterable[dict[str, Any]], now_ns: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return what listeners get of these events, and whether their connection is cut then."""
        sent: list[dict[str, Any]] = []
        cut = False
        for update in updates:
            rule = self.plan.stream(now_ns)
            kind = rule.do if rule is not None else ""
            if rule is not None and kind == "silence":
                self._silent_until_ns = now_ns + int(rule.seconds * SECOND_NS)
            silent = now_ns < self._silent_until_ns and not self.plan.healed
            if kind == "drop" or silent:
                continue
            if kind == "reorder":
                self._held.append(update)
                continue
            sent += [update, *self._held, *([update] if kind == "duplicate" else [])]
            self._held.clear()
            cut = cut or kind == "close"
        return sent, cut

    def flush(self) -> list[dict[str, Any]]:
        """Return what still waits for an event that would follow it."""
        held, self._held = self._held, []
        return held


def described() -> str:
    """Return the kinds of faults with their meaning, one a line, for help texts and the docs."""
    return "\n".join(f"{name:<22}{text}" for name, text in KINDS.items())


def plan_json(plan: FaultPlan) -> str:
    """Return a plan as the file that `load` reads."""
    return json.dumps({"seed": plan.seed, "rules": msgspec.to_builtins(list(plan.rules))}, indent=1)
