"""WebSocket data frames as bytes (sans-I/O): whole messages out of a stream, headers in front.

A library's parser costs some 10 µs per frame, as much as all the rest of the relay. Here are only
unmasked data frames without extensions, what a server sends; everything else (control frames,
whatever is wrong) is given back for the library, which knows the whole protocol.
"""

BINARY, TEXT = 0x82, 0x81
_BINARY_PART, _TEXT_PART, _CONTINUED, _LAST = 0x02, 0x01, 0x00, 0x80


def frame_header(size: int, opcode: int = BINARY) -> bytes:
    """Return the header of a whole, unmasked message of `size` bytes."""
    if size < 126:
        return bytes((opcode, size))
    if size < 1 << 16:
        return bytes((opcode, 126)) + size.to_bytes(2, "big")
    return bytes((opcode, 127)) + size.to_bytes(8, "big")


class DataFrames:
    """Splits what a server sends.

    Args:
        max_bytes: a longer message is the library's to refuse.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._needed = 2  # bytes that the next frame takes, as far as is known
        self._parts: list[bytes] | None = None  # of a fragmented message
        self._parts_bytes = 0
        self._foreign = False  # everything is the library's from here on

    def feed(self, data: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return (messages, pieces for the library), each in the order of their arrival."""
        if self._foreign:
            return [], [data]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return [], []
            data = bytes(self._rest)
            self._rest.clear()
        messages: list[bytes] = []
        others: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self._foreign:
            end = self._next(data, at, size, messages, others)
            if end < 0:
                break
            at = end
        if self._foreign:
            others.append(data[at:])
        else:
            self._rest += data[at:]
        return messages, others

    def _next(
        self, data: bytes, at: int, size: int, messages: list[bytes], others: list[bytes]
    ) -> int:
        """Take the frame at `at`; return where it ends, -1 when it is not all there."""
        start = at + 2
        if start > size:
            return self._wait(2)
        lead, length = data[at], data[at + 1]
        if length >= 126:
            if length > 127:  # masked: no server does that
                return self._give_up(at)
            width = 2 if length == 126 else 8
            start += width
            if start > size:
                return self._wait(2 + width)
            length = int.from_bytes(data[start - width : start], "big")
        if length > self._max_bytes:
            return self._give_up(at)
        end = start + length
        if end > size:
            return self._wait(end - at)
        if lead == BINARY and self._parts is None:
            messages.append(data[start:end])
        elif lead & 0x88 == 0x88:
            others.append(data[at:end])
        elif not self._fragment(lead, data[start:end], messages):
            return self._give_up(at)
        return end

    def _fragment(self, lead: int, part: bytes, messages: list[bytes]) -> bool:
        """Take a text frame or a part of a message; say whether it fits."""
        if self._parts is None:
            if lead == TEXT:
                messages.append(part)
                return True
            if lead not in (_BINARY_PART, _TEXT_PART):
                return False
            self._parts, self._parts_bytes = [], 0
        elif lead not in (_CONTINUED, _LAST):
            return False
        self._parts.append(part)
        self._parts_bytes += len(part)
        if self._parts_bytes > self._max_bytes or len(self._parts) > self._max_bytes:
            return False
        if lead == _LAST:
            messages.append(b"".join(self._parts))
            self._parts = None
        return True

    def _wait(self, needed: int) -> int:
        self._needed = needed
        return -1

    def _give_up(self, at: int) -> int:
        self._foreign = True
        return at
