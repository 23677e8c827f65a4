"""Lock-step: the tape stops, everybody says that they are done, the hub works and says go on."""

from typing import TYPE_CHECKING

from execution.hub.lockstep import Stop
from execution.services import runs

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

LATE_S = 2.0


def run_lockstep(hub: "Coordinator") -> None:
    """Work off stop after stop until the tape ends."""
    while True:
        hub.pump(lambda: hub.stop is not None)
        stop = hub.stop
        if stop is None:
            continue
        hub.clock.stop_at(stop.t_ns)
        _await_stop(hub, stop)
        started = hub.mono()
        wake_at = _work(hub)
        hub.stop_cost_s += hub.mono() - started
        hub.stops += 1
        if stop.end:
            return
        hub.stop, hub.continued = None, (stop.n, wake_at)
        if hub.lockstep is not None:
            hub.lockstep.proceed(stop.n, wake_at)


def _await_stop(hub: "Coordinator", stop: Stop) -> None:
    """Wait for every shard's acknowledgement and every trade update of the stop."""
    waited = False
    if stop.n == 0:  # nothing was sent before it: who is ready has nothing to do
        for grant in hub.shard_desk.ready:
            hub.barrier.done(grant, 0)
    while not hub.pump(lambda: hub.barrier.complete, LATE_S):
        waited = True
        hub.say_waiting(f"stop {stop.n}: waiting for {hub.barrier.missing()}")
        _ask_again(hub, stop)
    if waited:
        runs.set_step(hub.run, "rounds", "done")
        hub.note("round", f"stop {stop.n}: complete, going on")
    if hub.stream_lost:
        _read_what_was_lost(hub)


def _ask_again(hub: "Coordinator", stop: Stop) -> None:
    """A message, a shard or the stream may be lost; each has its own way back."""
    hub.allotment.look()
    missing = hub.barrier.shards_missing
    if missing:
        hub.shard_desk.ask_again((hub.rounds.last_k or 0) + 1, stop.n, missing)
    if hub.barrier.updates_missing and hub.stream_up:
        _read_what_was_lost(hub)


def _read_what_was_lost(hub: "Coordinator") -> None:
    """The stream was away: the venue stands still, so REST shows all that it would have said."""
    if hub.agreement.compare() and hub.stream_up:
        hub.stream_lost = False
    hub.flow.news = True
    hub.barrier.forgive_updates()


def _work(hub: "Coordinator") -> int | None:
    """Do all that this stop asks for, in canonical order; returns when to be woken."""
    hub.switches.look()
    hub.flow.take_updates()
    hub.flow.act()
    hub.agreement.on_market_time()
    for k in hub.intake.open_ks:
        hub.flow.close_round(k)
    hub.flow.take_late()  # copies only: every report was awaited
    hub.flow.act()
    hub.flow.until_settled()
    if hub.trader.busy or not hub.shard_desk.quiet:
        _tell_the_watchers(hub)
    hub.allotment.look()  # after the rounds: letters that move now are told of from the next on
    return hub.flow.wake_ns()


def _tell_the_watchers(hub: "Coordinator") -> None:
    """Wait until every owner knows its positions; one that died first needs its letters again."""
    while not hub.pump(hub.shard_desk.watch, LATE_S):
        hub.say_waiting("waiting for shards to confirm what they watch")
        hub.allotment.look()
