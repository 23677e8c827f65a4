"""Moves the market: a tape in lock-step, paced, or as fast as its readers; the host's clock alone.

Whatever the mode, one step is always: data up to a time, the clock frame, trade updates, and in
lock-step the stop.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from execution.venue import days
from execution.venue.datafeed import DataFeed
from execution.venue.grid import Grid
from execution.venue.lockstep import LockstepDesk, Stop
from execution.venue.options import VenueOptions
from execution.venue.replay import Replay
from execution.venue.updates import UpdateStream

logger = logging.getLogger(__name__)
SECOND_NS = 1_000_000_000
TICK_S = 0.01
CLOCK_EVERY_NS = SECOND_NS // 4
REPORT_EVERY_NS = SECOND_NS
STEP_NS = SECOND_NS  # the longest stretch of tape handled at once when it does not stop
GOODBYE_S = 2.0
WARM_UP_SPEED = 20.0  # relay and shards on two cores follow it without falling behind


@dataclass
class StopCosts:
    """What the stops of a lock-step run cost, process seconds."""

    stops: int = 0
    working_s: float = 0.0
    waiting_s: float = 0.0
    started_s: float = field(default_factory=time.perf_counter)

    def facts(self) -> dict[str, float]:
        stops = max(self.stops, 1)
        return {
            "stops": self.stops,
            "seconds": round(time.perf_counter() - self.started_s, 3),
            "venue_ms_per_stop": round(1000 * self.working_s / stops, 3),
            "hub_ms_per_stop": round(1000 * self.waiting_s / stops, 3),
        }


class Player:
    """`state` is waiting, running, stopped or ended; requests are stamped with `now_ns()`."""

    def __init__(
        self,
        options: VenueOptions,
        replay: Replay,
        feed: DataFeed,
        updates: UpdateStream,
        desk: LockstepDesk,
        host_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.options = options
        self.replay = replay
        self.state = "waiting"
        self.stop: Stop | None = None
        self.costs = StopCosts()
        self._feed = feed
        self._updates = updates
        self._desk = desk
        self._host_ns = host_ns
        self._shown_ns = options.start_ns - 1
        self._grid = Grid(options.session, options.start_ns, options.last_ns)

    @property
    def lockstep(self) -> bool:
        return self.stop is not None

    def now_ns(self) -> int:
        """Return the market clock. Between two steps of a paced tape it stands still."""
        if self.options.tape is None:
            return self._host_ns()
        return self.replay.now_ns

    def shown_ns(self) -> int:
        """Return the time up to and including which clients have been sent everything."""
        return self._shown_ns if self.options.tape is not None else self._host_ns()

    async def run(self) -> None:
        """Play to the end of the tape; without one, forever.

        Raises:
            TapeError: the tape turned out to be damaged.
        """
        if self.options.tape is None:
            await self._follow_host()
        speed = self.options.speed
        if speed is not None:
            await self._desk.report(self.replay.now_ns, end=False, speed=speed)
        await self._readiness()
        if speed is not None:
            await self._pace(max(speed, WARM_UP_SPEED), until_ns=self.options.live_ns)
            await self._pace(speed)
        elif self._desk.attached.is_set():
            await self._stop_by_stop()
        else:
            await self._free_run()
        self.state = "ended"

    async def _readiness(self) -> None:
        """Wait for the readers the tape was started for, or for the hub."""
        waiting: set[asyncio.Task[object]] = set()
        at_max = self.options.speed is None
        if at_max:
            waiting.add(asyncio.create_task(self._desk.attached.wait()))
        if not (at_max and self.options.lockstep):
            waiting.add(asyncio.create_task(self._feed.wait_for(self.options.wait_for)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    # --- lock-step --------------------------------------------------------------------------------
    async def _stop_by_stop(self) -> None:
        self.costs = StopCosts()
        number = 0
        while True:
            end = self.replay.now_ns >= self._grid.end_ns(self._desk.grace_ns)
            emitted = self.replay.engine.updates_emitted
            self.stop = Stop(number, self.replay.now_ns, emitted, end)
            self.state = "stopped"
            started = time.perf_counter()
            wake_at_ns = await self._desk.offer(self.stop)
            continued = time.perf_counter()
            if end:
                break
            self.state = "running"
            number += 1
            await self._to_next_stop(number, wake_at_ns)
            self.costs.stops += 1
            self.costs.waiting_s += continued - started
            self.costs.working_s += time.perf_counter() - continued
        logger.info("lock-step run over", extra=self.costs.facts())

    async def _to_next_stop(self, number: int, wake_at_ns: int | None) -> None:
        limit = self._grid.next_ns(self.replay.now_ns, self._desk.grace_ns, wake_at_ns)
        await self._move(self.replay.next_event_ns(limit), stop=number)

    async def _move(self, ts_ns: int, *, clock: bool = True, stop: int | None = None) -> None:
        """Take one step: data, then the clock, then trade updates."""
        pieces = self.replay.run_until(ts_ns)
        from_ns, self._shown_ns = self._shown_ns, ts_ns
        await self._feed.step(pieces, from_ns=from_ns, to_ns=ts_ns, clock=clock, stop=stop)
        await self._updates.send(self.replay.engine.take_updates(), ts_ns)

    # --- free and paced ---------------------------------------------------------------------------
    async def _free_run(self) -> None:
        """Play at once, a second of tape at a time; a hub that attaches takes over the clock."""
        self.state = "running"
        started = time.perf_counter()
        end_ns = self._grid.end_ns(self._desk.grace_ns)
        while self.replay.now_ns < end_ns:
            if self._desk.attached.is_set():
                await self._stop_by_stop()
                return
            await self._move(min(self.replay.now_ns + STEP_NS, end_ns))
            await asyncio.sleep(0)  # let requests in, however fast the readers are
        logger.info("tape played", extra={"seconds": round(time.perf_counter() - started, 3)})

    async def _pace(self, speed: float, *, until_ns: int | None = None) -> None:
        """Play `speed` market seconds a second, up to `until_ns` or to the end of the tape."""
        self.state = "running"
        start_ns, began = self.replay.now_ns, time.perf_counter()
        last = until_ns is None
        end_ns = self._grid.end_ns(self._desk.grace_ns) if until_ns is None else until_ns
        clock_ns = report_ns = start_ns
        while self.replay.now_ns < end_ns:
            passed_ns = int((time.perf_counter() - began) * speed * SECOND_NS)
            target_ns = min(start_ns + passed_ns, end_ns, self.replay.now_ns + STEP_NS)
            if target_ns > self.replay.now_ns:
                due = target_ns >= clock_ns
                await self._move(target_ns, clock=due)
                clock_ns = target_ns + CLOCK_EVERY_NS if due else clock_ns
            if self.replay.now_ns >= report_ns:
                end = last and self.replay.now_ns >= end_ns
                await self._desk.report(self.replay.now_ns, end=end, speed=speed)
                report_ns = self.replay.now_ns + REPORT_EVERY_NS
            if target_ns < start_ns + passed_ns:
                await asyncio.sleep(0)  # behind: catch up
            else:
                await asyncio.sleep(TICK_S)
        if last:
            await self._desk.report(self.replay.now_ns, end=True, speed=speed)

    async def _follow_host(self) -> None:
        """Serve without a tape: the host's clock, no market data, orders that wait for it."""
        self.state = "running"
        clock_ns = 0
        while True:
            now_ns = self._host_ns()
            if now_ns >= self.replay.engine.session.close_ns:
                self.replay.run_until(self.replay.engine.session.close_ns)
                self.replay.engine.open_session(days.next_session(now_ns))
            await self._move(now_ns, clock=now_ns >= clock_ns)
            clock_ns = now_ns + CLOCK_EVERY_NS if now_ns >= clock_ns else clock_ns
            await asyncio.sleep(TICK_S * 5)
