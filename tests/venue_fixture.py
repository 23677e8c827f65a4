"""A small tape and a venue on it, in a thread of its own with a real socket."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

from websockets.sync.client import connect

from execution.venue import run
from execution.venue.options import Credentials
from execution.venue.server import Venue
from relay import frames
from relay.tape import TapeHeader, TapeWriter
from signals.session import regular_session

SESSION = regular_session(date(2013, 10, 7))
KEYS = Credentials(key="PKTEST", secret="secret-of-the-test")
SECOND = 1_000_000_000
MS = 1_000_000
TIMEOUT_S = 20.0


def a_quote(symbol: str, bid: float, ask: float) -> dict:
    sides = {"bx": "N", "bp": bid, "bs": 500, "ax": "N", "ap": ask, "as": 700}
    return {"T": "q", "S": symbol, **sides, "c": ["R"], "z": "A"}


def a_print(symbol: str, price: float, *, size: int = 100, number: int = 1) -> dict:
    return {
        "T": "t",
        "S": symbol,
        "i": number,
        "x": "N",
        "p": price,
        "s": size,
        "c": [" "],
        "z": "A",
    }


def write_tape(path: Path, rows: list[tuple[float, dict]]) -> Path:
    """Write `(seconds after the open, message)` rows, one frame each."""
    symbols = sorted({message["S"] for _, message in rows})
    header = TapeHeader(day=SESSION.day, symbols=tuple(symbols), source="import")
    with TapeWriter(path, header) as writer:
        for seconds, message in rows:
            ts_ns = SESSION.open_ns + round(seconds * 1000) * MS
            frame = frames.encode_array([frames.encode_message(message | {"t": ts_ns})])
            writer.append(ts_ns, frame)
    return path


def quiet_rows(seconds: int, *, step: float = 0.1) -> list[tuple[float, dict]]:
    """A market that stands still: AIG 50.00/50.02 with prints at 50.01, SPY prints at 170."""
    rows = [(-1.0, a_quote("AIG", 49.0, 49.02))]
    for number in range(round(seconds / step)):
        at = round(number * step, 3)
        rows.append((at, a_quote("AIG", 50.00, 50.02)))
        rows.append((at, a_print("AIG", 50.01, number=number)))
        rows.append((at, a_print("SPY", 170.0, number=number)))
    return rows


class RunningVenue:
    """Where a venue in a thread can be reached."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.venue: Venue | None = None
        self.port = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.failure: BaseException | None = None

    def wait_for_subscribers(self, clients: int) -> None:
        waiting = asyncio.run_coroutine_threadsafe(self.venue.feed.wait_for(clients), self.loop)
        waiting.result(TIMEOUT_S)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@contextmanager
def running_venue(tape: Path | None, **options) -> Iterator[RunningVenue]:
    """Serve `tape` until the block ends; `options` as for `run.tape_options`."""
    running = RunningVenue()
    stopping: list = []

    async def main() -> None:
        start = options.pop("start", "")
        chosen = run.tape_options(KEYS, tape, start, **options)
        listener = run.listen(0)
        running.port = listener.getsockname()[1]
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        running.loop = loop
        stopping.append(lambda: loop.call_soon_threadsafe(task.cancel))

        def started(venue: Venue) -> None:
            running.venue = venue
            running.ready.set()

        await run.serve(chosen, listener, ready=lambda line: None, started=started)

    def thread() -> None:
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass
        except BaseException as exc:  # noqa: BLE001 - raised again in the test's thread
            running.failure = exc
            running.ready.set()

    worker = threading.Thread(target=thread, daemon=True)
    worker.start()
    assert running.ready.wait(TIMEOUT_S)
    try:
        if running.failure is not None:
            raise running.failure
        yield running
    finally:
        if stopping and worker.is_alive():
            stopping[0]()
        worker.join(TIMEOUT_S)
        assert not worker.is_alive()


class Desk:
    """A hub that does nothing but say how far the tape may go; the market stands in between."""

    def __init__(self, venue: RunningVenue) -> None:
        self._stack = ExitStack()
        self._ws = self._stack.enter_context(connect(f"{venue.ws}/lockstep"))
        self._ws.send(json.dumps({"action": "auth", "key": KEYS.key, "secret": KEYS.secret}))
        assert json.loads(self._ws.recv(TIMEOUT_S)) == {"state": "attached"}
        self.stop = json.loads(self._ws.recv(TIMEOUT_S))

    @property
    def seconds(self) -> float:
        """Return how long after the open the tape stands."""
        return (self.stop["t"] - SESSION.open_ns) / SECOND

    def go_to(self, seconds: float) -> None:
        wake_at = SESSION.open_ns + round(seconds * 1000) * MS
        while self.stop["t"] < wake_at and not self.stop["end"]:
            answer = {"action": "continue", "stop": self.stop["stop"], "wake_at": wake_at}
            self._ws.send(json.dumps(answer))
            self.stop = json.loads(self._ws.recv(TIMEOUT_S))

    def go_on(self, seconds: float) -> None:
        self.go_to(self.seconds + seconds)

    def close(self) -> None:
        self._stack.close()


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds()`; fail with `what` after a deadline."""
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        pause.wait(0.01)
