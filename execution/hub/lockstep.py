"""The venue's discrete-event clock: stops come in, `continue` goes out (contract: DESIGN 6).

A thread of its own holds the connection; the coordinator answers through `proceed`. After a lost
connection the venue sends its current stop again, so nothing is kept here but the last answer.
"""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 4.0
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The venue stands still at `t_ns` and has sent `updates` trade updates so far."""

    n: int
    t_ns: int
    updates: int
    end: bool


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A paced tape's clock, once per second of tape; needs no answer.

    `warm_up`: the tape is fast-forwarded to where it is worth to be watched.
    """

    t_ns: int
    end: bool
    speed: float
    warm_up: bool = False


class LockstepLink:
    """Attach, stay attached, and post ("stop", Stop), ("tick", Tick), ("lockstep", state)."""

    def __init__(
        self, *, url: str, key: str, secret: str, post: Callable[..., None], grace_ms: int = 750
    ) -> None:
        self._url, self._key, self._secret, self._post = url, key, secret, post
        self._grace_ms = grace_ms
        self._begun = False
        self._closing = threading.Event()
        self._socket: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="hub-lockstep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        if self._socket is not None:
            self._socket.close()
        if self._thread.is_alive():
            self._thread.join(3)

    def proceed(self, stop: int, wake_at_ns: int | None) -> bool:
        """Answer a stop; False when the venue is away (it will ask again)."""
        return self._send({"action": "continue", "stop": stop, "wake_at": wake_at_ns})

    def begin(self) -> bool:
        """Let a paced tape start: everybody is ready. Said again after each attachment."""
        self._begun = True
        return self._send({"action": "begin"})

    def grace(self, ms: int) -> bool:
        """Tell how long after a bucket's end it stops, now and after each attachment."""
        self._grace_ms = ms
        return self._send({"action": "grace", "ms": ms})

    def _send(self, message: dict[str, object]) -> bool:
        socket = self._socket
        if socket is None:
            return False
        try:
            socket.send(json.dumps(message))
        except (WebSocketException, OSError):
            return False
        return True

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with connect(
                    self._url, open_timeout=OPEN_TIMEOUT_S, max_size=65536, compression=None
                ) as socket:
                    self._attach(socket)
                    failures = 0
                    self._serve(socket)
            except (WebSocketException, OSError, ValueError, TimeoutError) as exc:
                if self._closing.is_set():
                    return
                self._post("lockstep", f"lost: {str(exc) or type(exc).__name__}")
            finally:
                self._socket = None
            self._closing.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    def _attach(self, socket: ClientConnection) -> None:
        socket.send(json.dumps({"action": "auth", "key": self._key, "secret": self._secret}))
        answer = json.loads(socket.recv(OPEN_TIMEOUT_S))
        if answer.get("state") != "attached":
            raise ValueError(f"the venue refused to attach: {answer}")
        socket.send(json.dumps({"action": "grace", "ms": self._grace_ms}))
        if self._begun:
            socket.send(json.dumps({"action": "begin"}))
        self._socket = socket
        self._post("lockstep", "attached")

    def _serve(self, socket: ClientConnection) -> None:
        for text in socket:
            message = json.loads(text)
            if "stop" in message:
                self._post(
                    "stop",
                    Stop(
                        n=int(message["stop"]),
                        t_ns=int(message["t"]),
                        updates=int(message["updates"]),
                        end=bool(message.get("end")),
                    ),
                )
            elif "t" in message:
                self._post(
                    "tick",
                    Tick(
                        t_ns=int(message["t"]),
                        end=bool(message.get("end")),
                        speed=float(message.get("speed") or 1),
                        warm_up=bool(message.get("warm_up")),
                    ),
                )
