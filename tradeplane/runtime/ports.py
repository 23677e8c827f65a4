"""Free ports on loopback: the wanted one, else the next that nobody holds."""

import socket
import sys

_TRIES = 200


class NoFreePort(RuntimeError):
    """No port near the wanted one is free."""


class Ports:
    """Hands out ports and remembers them.

    Between our look and the child's bind another `up` could take the same port, so each is also
    claimed by an abstract Unix socket (Linux): it vanishes with this process, whatever ends it.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []
        self.notes: list[str] = []

    def take(self, wanted: int, what: str) -> int:
        """Return `wanted` or the next free port; a step over is noted.

        Raises:
            NoFreePort: nothing free within 200 ports.
        """
        for port in range(wanted, min(wanted + _TRIES, 65536)):
            if _is_free(port) and self._claim(port):
                if port != wanted:
                    self.notes.append(f"port {wanted} is taken: {what} uses {port}")
                return port
        raise NoFreePort(f"no free port for {what} from {wanted} on")

    def close(self) -> None:
        """Give the claims back."""
        while self._claims:
            self._claims.pop().close()

    def _claim(self, port: int) -> bool:
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0tradeplane-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True


def _is_free(port: int) -> bool:
    """Whether nobody listens there; TIME_WAIT leftovers do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
