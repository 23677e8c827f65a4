"""Start children, keep them running, stop them in the reverse order of their stages.

No thread of its own: `start`, `watch` and `stop` are called from the main thread, because a child
is tied to the thread that started it.
"""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tradeplane.runtime.children import Child, Say, Spec

POLL_S = 0.1
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_S = 60.0  # alive this long: its earlier deaths are forgotten
START_TRIES = 3


class StartFailed(RuntimeError):
    """A child does not come up; one line says which and why."""


class FatalDeath(RuntimeError):
    """A child that must not die has died; one line says which and why."""


@dataclass(kw_only=True)
class _Restart:
    deaths: int = 0
    due: float | None = None


class Supervisor:
    """Owns the children of one `up`.

    Args: give_up_after: deaths of one child, none of them after a steady minute, that end the
        whole run; None tries for ever, as an unattended machine should.
    """

    def __init__(
        self,
        *,
        log_dir: Path,
        say: Say,
        base: Mapping[str, str],
        give_up_after: int | None = None,
    ) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._give_up_after = give_up_after
        self._log_dir = log_dir
        self._say = say
        self._base = base
        self._children: list[Child] = []
        self._restarts: dict[str, _Restart] = {}

    @property
    def children(self) -> list[Child]:
        return list(self._children)

    def start(self, specs: Iterable[Spec], *, stopping: Callable[[], bool]) -> None:
        """Start these children in the order of their stages and wait until all are ready.

        Raises:
            StartFailed: a child died `START_TRIES` times or was not ready in time.
            FatalDeath: a fatal child, of this or an earlier call, has ended.
        """
        fresh = [self._add(spec) for spec in sorted(specs, key=_stage)]
        for child in fresh:
            child.start()
        for child in fresh:
            self._wait_ready(child, stopping)

    def watch(self) -> None:
        """One look at all children: note deaths, restart what is due.

        Raises:
            FatalDeath: a fatal child has ended, or one has died too often.
        """
        now = time.monotonic()
        for child in self._children:
            state = self._restarts[child.spec.name]
            if child.exit_code is None:
                if state.deaths and now - child.started_at > STEADY_S:
                    state.deaths = 0
                continue
            if child.spec.fatal:
                raise FatalDeath(_obituary(child))
            if state.due is None:
                self._note_death(child, state, now)
            elif now >= state.due:
                state.due = None
                child.start()
                self._say("up", f"{child.spec.name} restarted, process id {child.pid}")

    def stop(self) -> None:
        """Stop all, last stage first; what does not go in its time is killed."""
        for _, stage in groupby(sorted(self._children, key=_stage_of, reverse=True), key=_stage_of):
            group = list(stage)
            for child in group:
                child.signal_group(signal.SIGTERM)
            deadline = time.monotonic() + max(child.spec.stop_within_s for child in group)
            for child in group:
                if not child.wait(max(0.1, deadline - time.monotonic())):
                    self._say("up", f"{child.spec.name} did not stop in time: killed")
                    child.kill()
        self._children.clear()

    def _add(self, spec: Spec) -> Child:
        child = Child(spec, log_dir=self._log_dir, say=self._say, base=self._base)
        self._children.append(child)
        self._restarts[spec.name] = _Restart()
        return child

    def _wait_ready(self, child: Child, stopping: Callable[[], bool]) -> None:
        deadline = time.monotonic() + child.spec.ready_within_s
        deaths = 0
        while not child.is_ready():
            if stopping():
                return
            self._look_at_the_others(child)
            if child.exit_code is not None:
                deaths += 1
                if child.spec.fatal or deaths >= START_TRIES:
                    raise StartFailed(f"{child.spec.name} does not start: {child.last_words()}")
                time.sleep(BACKOFF_S[deaths - 1])
                child.start()
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{child.spec.name} is not ready after {child.spec.ready_within_s:.0f} s; "
                    f"its last words: {child.last_words()}"
                )
            time.sleep(POLL_S)

    def _look_at_the_others(self, waiting_for: Child) -> None:
        """A fatal child that dies while a later one starts must not cost the whole time limit."""
        for child in self._children:
            if child is not waiting_for and child.spec.fatal and child.exit_code is not None:
                raise FatalDeath(_obituary(child))

    def _note_death(self, child: Child, state: _Restart, now: float) -> None:
        child.signal_group(signal.SIGKILL)  # grandchildren, if it had any
        wait = BACKOFF_S[min(state.deaths, len(BACKOFF_S) - 1)]
        state.deaths += 1
        if self._give_up_after is not None and state.deaths >= self._give_up_after:
            raise FatalDeath(
                f"{child.spec.name} died {state.deaths} times; its last words: {child.last_words()}"
            )
        state.due = now + wait
        self._say("up", f"{child.spec.name} died ({_how(child)}); restart in {wait:g} s")


def _how(child: Child) -> str:
    code = child.exit_code
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _obituary(child: Child) -> str:
    """One that was killed had no time for a reason of its own."""
    if (child.exit_code or 0) < 0:
        return f"{child.spec.name} died ({_how(child)}): the run cannot go on without it"
    return f"{child.spec.name} stopped: {child.last_words()}"


def _stage(spec: Spec) -> int:
    return spec.stage


def _stage_of(child: Child) -> int:
    return child.spec.stage
