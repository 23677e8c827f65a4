"""The directory that holds all state of one installation, and its lock."""

import fcntl
import os
from pathlib import Path
from typing import IO


class HomeBusy(RuntimeError):
    """Another `up` holds this home."""


class HomeLock:
    """An flock on `up.lock`: the kernel drops it with the process, so none is ever left behind."""

    def __init__(self, home: Path) -> None:
        self._path = home / "up.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock or say who has it.

        Raises:
            HomeBusy: another process holds it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise HomeBusy(
                f"{self._path.parent} is in use by {holder}; stop it, or set TRADEPLANE_HOME"
            ) from None
        file.truncate(0)
        file.write(f"`up` with process id {os.getpid()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None
