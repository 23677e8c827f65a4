"""Places where a process may die, by name: a test lets it happen there, in every one of them.

Nothing happens at a place unless something was armed: `arm` in a test or the simulation, or
`TRADEPLANE_FAILPOINTS=name[@n]=kill` in the environment of a process that is meant to die; with
`kill_once` only the first process of a home dies, and the one that takes its place does not.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

#: Every place, in the order of an order's life; a test holds the code to this list.
POINTS = (
    "rounds.after_decision",
    "journal.after_intent",
    "journal.after_attempt",
    "journal.before_send",
    "journal.after_answer",
    "journal.after_store",
    "state.after_raw",
    "state.mid_booking",
    "state.after_booking",
    "resolver.after_404",
    "protect.before_oco",
    "exit.after_patch",
    "exit.after_cancel",
    "exit.before_sell",
    "cover.before_buy",
    "day_end.after_close_all",
    "lease.after_renew",
    "kill.after_level",
)
#: In the home of a process that has died at a place.
DONE = "failpoint.done"
_hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that a place is reached."""
    if _hook is not None:
        _hook(name)


def arm(hook: Callable[[str], None] | None) -> None:
    """Call `hook(name)` at every place from now on; None: never again."""
    global _hook
    _hook = hook


def arm_from(text: str, home: Path) -> None:
    """Arm from an environment's text, "" arms nothing.

    Args: text: `name=kill`, or `name@n=kill` for the n-th time that the place is reached; home:
        where `kill_once` remembers that it has happened.
    Raises:
        ValueError: an unknown place or action.
    """
    if not text:
        return
    place, _, action = text.partition("=")
    name, _, nth = place.partition("@")
    if name not in POINTS or action not in ("kill", "kill_once") or not (nth or "1").isdigit():
        raise ValueError(f"not a fail point: {text!r}")
    done = home / DONE
    if action == "kill_once" and done.exists():
        return
    left = int(nth or "1")

    def hook(reached: str) -> None:
        nonlocal left
        left -= reached == name
        if left <= 0 and reached == name:
            done.write_text(text)
            os.kill(os.getpid(), signal.SIGKILL)

    arm(hook)
