"""Runs, their start-up steps, and the kill switch."""

from datetime import UTC, date, datetime
from typing import Any

from django.db import transaction

from execution import kill_file, selectors
from execution.domain.kill_levels import TURNS, crosses
from execution.errors import SwitchMoved, SwitchStands
from execution.failpoints import reach
from execution.models import KillSwitch, Run, RunState, StartupStep

REASON_MAX = 300


def day_of(run: Run) -> date:
    """Return the trading day of a run that has started.

    Raises:
        ValueError: the start-up has not learned the day yet; nothing may be traded before that.
    """
    if run.day is None:
        raise ValueError(f"run {run.pk} has no trading day yet")
    return run.day


def open_run(run_id: str) -> Run:
    """Return the run, made on its first call."""
    run, _ = Run.objects.get_or_create(pk=run_id)
    return run


def begin_day(run: Run, *, day: date, open_ns: int, close_ns: int) -> bool:
    """Let a run be in this trading day; True when it was in another one.

    What belongs to one day is forgotten then. The letters stay with their shards under new numbers,
    because a number means a session to a shard; the plan is followed again, by the newest load.
    """
    new = run.day not in (None, day)
    fields: dict[str, Any] = {"day": day, "open_ns": open_ns, "close_ns": close_ns}
    if new:
        grants = [
            {**row, "number": number, "from_k": 0}
            for number, row in enumerate(run.grants, run.assignment + 1)
        ]
        fields |= {
            "universe": [], "latches": {}, "prints": 0, "plan": [], "dark": [],
            "grants": grants, "assignment": run.assignment + len(grants),
        }  # fmt: skip
    update_run(run, **fields)
    return new


def update_run(run: Run, **fields: Any) -> None:
    """Change columns of a run, in memory and in the database."""
    for name, value in fields.items():
        setattr(run, name, value)
    Run.objects.filter(pk=run.pk).update(**fields)


def end_run(run: Run, *, state: RunState, summary: dict[str, Any] | None) -> None:
    """Close a run for good; the first end counts."""
    now = datetime.now(UTC)
    Run.objects.filter(pk=run.pk).exclude(state__in=(RunState.ENDED, RunState.FAILED)).update(
        state=state, summary=summary, ended_at=now
    )
    run.refresh_from_db()


def plan_steps(run: Run, names: tuple[str, ...]) -> None:
    """Show the whole sequence before its first step runs; a restart begins it anew."""
    with transaction.atomic():
        for position, name in enumerate(names, 1):
            StartupStep.objects.update_or_create(
                run=run,
                name=name,
                defaults={"position": position, "state": "pending", "reason": ""},
            )


def set_step(run: Run, name: str, state: str, reason: str = "") -> bool:
    """Record a step's state; False when it said the same before."""
    reason = reason[:REASON_MAX]
    otherwise = StartupStep.objects.filter(run=run, name=name)
    otherwise = otherwise.exclude(state=state, reason=reason)
    return bool(otherwise.update(state=state, reason=reason, at=datetime.now(UTC)))


def set_kill_switch(*, level: str, reason: str, actor: str) -> KillSwitch:
    """Turn the kill switch to a stop; the row stays as the record of who and why.

    Raises:
        SwitchStands: a stronger stop stands; what may follow which says `kill_levels.TURNS`.
        ValueError: no such stop, or no reason given.
    """
    if level not in TURNS["none"]:
        raise ValueError(f"no such stop: {level} (there are {', '.join(TURNS['none'])})")
    with transaction.atomic():
        standing = _locked_level()
        if level not in TURNS[standing]:
            raise SwitchStands(standing, level)
        row = _record(level, reason, actor)
    if crosses(kill_file.read()["level"], level):  # else the file would outvote the row
        kill_file.write(level=level, reason=reason, actor=actor, at=row.at.isoformat())
    return _turned(row)


def _turned(row: KillSwitch) -> KillSwitch:
    """The switch stands in the database, whatever happens now."""
    reach("kill.after_level")
    return row


def pause_entries(*, reason: str, actor: str) -> bool:
    """Turn the switch to `pause` unless it stops something already; False when it did."""
    with transaction.atomic():
        if _locked_level() != "none":
            return False
        set_kill_switch(level="pause", reason=reason, actor=actor)
    return True


def reset_kill_switch(*, from_level: str, reason: str, actor: str) -> KillSwitch:
    """End the level that the caller looked at: a stop that came since is not undone.

    Raises:
        SwitchMoved: the switch is at another level.
        ValueError: no reason given.
    """
    with transaction.atomic():
        level = _locked_level()
        if level != from_level or level == "none":
            raise SwitchMoved(f"the kill switch is at {level}, not at {from_level}")
        row = _record("none", reason, actor)
    kill_file.clear()
    return _turned(row)


def _locked_level() -> str:
    """Lock the newest row and return the level that counts: turns come one after the other."""
    KillSwitch.objects.select_for_update().first()
    return selectors.kill_level()


def _record(level: str, reason: str, actor: str) -> KillSwitch:
    if not reason.strip():
        raise ValueError("turning the kill switch needs a reason")
    return KillSwitch.objects.create(level=level, reason=reason[:200], actor=actor[:80])
