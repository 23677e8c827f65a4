"""The worker bootstep that keeps a resident engine beside a Celery worker's task loop.

An endless Celery *task* would be delivered again after the visibility timeout: two engines trading
at once. A bootstep of the *worker* blueprint has one life per process; the *consumer* blueprint
would be torn down at every broker reconnect. (docs/decisions/celery.md)
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any, Protocol

import click
from celery import Celery, bootsteps
from celery.signals import worker_shutting_down
from celery.worker import state as worker_state
from django.conf import settings

logger = logging.getLogger(__name__)

LOOK_S = 0.25
BACKOFF_S = (0.5, 1.0, 2.0)
DEATHS_MAX = 3
DEATHS_WITHIN_S = 60.0
EXIT_RESIDENT_DIED = 70
HUB_QUEUES = ("hub.reports", "hub.decide", "hub.orders")
STANDBY_QUEUE = "hub.standby"  # a worker must have one; nobody sends there
REPORT_EXPIRES_S = 60.0


class Resident(Protocol):
    """What lives beside the tasks: its own threads, started and stopped from outside.

    begins_anew: it has ended by itself, and well, so that a fresh one takes its place.
    """

    begins_anew: bool

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def is_alive(self) -> bool: ...


class Watchdog:
    """Keeps one resident alive: restarts with back-off, gives up after 3 deaths in a minute.

    Args: make builds a fresh resident; give_up is told once when the whole process should leave.
    """

    def __init__(
        self,
        make: Callable[[], Resident],
        *,
        give_up: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._give_up = give_up
        self._clock = clock
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX + 1)
        self._stopping = threading.Event()
        self._stop_once = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.resident: Resident | None = None

    def start(self) -> None:
        self.resident = self._started()
        self._thread.start()

    def stop(self) -> None:
        """Stop the resident; a second call waits for the first and does nothing."""
        self._stopping.set()
        with self._stop_once:
            resident, self.resident = self.resident, None
            if resident is not None:
                resident.stop()

    def look(self) -> float | None:
        """One look; returns the seconds to wait before a restart, None when there is no need."""
        resident = self.resident
        if resident is None or resident.is_alive() or self._stopping.is_set():
            return None
        if resident.begins_anew:
            resident.begins_anew = False  # once: if no fresh one starts, that is a death
            return 0.0
        now = self._clock()
        self._deaths.append(now)
        recent = sum(1 for death in self._deaths if now - death <= DEATHS_WITHIN_S)
        if recent > DEATHS_MAX:
            logger.critical("resident died too often", extra={"deaths": recent})
            self._stopping.set()
            self._give_up()
            return None
        logger.error("resident died", extra={"deaths": recent})
        return BACKOFF_S[recent - 1]

    def restart(self) -> None:
        """Replace the resident that has ended by a fresh one, unless we are stopping.

        One that cannot even start stays dead: the next look counts it.
        """
        with self._stop_once:
            if not self._stopping.is_set():
                try:
                    self.resident = self._started()
                except Exception:  # whatever it is, the limit of deaths decides
                    logger.exception("resident does not start")

    def _started(self) -> Resident:
        resident = self._make()
        resident.start()
        return resident

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            wait_s = self.look()
            if wait_s is not None and not self._stopping.wait(wait_s):
                self.restart()


class ResidentStep(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
    """Starts the shard's engine (`--shard N`) or the hub's coordinator (`--hub`)."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(
        self,
        parent: Any,
        shard: int | None = None,
        hub: bool = False,
        take_over: bool = False,
        **options: Any,
    ):
        self.shard = shard
        self.hub = hub
        #: Once: a hub that lost its lease again must not take it back.
        self._take_over = chain([take_over], repeat(False))
        self.watchdog: Watchdog | None = None
        super().__init__(parent, **options)

    def include_if(self, parent: Any) -> bool:
        return self.shard is not None or self.hub

    def start(self, parent: Any) -> None:
        def make() -> Resident:
            if self.hub:
                take_over = next(self._take_over)
                return _make_hub(take_over=take_over, leads=lambda now: _take_tasks(parent, now))
            return _make_shard(parent.app, self.shard or 0)

        self.watchdog = Watchdog(make, give_up=_leave_worker)
        self.watchdog.start()
        # A warm shutdown is noticed by the main loop within a second; the engine need not wait.
        worker_shutting_down.connect(self._stop_soon, weak=False)

    def stop(self, parent: Any) -> None:
        if self.watchdog is not None:
            self.watchdog.stop()

    terminate = stop

    def _stop_soon(self, **_: Any) -> None:
        if self.watchdog is not None:
            threading.Thread(target=self.watchdog.stop, daemon=True).start()


def install(app: Celery) -> None:
    """Give the app's workers the options and the step."""
    app.user_options["worker"].add(
        click.Option(("--shard",), type=int, default=None, help="run the engine of this shard")
    )
    app.user_options["worker"].add(
        click.Option(("--hub",), is_flag=True, help="run the hub's coordinator")
    )
    app.user_options["worker"].add(
        click.Option(("--take-over",), is_flag=True, help="take the lease from a living hub")
    )
    app.steps["worker"].add(ResidentStep)


def _leave_worker() -> None:
    worker_state.should_stop = EXIT_RESIDENT_DIED


def _make_shard(app: Celery, shard: int) -> Resident:
    from shards.resident import ShardResident  # noqa: PLC0415 - a hub must not load numba

    resident: Resident = ShardResident(
        shard_id=shard,
        relay_url=settings.RELAY_URL,
        relay_key=settings.RELAY_KEY_ID,
        relay_secret=settings.RELAY_SECRET,
        relay_ca_file=settings.RELAY_CA_FILE,
        redis_url=settings.REDIS_STATE_URL,
        publish=lambda task, kwargs: _publish(app, task, kwargs),
        archive=settings.ARCHIVE_HOME,
    )
    return resident


def _make_hub(*, take_over: bool, leads: Callable[[bool], None]) -> Resident:
    from execution.resident import HubResident  # noqa: PLC0415 - a shard must not load the SDK

    resident: Resident = HubResident(take_over=take_over, leads=leads)
    return resident


def _take_tasks(worker: Any, now: bool) -> None:
    """Take the hub's tasks while this hub leads, and only then; called from any thread.

    A standby that took a report or a round would lose it for the leader.
    """
    worker.consumer.call_soon(_follow, worker.consumer, now)


def _follow(consumer: Any, now: bool) -> None:
    follow = consumer.add_task_queue if now else consumer.cancel_task_queue
    for name in HUB_QUEUES:
        follow(name)


def _publish(app: Celery, task: str, kwargs: dict[str, Any]) -> None:
    """Send one message to the hub, once: the shard keeps and re-sends what may be lost.

    Reports of a tape run do not expire: its clock waits for the slowest.
    """
    app.send_task(
        task,
        kwargs=kwargs,
        queue="hub.reports",
        expires=None if settings.VENUE_LOCKSTEP_URL else REPORT_EXPIRES_S,
        retry=False,
        ignore_result=True,
    )
