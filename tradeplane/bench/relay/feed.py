"""The upstream of the bench: one client, trades as fast as it reads, or at a pace with stamps.

Told: {"do": "flood", "seconds": s}, {"do": "pace", "seconds": s, "per_s": n}.
Answers: {"sent": messages, "first_ns", "last_ns"} on the monotonic clock.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Mapping

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from relay.protocol import Consumer, ServerProtocol
from tradeplane.bench.relay.market import Tape, a_tape, stamp

FLOOD_BYTES = 128 * 1024


class Feed:
    """Serves one subscriber at a time; the main thread sends."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.subscriber: ServerConnection | None = None
        self.ready = threading.Event()

    def serve(self, socket: ServerConnection) -> None:
        protocol = ServerProtocol("msgpack", lambda key, secret: Consumer(id=key))
        try:
            while True:
                for frame in protocol.frames_to_send():
                    socket.send(frame)
                if any(protocol.subscription.channels.values()):
                    self.subscriber = socket
                    self.ready.set()
                protocol.receive(socket.recv())
        except ConnectionClosed:
            if self.subscriber is socket:
                self.ready.clear()

    def flood(self, seconds: float) -> dict[str, int]:
        """Send until the time is up; the reader's pace is ours."""
        tape, sent = self._tape, 0
        first = time.monotonic_ns()
        until = first + int(seconds * 1e9)
        per_write = max(1, FLOOD_BYTES // int(tape.bounds[1]))
        starts = list(range(0, len(tape.bounds) - 1, per_write))
        while time.monotonic_ns() < until:
            for start in starts:
                end = min(start + per_write, len(tape.bounds) - 1)
                self._write(start, end)
                sent += (end - start) * tape.messages
                if time.monotonic_ns() >= until:
                    break
        return {"sent": sent, "first_ns": first, "last_ns": time.monotonic_ns()}

    def pace(self, seconds: float, per_s: int) -> dict[str, int]:
        """Send whole frames when they are due, each message stamped with the time of sending."""
        tape, sent, index = self._tape, 0, 0
        step = int(1e9 * tape.messages / per_s)
        first = due = time.monotonic_ns()
        while due < first + int(seconds * 1e9):
            wait = due - time.monotonic_ns()
            if wait > 0:
                time.sleep(wait / 1e9)
            stamp(tape, index, time.time_ns())
            self._write(index, index + 1)
            sent += tape.messages
            index = (index + 1) % (len(tape.bounds) - 1)
            due += step
        return {"sent": sent, "first_ns": first, "last_ns": time.monotonic_ns()}

    def _write(self, start: int, end: int) -> None:
        socket = self.subscriber
        if socket is None:
            raise RuntimeError("nobody subscribed")
        piece = self._tape.data[self._tape.bounds[start] : self._tape.bounds[end]]
        with socket.protocol_mutex:  # a pong must not land inside a frame
            socket.socket.sendall(piece.data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    options = parser.parse_args()
    tape = a_tape(frames_count=options.frames, messages=options.messages)
    feed = Feed(tape)
    server = serve(feed.serve, "127.0.0.1", 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _say({"port": server.socket.getsockname()[1], "letters": tape.letters,
          "bytes": float(tape.data.size / (tape.messages * options.frames))})  # fmt: skip
    for line in sys.stdin:
        told = json.loads(line)
        if not feed.ready.wait(30):
            _say({"error": "nobody subscribed"})
        elif told["do"] == "flood":
            _say(feed.flood(told["seconds"]))
        elif told["do"] == "pace":
            _say(feed.pace(told["seconds"], told["per_s"]))


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
