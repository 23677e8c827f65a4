"""The ring of a relay that may be killed: taken up at the start, kept beside while it runs."""

import hashlib
import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np

from relay.fanout import RING_BYTES, RING_SECONDS
from relay.ring import Ring
from relay.ring_file import RingFile, is_held

logger = logging.getLogger(__name__)
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it, nobody else may read it
_PREFIX, _HOME = "relay-ring-", "home"


def place_of(
    home: Path | str, run: str = "live", memory: Path = MEMORY, *, feed: str = "sip"
) -> Path | None:
    """Return where the ring of the relay with this home is kept; None without such memory.

    Each feed and run has a place of its own: what a tape said last time is nothing to this one.
    Places that nobody holds are removed when their home is gone, or for another run of this feed.
    """
    if not memory.is_dir():
        return None
    whose = str(Path(home).resolve())
    label = f"{whose}\n{feed}"
    name = hashlib.sha256(f"{whose}\0{run}\0{feed}".encode()).hexdigest()[:16]
    ours = memory / f"{_PREFIX}{os.getuid()}-{name}"
    for place in memory.glob(f"{_PREFIX}*"):
        try:
            found = (place / _HOME).read_text()
        except OSError:
            continue  # another user's, or another's beginning
        stale = found == label or not Path(found.partition("\n")[0]).is_dir()
        if place != ours and stale and not is_held(place):
            shutil.rmtree(place, ignore_errors=True)
    return ours


class KeptRing:
    """The ring's two halves: what was kept, and where the rest goes.

    Args:
        place: a directory of our own; see `place_of`.
        home: the relay's.
    Raises:
        OSError: the place cannot be used.
    """

    def __init__(
        self, place: Path, home: Path | str, *, feed: str = "sip", max_bytes: int = RING_BYTES
    ) -> None:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if place.stat().st_uid != os.getuid():
            raise PermissionError(f"{place} is somebody else's")
        (place / _HOME).write_text(f"{Path(home).resolve()}\n{feed}")
        self._file: RingFile | None = RingFile(place, max_bytes=max_bytes)
        found = self._file.read()
        if found and time.monotonic() - found.entries[-1].added_s > RING_SECONDS:
            found = None  # nobody comes back to that
        self.epoch = found.epoch if found else time.time_ns() // 1000
        self.alive_ns = found.alive_ns if found else 0
        first = found.entries[0].offset if found else 1
        self.ring = Ring(max_bytes=max_bytes, max_seconds=RING_SECONDS, first_offset=first)
        for entry in found.entries if found else ():
            self.ring.append(
                entry.frame, added_s=entry.added_s, watermark_ns=entry.watermark_ns,
                extension=entry.extension,
            )  # fmt: skip
        self._file.begin(self.epoch)

    def append(
        self, data: bytes, ends: np.ndarray, first_offset: int, watermark_ns: int, extension: str
    ) -> None:
        """Keep frames; a memory that is full ends the keeping, not the relay."""
        if self._file is None:
            return
        try:
            self._file.append(
                data, ends, first_offset=first_offset, watermark_ns=watermark_ns,
                wall_ns=time.time_ns(), extension=extension,
            )  # fmt: skip
        except OSError as exc:
            logger.error("ring not kept any more", extra={"reason": str(exc)})
            self.close()

    def alive(self, wall_ns: int) -> None:
        """Note that the upstream is there."""
        if self._file is not None:
            self._file.alive(wall_ns)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
