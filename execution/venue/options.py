"""What a venue is started with."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

from execution.venue.seats import CONNECTIONS_MAX
from relay.tape import Block
from signals.session import Session

#: Market seconds per process second; None is `max`: lock-step, or as fast as the readers.
Speed = float | None


class VenueError(Exception):
    """The venue cannot start or go on; the text is one line for the operator."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    key: str
    secret: str

    def match(self, key: str, secret: str) -> bool:
        """Compare in constant time."""
        same_key = hmac.compare_digest(key.encode(), self.key.encode())
        same_secret = hmac.compare_digest(secret.encode(), self.secret.encode())
        return same_key and same_secret


@dataclass(frozen=True)
class Listing:
    """What the assets API says of a name beyond its symbol."""

    name: str = ""
    exchange: str = "NYSE"
    tradable: bool = True


@dataclass(frozen=True, kw_only=True)
class VenueOptions:
    """`session` is the day played; `start_ns` where the tape starts to be shown."""

    credentials: Credentials
    session: Session
    start_ns: int
    symbols: tuple[str, ...]
    listings: Mapping[str, Listing] = field(default_factory=dict)
    tape: Path | None = None
    day: date
    last_ns: int = 0  # receive time of the tape's last frame, 0 without a tape
    blocks: Callable[[], Iterable[Block]] | None = None  # instead of the file `tape`: made up
    live_ns: int = 0  # a paced tape is fast-forwarded to here, so that its readers are warm
    speed: Speed = 1.0
    wait_for: int = 1
    lockstep: bool = False  # wait for a hub; at `max` never run free
    latency_ns: int = 150_000_000
    cash: Decimal = Decimal(100_000)
    partial_rate: float = 0.0
    seed: str = "paper"
    faults: Path | None = None  # a plan of what goes wrong
    data_seats: int = CONNECTIONS_MAX  # market-data connections at one time; the venue's plans: 1
    seat_linger_s: float = 0.0  # a session that died without a word keeps its seat so long
