"""The roles of one machine as specs for the supervisor: command, environment, readiness."""

import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tradeplane.runtime import redis
from tradeplane.runtime.children import Spec

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
#: Stop order is the reverse: pages first, the Redis-compatible server last.
REDIS, VENUE, RELAY, SHARD, HUB, WEB = range(6)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A key and its secret, for one client of one server."""

    key: str
    secret: str

    def as_broker(self) -> dict[str, str]:
        return {"APCA_API_KEY_ID": self.key, "APCA_API_SECRET_KEY": self.secret}

    def as_relay(self) -> dict[str, str]:
        return {"RELAY_KEY_ID": self.key, "RELAY_SECRET": self.secret}


@dataclass(frozen=True, kw_only=True)
class MarketPlan:
    """What the venue plays, and how: the market part of its command line."""

    speed: str = "1"  # a number or "max"
    start: str = ""  # HH:MM New York, "" for the open
    order_latency_ms: int | None = None

    #: How the ids of its runs begin.
    run_prefix = "tape-"
    #: Are the shards' buckets written to files? A whole market would fill a disk.
    recorded = True

    @property
    def title(self) -> str:
        raise NotImplementedError

    def arguments(self) -> list[str]:
        words = [*self._source(), "--speed", self.speed]
        words.append("--lockstep")  # the hub is on its way: nothing moves before it says so
        if self.start:
            words += ["--from", self.start]
        if self.order_latency_ms is not None:
            words += ["--order-latency-ms", str(self.order_latency_ms)]
        return words

    def _source(self) -> list[str]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TapePlan(MarketPlan):
    """A recorded day."""

    path: Path

    @property
    def title(self) -> str:
        return self.path.name

    def _source(self) -> list[str]:
        return ["--tape", str(self.path)]


@dataclass(frozen=True, kw_only=True)
class SyntheticPlan(MarketPlan):
    """A whole market, made up from a seed."""

    seed: int = 3115  # its first minutes show a trade, with the careful profile
    symbols: int | None = None  # None: as many as the real one has
    day: date | None = None  # None: the last session
    planted: Path | None = None  # where the list of planted accelerations is written

    recorded = False
    run_prefix = "tape-made-"  # pages say that nothing of it is real

    @property
    def title(self) -> str:
        return f"a made-up market (seed {self.seed})"

    def _source(self) -> list[str]:
        size = [] if self.symbols is None else ["--symbols", str(self.symbols)]
        day = [] if self.day is None else ["--day", self.day.isoformat()]
        listed = [] if self.planted is None else ["--planted", str(self.planted)]
        return ["--synthetic", str(self.seed), *size, *day, *listed]


def manage(*words: str) -> list[str]:
    """Return the command line of one management command."""
    return [sys.executable, str(MANAGE), *words]


def redis_role(server: redis.EmbeddedServer) -> Spec:
    return Spec(
        name="redis",
        command=server.command,
        stage=REDIS,
        ready=lambda: redis.answers(server.url),
        ready_within_s=20,
    )


def venue_role(*, port: int, keys: Keys, market: MarketPlan | None) -> Spec:
    """Where the venue plays a market it is the clock of the run: its death ends the run."""
    return Spec(
        name="venue",
        command=manage("venue", "--port", str(port), *(market.arguments() if market else ())),
        stage=VENUE,
        marker=re.compile(r"^venue ready on "),
        environment=keys.as_broker(),
        fatal=market is not None,
    )


def relay_role(*, port: int, upstream: str, keys: Keys | None, repeats: bool = False) -> Spec:
    """Args: keys only when the relay itself holds the upstream's (a real feed); else the hub's.

    repeats: the venue says a step again to a relay that lost it (lock-step); it keeps no ring then.
    """
    more = ("--forget",) if repeats else ()
    return Spec(
        name="relay",
        command=manage("relay", "--port", str(port), "--upstream", upstream, *more),
        stage=RELAY,
        marker=re.compile(r"^relay ready on "),
        environment=keys.as_broker() if keys else {},
    )


def shard_role(number: int, *, relay_keys: Keys, redis_url: str) -> Spec:
    return Spec(
        name=f"shard-{number}",
        command=manage("shard", "--id", str(number)),
        stage=SHARD,
        ready=lambda: redis.has_key(f"{redis_url}/0", f"hb:shard:{number}"),
        environment=relay_keys.as_relay(),
        ready_within_s=180,  # the first start of all compiles the kernels
    )


def hub_role(*, relay_keys: Keys, broker_keys: Keys, redis_url: str) -> Spec:
    return Spec(
        name="hub",
        command=manage("hub"),
        stage=HUB,
        ready=lambda: redis.has_key(f"{redis_url}/0", "hb:hub"),
        environment=relay_keys.as_relay() | broker_keys.as_broker(),
    )


def web_role(*, port: int) -> Spec:
    return Spec(
        name="web",
        command=manage("web", "--port", str(port)),
        stage=WEB,
        ready=lambda: responds(f"http://127.0.0.1:{port}/login/"),
    )


def responds(url: str) -> bool:
    """Whether an HTTP server on loopback answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
