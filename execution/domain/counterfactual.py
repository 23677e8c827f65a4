"""What another set of parameters would have made of stored rounds, and how far that can be known.

Each parameter has a class (design: trigger 8.2). A: a threshold of the decision, exact on stored
inputs. B: it shapes the features: they are recomputed from kept buckets (`reshape`); what shapes
the buckets themselves is refused here, a tape answers. C: it shapes who is a candidate: of those
who were none, only near misses are known, so the answer is "at least". D: it shapes the day's path:
each round is judged by the account as it really was. Parameters that no decision reads are of
class "-".
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from execution.domain.decide import decide
from execution.domain.rounds import DecisionRecord, RoundInput, Streak
from execution.domain.setup import acceleration
from signals import candidates as life
from signals.candidates import Evidence
from signals.messages import Candidate

FEATURES = frozenset({
    "aoHistoryBuckets", "ao_accel_lookback", "ao_accel_mode", "bar_price_source", "fast_period",
    "flatline_ratio", "include_odd_lots_in_price", "lateness_grace_ms", "oscillator_mode",
    "quote_size_unit", "sigma_window", "slow_period", "smooth_period", "vol_floor",
})  # fmt: skip
#: Of these, what no kept bucket can be read again with.
TAPE_ONLY = frozenset({"include_odd_lots_in_price", "lateness_grace_ms", "quote_size_unit"})
POPULATION = frozenset({
    "ao_accel_rate", "ao_exit_magnitude_bps", "ao_min_magnitude_bps", "ao_min_z",
    "candidate_cooldown_s", "max_burst_buckets", "max_jump_share", "max_synthetic_share",
    "min_5s_flatline_ao_buckets", "min_burst_trades", "min_cumulative_ao_dollars",
    "min_cumulative_ao_volume", "shadow_margin", "universe_exclude", "universe_include_etfs",
    "universe_min_dollar_volume_20d", "vol_surge_multiplier",
})  # fmt: skip
PATH = frozenset({
    "breakeven_at_r", "concurrent_trading", "cooldown_after_trade_s", "entry_style", "entry_ttl_ms",
    "exit_mode", "max_concurrent_positions", "max_consecutive_losses", "max_daily_loss_percent",
    "max_trades_per_day", "max_trades_per_symbol_per_day", "no_progress_minutes", "no_progress_r",
    "reanchor_after_fill", "replace_weaker", "stop_after_take_profits", "stop_type",
    "symbol_cooldown_s", "trail_distance_r", "trail_start_r", "trailing_enabled",
})  # fmt: skip
NO_DECISION = frozenset({
    "api_calls_reserved_for_exits", "bracket_tif", "broker_exit_grace_ms", "bucket_ttl",
    "decision_deadline_ms", "decision_retention_days", "exit_confirm_prints", "hard_flatten_min",
    "kill_switch", "letters_per_shard", "protect_deadline_ms", "reconcile_interval_s",
    "shard_heartbeat_timeout_ms",
})  # fmt: skip
#: What the badge says, from the least certain class that is changed.
BADGES = {
    "T": "refused",
    "B": "recomputed",
    "C": "at least",
    "D": "by the day as it was",
    "A": "exact",
    "-": "none",
}
_NOTES = {
    "T": "{names} shape the buckets or the oscillator; that cannot be told from what was kept. A "
    "tape can: manage.py lab decisions TAPE {sets}",
    "B": "{names} shape the oscillator: it was recomputed from the kept buckets of those that were "
    "candidates or near misses. Of all others nothing is said; a tape knows them: "
    "manage.py lab run TAPE {sets}",
    "C": "{names} decide who becomes a candidate. Of the others only near misses were kept: it may "
    "be more. A tape knows all of them: manage.py lab run TAPE {sets}",
    "D": "{names} change the day's path. Each round is judged by the account as it really was; a "
    "tape plays the whole day: manage.py lab run TAPE {sets}",
    "A": "The stored rounds are decided again by the same rules.",
    "-": "No decision reads {names}.",
}


def class_of(name: str) -> str:
    """Return the class of a parameter: A, B, C, D, or - when no decision reads it."""
    for letter, names in (("B", FEATURES), ("C", POPULATION), ("D", PATH), ("-", NO_DECISION)):
        if name in names:
            return letter
    return "A"


@dataclass(frozen=True, kw_only=True)
class Honesty:
    """How far an answer can be trusted. `classes`: of each changed parameter."""

    badge: str
    note: str
    classes: dict[str, str]

    @property
    def refused(self) -> bool:
        return self.badge == BADGES["T"]

    @property
    def reshapes(self) -> bool:
        return self.badge == BADGES["B"]

    @property
    def by_the_day(self) -> bool:
        """Is the day's path the least certain that it changes?"""
        return self.badge == BADGES["D"]

    @property
    def repopulates(self) -> bool:
        """Would others be candidates?"""
        return bool({"B", "C"}.intersection(self.classes.values()))


def honesty_of(
    olds: Iterable[Mapping[str, Any]], new: Mapping[str, Any], *, kept: bool = False
) -> Honesty:
    """Return what can be said of the change to another set from those that counted before.

    Args: kept: the buckets of the candidates can be read.
    """
    known = [old for old in olds if old]
    changed = [name for name in new if any(old.get(name) != new[name] for old in known)]
    classes = {name: class_of(name) for name in changed}
    told = {name: _told(name, new, kept=kept) for name in changed}
    letter = next((one for one in BADGES if one in told.values()), "A")
    names = [name for name in changed if told[name] == letter]
    note = _NOTES[letter].format(
        names=" and ".join(names), sets=" ".join(f"--set {n}={_word(new[n])}" for n in changed)
    )
    return Honesty(badge=BADGES[letter], note=note, classes=classes)


