"""The hub's resident: a coordinator in a thread of its own beside the worker's task loop."""

import gc
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import close_old_connections, connections

from execution.brokers.connect import connect
from execution.brokers.port import Broker
from execution.errors import DayOver, LeaseLost, RunFailed, Stopping
from execution.hub.books_watch import BooksWatch
from execution.hub.config import HubConfig
from execution.hub.coordinator import Coordinator
from execution.hub.finish import elapsed_since, finish
from execution.hub.inbox import Inbox
from execution.hub.kill_watch import KillWatch
from execution.hub.live import Live
from execution.hub.shard_desk import read_beats, read_load, write_fence
from execution.hub.startup import Startup
from execution.hub.stops import run_lockstep
from execution.models import RunState
from execution.redis_line import guarded
from execution.second import SecondHand
from execution.services import lease, runs
from execution.services.entries import SendFacts

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 6.0
#: How often the collector looks. A round of thousands of candidates makes a million objects that
#: live until its decision is stored: with the usual numbers a third of its time went into that.
COLLECTOR = (20_000, 20, 100)

_current: "HubResident | None" = None


def current() -> "HubResident | None":
    """Return the resident of this process, None when it has none (a shard, the web)."""
    return _current


class HubResident:
    """`start` and `stop` are the bootstep's; `post` is everybody's."""

    def __init__(
        self,
        config: HubConfig | None = None,
        *,
        take_over: bool = False,
        leads: Callable[[bool], None] = lambda now: None,
    ) -> None:
        self._take_over = take_over
        self.begins_anew = False
        self.config = config or HubConfig.from_settings()
        self.inbox = Inbox()
        self._stopping = threading.Event()
        self.task_broker = self._broker()  # one session per thread: this one is the tasks'
        state = guarded(self.config.redis_url)
        self.hub = Coordinator(
            config=self.config,
            inbox=self.inbox,
            broker=self._broker(),
            redis=state,
            stopping=self._stopping,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            beats=lambda: read_beats(state),
            fence=lambda run, numbers: write_fence(state, run, numbers),
            measured=lambda run: read_load(state, run),
            leads=leads,
        )
        self._thread = threading.Thread(target=self._run, name="hub-coordinator", daemon=True)
        self.second = SecondHand()
        self._books = BooksWatch(
            lambda: self.hub.run if self.hub.epoch else None, agreed_ns=lambda: self.hub.agreed_ns
        )
        self._kill = KillWatch(self.hub.switches.hurry)

    def start(self) -> None:
        global _current
        before, _current = _current, self
        if before is not None:
            before.retire()  # it died, or its day is over; its watches did not end with it
            gc.unfreeze()  # a hub of many days must not keep what all of them held
            gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR)
        with suppress(OSError):  # it only helps; it is asked for again with the first crowd
            self.second.start()
        self._thread.start()
        self._books.start()
        self._kill.start()

    def retire(self) -> None:
        """End what stands beside the coordinator."""
        self.second.stop()
        self._kill.stop()
        self._books.stop()

    def stop(self) -> None:
        """End the coordinator between two steps; what it was doing is in the database."""
        self._stopping.set()
        self.inbox.wake()
        self.retire()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(STOP_TIMEOUT_S)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def post(self, kind: str, payload: Any = None) -> None:
        self.inbox.post(kind, payload)

    @property
    def epoch(self) -> int:
        return self.hub.epoch

    @property
    def takes_orders(self) -> bool:
        return self.hub.takes_orders

    def send_facts(self) -> SendFacts:
        return self.hub.send_facts()

    def _broker(self) -> Broker:
        return connect(
            key=self.config.broker_key or "none",
            secret=self.config.broker_secret or "none",
            url=self.config.broker_url,
            stream_url=self.config.stream_url,
        )

    def _run(self) -> None:
        close_old_connections()
        try:
            self._live()
        except Stopping:
            logger.info("hub stopped")
        except LeaseLost as exc:
            logger.error("the lease is lost: leaving", extra={"error": str(exc)})
        except DayOver as exc:
            logger.info("the hub begins anew", extra={"why": str(exc)})
            self.begins_anew = True
        except RunFailed as exc:
            self._fail(str(exc))
        finally:
            self._leave()

    def _live(self) -> None:
        hub = self.hub
        if Startup(hub, take_over=self._take_over).run():
            if hub.in_lockstep:
                run_lockstep(hub)
            else:
                Live(hub).run()
            finish(hub, wall_s=elapsed_since(hub.run))
            if hub.stop is not None and hub.lockstep is not None:
                hub.lockstep.proceed(hub.stop.n, None)
        hub.pump(lambda: False)  # stays for the pages until it is told to stop

    def _fail(self, reason: str) -> None:
        logger.error("the run failed", extra={"reason": reason})
        self.hub.note("startup", f"the run failed: {reason}", level="alarm")
        runs.end_run(self.hub.run, state=RunState.FAILED, summary=None)

    def _leave(self) -> None:
        hub = self.hub
        hub.leads(False)
        hub.close_links()
        try:
            if hub.epoch:
                if hasattr(hub, "rounds"):
                    hub.rounds.flush()
                lease.release(hub.epoch)
        except Exception:
            logger.exception("leaving the lease to its end")
        connections.close_all()
