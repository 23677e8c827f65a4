"""Straight to the broker: cancel everything, close everything, and see that it is so.

Needs keys and a network, nothing else: no database, no Redis, no hub, no strategy. The sentinel and
the kill switch use it. Asking does not depend on looking: whatever a look comes to, even an error
that nobody thought of, the next step is to ask.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from django.conf import settings

from execution.brokers.connect import connect
from execution.brokers.port import Broker, BrokerError

T = TypeVar("T")
#: Where `up` says how its own paper venue is reached, so that a terminal beside it can get out.
VENUE = "venue.json"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AGAIN_S = 1.0
CLOSE_AGAIN_S = 3.0


@dataclass
class Outcome:
    """What became of it; `left` names what is still held or still ordered."""

    flat: bool
    seconds: float
    asked: int = 0
    left: list[str] = field(default_factory=list)


def own_broker() -> Broker:
    """Return a broker of the environment's keys, or of the paper venue that `up` runs here.

    Raises:
        ValueError: there are no keys.
    """
    key, secret = settings.APCA_API_KEY_ID, settings.APCA_API_SECRET_KEY
    url = str(settings.APCA_API_BASE_URL)
    if not (key and secret) or urlsplit(url).hostname in LOOPBACK:
        key, secret, url = _own_venue() or (key, secret, url)
    if not (key and secret):
        raise ValueError("there are no keys here: set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    return connect(key=key, secret=secret, url=url)


def keep_venue(*, url: str, key: str, secret: str) -> None:
    """Say in the home how the paper venue on this machine is reached, to its owner only."""
    path = _venue_path()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": url, "key": key, "secret": secret}))


def forget_venue() -> None:
    _venue_path().unlink(missing_ok=True)


def _venue_path() -> Path:
    return Path(settings.TRADEPLANE_HOME) / VENUE


def _own_venue() -> tuple[str, str, str] | None:
    try:
        body = json.loads(_venue_path().read_text())
        return str(body["key"]), str(body["secret"]), str(body["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def leave(
    broker: Broker,
    *,
    within_s: float,
    patience_s: float = 0.0,
    mono: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Outcome:
    """Get flat: ask the venue to cancel and close all, look, ask again; never raises for a broker.

    Args: within_s: give up after this; patience_s: so long somebody else may be at it already, as
        far as one can see: a look without an answer ends the patience.
    """
    started, outcome, ask_at = mono(), Outcome(False, 0.0), patience_s
    while True:
        passed = mono() - started
        if passed >= ask_at:
            ask_at = passed + CLOSE_AGAIN_S
            outcome.asked += _ask(broker)
        left = what_is_left(broker)
        outcome.seconds = mono() - started
        if left is not None:
            outcome.left, outcome.flat = left, not left
        elif passed < patience_s:
            patience_s = ask_at = 0.0
        if outcome.flat or outcome.seconds >= within_s:
            return outcome
        sleep(min(AGAIN_S, max(0.05, 0.1 * outcome.seconds)))


def what_is_left(broker: Broker) -> list[str] | None:
    """Return positions and open orders in words; None when the venue does not say."""
    return answer_of(lambda: positions_and_orders(broker))


def positions_and_orders(broker: Broker) -> list[str]:
    """Return in words what is held, fractions too, and ordered.

    Raises:
        BrokerError: the venue does not say.
    """
    held = [f"{p.quantity} {p.symbol}" for p in broker.positions() if p.quantity]
    return held + [f"order {o.client_order_id}" for o in broker.orders(status="open")]


def answer_of(ask: Callable[[], T], say: Callable[[str], object] = lambda text: None) -> T | None:
    """Ask the broker something; None for an error of any kind, so that the way out goes on.

    Args: say: is told of the error.
    """
    try:
        return ask()
    except BrokerError as exc:
        say(str(exc))
    except Exception as exc:  # noqa: BLE001 - the last resort: a fault of ours must not stop it
        say(repr(exc))
    return None


def _ask(broker: Broker) -> bool:
    def close() -> bool:
        broker.close_all()
        return True

    return bool(answer_of(close))
