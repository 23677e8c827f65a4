"""Keeps every letter with a shard that lives: take-over, joining, draining, plans; what is dark.

`look` may be called at any time and costs little; it acts a few times in a second at most. Nobody
living gives anything away when another dies, so that what works goes on undisturbed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from execution import selectors
from execution.hub.grants import Grant
from execution.hub.roster import LEASE_S, Beats, Roster
from execution.services import runs
from shards.letters import Range, merge, pattern
from shards.split import Assigned, planned, take_over
from signals.build import build

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

LOOK_S = 0.25
WISHES_S = 1.0
STARTUP_LEASE_S = 20.0  # before rounds begin nothing is lost; a first start compiles kernels
JOIN_AFTER_S = 5.0  # a shard that dies again and again must not move letters each time


class Allotment:
    """Args: load: the prints per cell that the shards have measured in this run."""

    def __init__(self, hub: "Coordinator", load: Callable[[], dict[str, int]] = dict) -> None:
        self.hub = hub
        self.roster = Roster(mono=hub.mono)
        self.dark: dict[int, tuple[int, float, str]] = {}  # grant -> since (market, process), why
        self.drained: set[int] = set()
        self.other_builds: dict[int, str] = {}  # shards that run another program than we do
        self._load = load
        self._plan = selectors.shard_plan()
        self._looked = self._wished = float("-inf")

    # --- who may have letters ---------------------------------------------------------------------
    @property
    def living(self) -> list[int]:
        """The shards that live and take part."""
        return sorted(self.roster.alive - self.drained)

    @property
    def reporting(self) -> set[int]:
        """The grants whose report a round waits for."""
        alive, grants = self.roster.alive, self.hub.shard_desk.grants
        able = {n for n, one in grants.items() if one.shard in alive and n not in self.dark}
        return able or set(grants)

    def begin(self) -> None:
        """Give out the letters for the first time."""
        self._follow_plan()

    # --- the look ---------------------------------------------------------------------------------
    def look(self) -> None:
        """Do what the heart-beats, people's changes and the time ask for."""
        hub, desk, now = self.hub, self.hub.shard_desk, self.hub.mono()
        if now - self._looked < LOOK_S:
            self._note_light()  # the round that is open may wait for its report
            return
        self._looked = now
        beats = hub.beats()
        self.roster.lease_s = LEASE_S if hub.state == "running" else STARTUP_LEASE_S
        self.roster.look(beats)
        mine = build()
        told = {n: beat.get("build", "") for n, beat in beats.items() if n in self.roster.alive}
        self.other_builds = {n: one for n, one in told.items() if one not in ("", mine)}
        self._see_wishes(now)
        if desk.grants and self.living:
            self._move_letters()
        self._assign(beats)
        self._note_dark()

    def _see_wishes(self, now: float) -> None:
        """Read what people have changed."""
        if now - self._wished >= WISHES_S:
            self._wished = now
            self.drained, self._plan = selectors.drained_shards(), selectors.shard_plan()

    def _move_letters(self) -> None:
        desk, living = self.hub.shard_desk, self.living
        leaving = desk.shards - set(living)
        if leaving:
            gone = [f"{shard} {self._why_gone(shard)}" for shard in sorted(leaving)]
            wanted = take_over(desk.assigned, living, self._measured())
            heirs = ", ".join(map(str, living))
            self._give(wanted, f"shard {', '.join(gone)}: {heirs} take over")
        elif self._key() != self.hub.run.plan:
            self._follow_plan()
        elif not desk.unready and not self.dark:
            self._let_join()

    def _why_gone(self, shard: int) -> str:
        return "is taken out" if shard in self.drained else "is silent"

    def _let_join(self) -> None:
        """Give their share to those that live without letters, when they have proved steady."""
        desk = self.hub.shard_desk
        fresh = (set(self.living) - desk.shards) & self.roster.steady(JOIN_AFTER_S)
        if not fresh:
            return
        wanted = self._wanted()
        if any(wanted.get(shard) for shard in fresh):
            joined = ", ".join(map(str, sorted(fresh)))
            self._give(wanted, f"shard {joined} takes its share")

    def _follow_plan(self) -> None:
        word = self._plan[1]
        self._give(self._wanted(), f"letters are given out by {word}")
        runs.update_run(self.hub.run, plan=self._key())

    def _key(self) -> list[Any]:
        return [self._plan[0], int(self.hub.shard_desk.parameters["letters_per_shard"])]

    def _wanted(self) -> Assigned:
        _, each = self._key()
        return planned(self._plan[1], self.living, letters_per_shard=each, load=self._measured())

    def _measured(self) -> Mapping[str, float]:
        return self._load() or selectors.measured_load(before=self.hub.run)

    # --- giving and assigning ---------------------------------------------------------------------
    def _give(self, wanted: Mapping[int, Sequence[Range]], why: str) -> None:
        hub, desk = self.hub, self.hub.shard_desk
        before = desk.assigned
        fresh = desk.give({s: r for s, r in wanted.items() if r}, self._owed_from)
        hub.intake.keep_only(set(desk.grants))
        self.expect()
        self.dark = {n: dark for n, dark in self.dark.items() if n in desk.grants}
        runs.update_run(hub.run, load=dict(self._load()) or hub.run.load)
        if before:
            for grant in fresh:
                self._darken(grant.number, "taking over")
            hub.note("shard", why, level="warning", letters=_words(desk.assigned))

    def expect(self) -> None:
        """Let the next stop wait for the grants that count."""
        grants = self.hub.shard_desk.grants
        self.hub.barrier.expect({number: grant.shard for number, grant in grants.items()})

    def _owed_from(self, before: Sequence[Grant]) -> int:
        """Return the first bucket that nobody has told of these grants, or no round has closed.

        By the clock it is the newest round's at the latest, though that was told: a new owner that
        tells it again is known to be whole at once, not only when the next bucket ends.
        """
        last_k = self.hub.rounds.last_k
        if last_k is None:
            return 0
        latest = self.hub.intake.latest
        told = [latest[one.number].k + 1 if one.number in latest else one.from_k for one in before]
        newest = last_k + self.hub.shard_desk.lockstep
        return min([newest, *(k for k in told if k)])

    def _assign(self, beats: Beats) -> None:
        desk = self.hub.shard_desk
        for grant in desk.look_after(beats):
            self._darken(grant.number, "a new life")
            said = f"shard {grant.shard} begins anew: no entries in {_words_of(grant.ranges)}"
            self.hub.note("shard", said, level="warning")
        if desk.unready:
            desk.assign_where_owed(lambda grant: max(grant.from_k, self._owed_from([grant])))

    # --- what is dark -----------------------------------------------------------------------------
    def _darken(self, number: int, why: str) -> None:
        hub = self.hub
        self.dark.setdefault(number, (hub.clock.now_ns(), hub.mono(), why))

    def _note_dark(self) -> None:
        alive = self.roster.alive
        for number, grant in self.hub.shard_desk.grants.items():
            if grant.shard not in alive and number not in self.dark:
                self._darken(number, "silent")
                said = f"shard {grant.shard} is silent: no entries in {_words_of(grant.ranges)}"
                self.hub.note("shard", said, level="alarm")
        self._note_light()
        self._keep_dark()

    def _note_light(self) -> None:
        """Say which dark letters are reported again."""
        hub, alive, before = self.hub, self.roster.alive, len(self.dark)
        for number in sorted(self.dark):
            grant = hub.shard_desk.grants[number]
            if grant.shard in alive and self._tells(grant):
                _, since, _ = self.dark.pop(number)
                took = round(hub.mono() - since, 2)
                said = f"shard {grant.shard} reports {_words_of(grant.ranges)} after {took} s"
                hub.note("shard", said, after_s=took)
        if len(self.dark) < before:
            self._keep_dark()

    def _keep_dark(self) -> None:
        """Keep with the run what is dark, for the pages."""
        grants = self.hub.shard_desk.grants
        rows = [self._row(grants[n], *dark) for n, dark in sorted(self.dark.items())]
        if rows != self.hub.run.dark:
            runs.update_run(self.hub.run, dark=rows)

    def _tells(self, grant: Grant) -> bool:
        """Is it taken up, and has it told of the newest round, or of a later bucket?"""
        hub = self.hub
        ready, report = hub.shard_desk.ready.get(grant.number), hub.intake.latest.get(grant.number)
        if ready is None:
            return False
        if hub.rounds.last_k is None:
            return True
        return report is not None and report.epoch == ready.epoch and report.k >= hub.rounds.last_k

    def _row(self, grant: Grant, since_ns: int, _: float, why: str) -> dict[str, Any]:
        ranges = [list(one) for one in grant.ranges]
        return {"ranges": ranges, "shard": grant.shard, "since_ns": since_ns, "why": why}


def _words(assigned: Mapping[int, Sequence[Range]]) -> dict[str, str]:
    return {str(shard): _words_of(ranges) for shard, ranges in assigned.items()}


def _words_of(ranges: Sequence[Range]) -> str:
    return " ".join(map(pattern, merge(ranges)))
