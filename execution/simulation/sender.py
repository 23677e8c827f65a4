"""A task that sends an entry and may stand still on its way, while its hub goes on."""

import threading
from collections.abc import Callable

from django.db import connections


class Gone(BaseException):
    """The process of a sender ended while it stood still."""


class Sender:
    """Work in a thread of its own, on the connection of whoever made it. One of both runs at a
    time, so that a day stays the same each time."""

    def __init__(self, work: Callable[[], None], process: object) -> None:
        """Args: process: whose task it is; with that it ends."""
        self.process = process
        self.through = False
        self._work = work
        self._line = connections["default"]
        self._ours, self._its = threading.Semaphore(0), threading.Semaphore(0)
        self._ends = False
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def go_on(self) -> None:
        """Let it work until it stands still or is through; raises whatever it raises."""
        if self._thread.ident is None:
            self._line.inc_thread_sharing()
            self._thread.start()
        else:
            self._its.release()
        self._ours.acquire()
        if self.through:
            self._thread.join()
            self._line.dec_thread_sharing()
        if self._raised is not None:
            raise self._raised

    def stand_still(self) -> None:
        """Wait, as the work itself, until somebody lets it go on.

        Raises:
            Gone: its process has ended.
        """
        self._ours.release()
        self._its.acquire()
        if self._ends:
            raise Gone

    def end(self) -> None:
        """End it where it stands."""
        if not self.through:
            self._ends = True
            self.go_on()

    def _run(self) -> None:
        connections["default"] = self._line
        try:
            self._work()
        except Gone:
            pass
        except BaseException as exc:  # noqa: BLE001 - it belongs to whoever let it go on
            self._raised = exc
        finally:
            self.through = True
            self._ours.release()
