"""Hears the kill file within 50 ms, in a thread that needs neither database nor Redis.

The coordinator may wait for one of them just then. Nothing is decided here: the send path asks
the switch itself before every entry, and the coordinator acts when it is woken.
"""

import threading
import time
from collections.abc import Callable

from execution import kill_file

EVERY_S = 0.05


class KillWatch:
    """Args: hurry: wakes who acts on the switch."""

    def __init__(self, hurry: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._hurry = hurry
        self._every_s = every_s
        self._stopping = threading.Event()
        self._known = "none"
        self._thread = threading.Thread(target=self._loop, name="hub-kill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Look once; a level that is new is answered."""
        level = kill_file.read()["level"]
        if level == self._known:
            return
        self._known = level
        self._hurry()
        try:
            kill_file.answer(level, at_ns=time.time_ns())
        except OSError:
            pass  # a full disk stops the drill's figure, not the switch

    def _loop(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.look()
