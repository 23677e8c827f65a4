"""The last frames of the upstream, bounded by bytes and by age, for consumers that come back."""

from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """One upstream frame. `added_s` is process time; data has no `extension`.

    Anything else is for those only who asked for the extension of this name: clock, gap, backfill.
    """

    offset: int
    added_s: float
    frame: bytes
    watermark_ns: int
    extension: str = ""


class Ring:
    """Frames by offset. Age counts against the newest frame, so that a standing tape keeps all.

    Args:
        max_bytes, max_seconds: what is kept; the newest frame always is.
        first_offset: the offset of the first frame to come.
    """

    def __init__(self, *, max_bytes: int, max_seconds: float, first_offset: int = 1) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._entries: dict[int, Entry] = {}
        self.first_offset = first_offset
        self.next_offset = first_offset
        self.size_bytes = 0

    def append(
        self, frame: bytes, *, added_s: float, watermark_ns: int, extension: str = ""
    ) -> Entry:
        """Keep one frame under the next offset; the oldest ones make room."""
        entry = Entry(self.next_offset, added_s, frame, watermark_ns, extension)
        self._entries[self.next_offset] = entry
        self.next_offset += 1
        self.size_bytes += len(frame)
        while self.first_offset < entry.offset and self._overfull(added_s):
            gone = self._entries.pop(self.first_offset)
            self.size_bytes -= len(gone.frame)
            self.first_offset += 1
        return entry

    def _overfull(self, now_s: float) -> bool:
        oldest = self._entries[self.first_offset]
        return self.size_bytes > self._max_bytes or now_s - oldest.added_s > self._max_seconds

    def entries(self) -> Iterable[Entry]:
        """Return all of them, oldest first."""
        return self._entries.values()

    def since(self, offset: int, *, max_bytes: int) -> list[Entry]:
        """Return entries from `offset` on, at least one and about `max_bytes` when there are any.

        Raises:
            LookupError: `offset` has left the ring.
        """
        if offset < self.first_offset:
            raise LookupError(offset)
        found: list[Entry] = []
        size = 0
        while offset < self.next_offset and size < max_bytes:
            entry = self._entries[offset]
            found.append(entry)
            size += len(entry.frame)
            offset += 1
        return found

    def newest(self, *, max_bytes: int, extensions: tuple[str, ...] = ("",)) -> list[bytes]:
        """Return the last frames of these extensions, oldest first, about `max_bytes` of them."""
        found: list[bytes] = []
        size, offset = 0, self.next_offset - 1
        while offset >= self.first_offset and size < max_bytes:
            entry = self._entries[offset]
            if entry.extension in extensions:
                found.append(entry.frame)
                size += len(entry.frame)
            offset -= 1
        return found[::-1]
