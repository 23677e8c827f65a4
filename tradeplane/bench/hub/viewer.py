"""Somebody looks at the live page while the market runs: one signed-in connection that counts."""

import re
import threading
import time
from pathlib import Path

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin

READY = re.compile(r"ready: http://(127\.0\.0\.1:\d+)/")
BACKEND = "django.contrib.auth.backends.ModelBackend"
WAIT_S = 1.0


class Viewer:
    """Reads every update of the page from `start` to `end`."""

    def __init__(self, terminal: Path) -> None:
        ready = READY.search(terminal.read_text())
        if ready is None:
            raise RuntimeError("up has not said where its pages are")
        self._address = ready[1]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.updates = 0
        self.bytes = 0
        self._began = 0.0

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(10)

    @property
    def per_s(self) -> float:
        return self.updates / max(time.monotonic() - self._began, 1e-9)

    def _read(self) -> None:
        headers = {"Cookie": f"sessionid={_session()}"}
        try:
            with connect(
                f"ws://{self._address}/live/board",
                additional_headers=headers,
                origin=Origin(f"http://{self._address}"),
                proxy=None,
            ) as page:
                while not self._ending.is_set():
                    try:
                        told = page.recv(WAIT_S)
                    except TimeoutError:
                        continue
                    self.updates += 1
                    self.bytes += len(told)
        except (WebSocketException, OSError):
            self.updates = 0  # a page that lost its connection is no page


def _session() -> str:
    """Return a session of the first user, as the login page would make it."""
    user = get_user_model().objects.earliest("pk")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)
