"""A process that holds several connections and counts what comes, on plain sockets.

Told: {"do": "counts"}, {"do": "keep"} (from now on keep frames and their times of reading),
{"do": "latencies", "path": p} (write them, in ns, one per message, and forget the frames).
Answers: {"counts": {entry: n}, "last_ns", "holes", "closed": [...]}, or {"kept": n}.
"""

import argparse
import json
import selectors
import socket
import sys
import time

import msgspec
import numpy as np

from relay import frames
from relay.extension import read_extension
from relay.frames import CONTROL, EXTENSION
from relay.wire import is_control

RECEIVE_BYTES = 512 * 1024
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Content-Type: application/msgpack\r\n\r\n"
)


class Wire:
    """One connection that is subscribed to one entry of trades."""

    def __init__(self, port: int, key: str, secret: str, entry: str, extensions: list[str]) -> None:
        self.entry, self.count, self.holes, self.closed = entry, 0, 0, 0
        self.kept: list[tuple[int, bytes]] = []
        self._offset: int | None = None
        self._buffer = bytearray()
        self._framed = "frame" in extensions
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(HANDSHAKE.format(path="/v2/sip").encode())
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(1)
        self._buffer.clear()
        self._send({"action": "auth", "key": key, "secret": secret, "extensions": extensions})
        self._send({"action": "subscribe", "trades": [entry]})
        self._await_acknowledgment()

    def _send(self, message: dict[str, object]) -> None:
        payload = msgspec.msgpack.encode(message)
        size = len(payload)
        head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
        self.socket.sendall(head + bytes(4) + payload)  # masked with zeros

    def _await_acknowledgment(self) -> None:
        while True:
            self._buffer += self.socket.recv(4096)
            for payload in self._payloads():
                if b"subscription" in payload:
                    return

    def read(self, keep: bool) -> bool:
        """Take what is there; say whether the connection is still open."""
        try:
            piece = self.socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            piece = b""
        now_ns = time.time_ns()
        if not piece:
            return False
        self._buffer += piece
        for payload in self._payloads():
            if is_control(payload):
                continue
            if keep:
                self.kept.append((now_ns, payload))
            self._count(payload)
        return True

    def _count(self, payload: bytes) -> None:
        lead = payload[0]
        if lead <= 0x9F:
            count = lead & 0x0F
        else:
            count = int.from_bytes(payload[1 : 3 if lead == 0xDC else 5], "big")
        if self._framed and (place := read_extension(payload)) is not None:
            count -= 1
            self.holes += self._offset is not None and place.previous != self._offset
            self._offset = place.offset
        self.count += count

    def _payloads(self) -> list[bytes]:
        """Take whole frames from the buffer."""
        buffer, at, found = self._buffer, 0, []
        while len(buffer) >= at + 2:
            size, start = buffer[at + 1], at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                start += width
                if len(buffer) < start:
                    break
                size = int.from_bytes(buffer[start - width : start], "big")
            if len(buffer) < start + size:
                break
            if buffer[at] == 0x82:
                found.append(bytes(buffer[start : start + size]))
            elif buffer[at] == 0x88:
                self.closed = int.from_bytes(buffer[start : start + 2], "big")
            at = start + size
        del buffer[:at]
        return found

    def latencies(self) -> np.ndarray:
        """Return reading time minus stamp of every kept message, ns."""
        found = []
        for now_ns, payload in self.kept:
            spans = frames.scan(payload)
            spans = spans[(spans["kind"] != EXTENSION) & (spans["kind"] != CONTROL)]
            found.append(now_ns - spans["ts_ns"])
        self.kept = []
        return np.concatenate(found) if found else np.empty(0, np.int64)


class Counters:
    """All connections of this process, and what we are told."""

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires
        self._selector = selectors.DefaultSelector()
        for wire in wires:
            self._selector.register(wire.socket, selectors.EVENT_READ, wire)
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        self._last_ns, self._keep = 0, False

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    say(self._answer(json.loads(line)))
                    continue
                if not key.data.read(self._keep):
                    self._selector.unregister(key.data.socket)
                self._last_ns = time.monotonic_ns()

    def _answer(self, told: dict[str, str]) -> dict[str, object]:
        if told["do"] == "keep":
            self._keep = True
        elif told["do"] == "latencies":
            self._keep = False
            found = np.concatenate([wire.latencies() for wire in self._wires])
            np.save(told["path"], found)
            return {"kept": int(found.size)}
        return {
            "counts": {wire.entry: wire.count for wire in self._wires},
            "last_ns": self._last_ns,
            "holes": sum(wire.holes for wire in self._wires),
            "closed": [wire.closed for wire in self._wires if wire.closed],
        }


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--extensions", default="frame,prefix")
    parser.add_argument("entries", nargs="+")
    told = parser.parse_args()
    frames.warm()
    extensions = told.extensions.split(",")
    wires = [Wire(told.port, told.key, told.secret, one, extensions) for one in told.entries]
    say({"ready": len(wires)})
    Counters(wires).run()


if __name__ == "__main__":
    main()