def _told(name: str, new: Mapping[str, Any], *, kept: bool) -> str:
    """A class, or T when only a tape can tell; quote midpoints are not kept in the archive."""
    unkept = name in TAPE_ONLY or (name == "bar_price_source" and new[name] == "mid")
    return "T" if class_of(name) == "B" and (unkept or not kept) else class_of(name)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class Again:
    """One stored round under the other set. `exact`: nothing before it went another way."""

    k: int
    exact: bool
    records: dict[str, DecisionRecord]  # by candidate id
    unknown: frozenset[str]  # candidate ids whose buckets are gone: they take no part
    fired: tuple[str, ...]  # candidate ids
    gained: tuple[str, ...]  # would fire, did not
    lost: tuple[str, ...]  # fired, would not


#: A candidate under the new set, given its burst as latched at birth; None: its buckets are gone.
Reshape = Callable[[Candidate, int, tuple[int, int] | None], Candidate | None]


@dataclass(kw_only=True)
class Retrial:
    """Decides stored rounds again, oldest first.

    Args:
        new: the complete set to try; fired: ids that really fired, by bucket.
        repopulate: its thresholds bear other candidates than the stored ones.
        reshape: called with a candidate and its round's parameter version, for class B.
        streaks: those before the first round.
    """

    new: Mapping[str, Any]
    repopulate: bool
    fired: Mapping[int, frozenset[str]]
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    reshape: Reshape | None = None
    _latched: dict[str, tuple[int, int]] = field(default_factory=dict)  # by symbol, while it lives
    _judged: set[str] = field(default_factory=set)  # candidates whose birth was looked at
    _alive: dict[str, str] = field(default_factory=dict)  # symbol → candidate id
    _entered: set[str] = field(default_factory=set)
    _apart: bool = False

    def rounds(self, stored: Iterable[RoundInput]) -> Iterator[Again]:
        """Yield each round's answer; a symbol entered before counts as busy from then on."""
        for inputs in stored:
            shaped, unknown = self._shaped(inputs)
            found = self._populated(shaped) if self.repopulate else shaped
            busy = inputs.busy_symbols
            yield self._decide(
                replace(
                    inputs,
                    candidates=found,
                    busy_symbols=None if busy is None else busy | self._entered,
                ),
                unknown,
            )

    def _shaped(self, inputs: RoundInput) -> tuple[tuple[Candidate, ...], frozenset[str]]:
        """Return the candidates with their new numbers, and the ids of those that have none."""
        if self.reshape is None:
            return inputs.candidates, frozenset()
        found, unknown = [], set()
        for c in inputs.candidates:
            since = self._latched.get(c.symbol)
            shaped = self.reshape(c, inputs.params_version, since)
            if shaped is None:
                unknown.add(c.candidate_id)
            else:
                found.append(shaped)
        return tuple(found), frozenset(unknown)

    def _decide(self, inputs: RoundInput, unknown: frozenset[str]) -> Again:
        answer = decide(inputs, self.new, self.streaks)
        self.streaks = answer.streaks
        fired = tuple(entry.candidate_id for entry in answer.entries)
        really = self.fired.get(inputs.k, frozenset())
        gained = tuple(one for one in fired if one not in really)
        lost = tuple(sorted(really.difference(fired) - unknown))
        exact = not self._apart
        self._apart = self._apart or bool(gained or lost)
        known = {record.candidate_id: record for record in answer.records}
        self._entered |= {known[one].symbol for one in gained}
        return Again(
            k=inputs.k,
            exact=exact,
            records=known,
            unknown=unknown,
            fired=fired,
            gained=gained,
            lost=lost,
        )

    def _populated(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Return the candidates with births and ends by the new thresholds.

        One that was born before the first round is believed: its birth was not seen.
        """
        limits = life.thresholds_of(self.new)
        found, alive = [], {}
        for c in candidates:
            older = not c.shadow and c.born_k < c.k and c.candidate_id not in self._judged
            lives = (older or c.symbol in self._alive) and c.x > limits.exit_magnitude
            if not c.shadow and not older:
                self._judged.add(c.candidate_id)
            if lives or life.passes(evidence_of(c, self.new), limits):
                name = self._alive.get(c.symbol, c.candidate_id) if c.shadow else c.candidate_id
                alive[c.symbol] = name
                found.append(msgspec.structs.replace(c, shadow=False, candidate_id=name))
            else:
                found.append(msgspec.structs.replace(c, shadow=True))
        self._alive = alive
        born = {c.symbol: (c.b, c.flat_len) for c in found if not c.shadow}
        self._latched = {symbol: self._latched.get(symbol, born[symbol]) for symbol in alive}
        return tuple(found)


def evidence_of(c: Candidate, parameters: Mapping[str, Any]) -> Evidence:
    """Return what a birth is judged by, with the numbers of the candidate's bucket."""
    return Evidence(
        x=c.x,
        z=c.z,
        accel=acceleration(c, parameters),
        flat_length=c.flat_len,
        volume=c.cum_volume,
        dollars=c.cum_dollars,
        surge=c.surge,
        burst_length=c.k - c.b + 1,
        jump_share=math.nan if c.jump_share is None else c.jump_share,
        trades=c.burst_trades,
        synthetic_share=c.synthetic_share,
    )
