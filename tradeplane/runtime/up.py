"""Everything on one machine: the steps of `manage.py up`, in order, and back."""

import json
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, close_old_connections

from execution import selectors, way_out
from execution.models import Activity
from relay import keys as relay_keys
from tradeplane.runtime import redis, roles
from tradeplane.runtime.environment import base_environment
from tradeplane.runtime.home import HomeLock
from tradeplane.runtime.ports import Ports
from tradeplane.runtime.roles import Keys, MarketPlan, SyntheticPlan
from tradeplane.runtime.run_parameters import activate_first, activate_for_run
from tradeplane.runtime.summary import as_table, verdict
from tradeplane.runtime.supervisor import Supervisor

REDIS_PORT, RELAY_PORT, VENUE_PORT = 6390, 8765, 8766
LOOK_S = 0.2
RECORDS_KEPT = 10
DEATHS_MAX = 5  # of one role, when somebody waits for the end
RUN_LOOK_EVERY = 3  # looks of LOOK_S between two looks at the run's row
FIRST_PROFILE = "careful"
ALPACA_DATA_URL = "wss://stream.data.alpaca.markets/v2/iex"


class UpError(RuntimeError):
    """It cannot go on; the message is the one clear line."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asked for, already checked."""

    market: MarketPlan | None = None  # None: Alpaca's, with the keys that were given
    until_end: bool = False
    shards: int = 1
    port: int = 8000
    as_json: bool = False
    parameters: dict[str, object] | None = None  # a complete valid set, None: leave as it is
    parameters_comment: str = ""


@dataclass(kw_only=True)
class Plan:
    """Names, ports and keys of one start."""

    run: str
    web_port: int
    relay_port: int
    venue_port: int
    redis_url: str
    redis_server: redis.EmbeddedServer | None  # None: the one at REDIS_URL is not ours
    venue_keys: Keys
    record_dir: Path | None = None


class Up:
    """One start to stop. Used once, from the main thread."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._home: Path = settings.TRADEPLANE_HOME
        self._stopping = threading.Event()
        self._say_lock = threading.Lock()
        self._ports = Ports()
        self._out = sys.stderr if options.as_json else sys.stdout

    def run(self) -> int:
        """Start, serve or wait for the end, stop. Returns the exit code.

        Raises:
            UpError, HomeBusy, NoFreePort, NoServer, StartFailed, FatalDeath: one clear line each.
        """
        lock = HomeLock(self._home)
        lock.acquire()
        try:
            with self._signals():
                return self._run_locked()
        finally:
            self._ports.close()
            lock.release()

    def say(self, who: str, line: str) -> None:
        """One line for the terminal; never a secret."""
        with self._say_lock:
            print(f"{who:>8} | {line}", file=self._out, flush=True)

    def _run_locked(self) -> int:
        started = time.monotonic()
        plan = self._plan()
        url = f"http://127.0.0.1:{plan.venue_port}"
        way_out.keep_venue(url=url, key=plan.venue_keys.key, secret=plan.venue_keys.secret)
        supervisor = Supervisor(
            log_dir=self._home / "logs",
            say=self.say,
            base=base_environment(self._common(plan)),
            give_up_after=DEATHS_MAX if self._options.until_end else None,
        )
        try:
            self._start(supervisor, plan)
            summary = self._serve(supervisor, plan)
        finally:
            self.say("up", "stopping")
            supervisor.stop()
            way_out.forget_venue()
        if summary is None:
            if self._options.until_end:
                raise UpError("stopped before the tape's end")
            return 0
        summary.setdefault("wall_s", round(time.monotonic() - started, 1))
        return self._report(summary)

    # --- before anything runs --------------------------------------------------------------
    def _plan(self) -> Plan:
        market = self._options.market
        run = (
            settings.TRADEPLANE_RUN
            if market is None
            else f"{market.run_prefix}{secrets.token_hex(6)}"
        )
        server = None
        if not settings.REDIS_URL_GIVEN:
            server = redis.prepare_server(self._home, self._ports.take(REDIS_PORT, "redis"))
        plan = Plan(
            run=run,
            web_port=self._ports.take(self._options.port, "web"),
            relay_port=self._ports.take(RELAY_PORT, "relay"),
            venue_port=self._ports.take(VENUE_PORT, "venue"),
            redis_url=server.url if server else settings.REDIS_URL.rstrip("/"),
            redis_server=server,
            venue_keys=Keys(key=f"PK{secrets.token_hex(9).upper()}", secret=secrets.token_hex(20)),
        )
        if market is not None and (market.recorded or self._options.until_end):
            plan.record_dir = self._home / "records" / run
            self._drop_old_records(plan.record_dir.parent)
            plan.record_dir.mkdir(parents=True)
        self._rotate_logs()
        return plan

    def _drop_old_records(self, directory: Path) -> None:
        """Buckets of the newest runs are kept for a second look; the disk is not endless."""
        kept = sorted(directory.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[RECORDS_KEPT:]:
            shutil.rmtree(path)

    def _rotate_logs(self) -> None:
        for log in (self._home / "logs").glob("*.log"):
            log.replace(log.with_suffix(".log.1"))

    def _common(self, plan: Plan) -> dict[str, str]:
        """What every child finds in its environment."""
        market = self._options.market
        speed = market.speed if market else "1"
        return {
            "REDIS_URL": plan.redis_url,
            "TRADEPLANE_HOME": str(self._home),
            "TRADEPLANE_RUN": plan.run,
            "TRADEPLANE_SHARDS": str(self._options.shards),
            "TRADEPLANE_SPEED": "1" if speed == "max" else speed,
            "TRADEPLANE_RECORD_DIR": str(plan.record_dir or ""),
            "RELAY_URL": f"ws://127.0.0.1:{plan.relay_port}/v2/sip",
            "RELAY_UPSTREAM_URL": f"ws://127.0.0.1:{plan.venue_port}/v2/sip",
            "APCA_API_BASE_URL": f"http://127.0.0.1:{plan.venue_port}",
            "APCA_STREAM_URL": "",
            "VENUE_LOCKSTEP_URL": f"ws://127.0.0.1:{plan.venue_port}/lockstep" if market else "",
        }

    # --- up ---------------------------------------------------------------------------------
    def _start(self, supervisor: Supervisor, plan: Plan) -> None:
        for note in self._ports.notes:
            self.say("up", note)
        if plan.redis_server is not None:
            supervisor.start([roles.redis_role(plan.redis_server)], stopping=self._stopping.is_set)
            redis.forget_tasks(plan.redis_url)
        elif not redis.answers(plan.redis_url):
            raise UpError("the server at REDIS_URL does not answer: start it, or unset REDIS_URL")
        self._prepare_database()
        shard_keys, hub_keys = self._fresh_relay_keys()
        upstream, upstream_keys = self._upstream(plan)
        market = self._options.market
        stages = [
            [
                roles.venue_role(port=plan.venue_port, keys=plan.venue_keys, market=market),
                roles.relay_role(
                    port=plan.relay_port,
                    upstream=upstream,
                    keys=upstream_keys,
                    repeats=market is not None and market.speed == "max",
                ),
            ],
            [
                *(
                    roles.shard_role(n, relay_keys=keys, redis_url=plan.redis_url)
                    for n, keys in enumerate(shard_keys, start=1)
                ),
                roles.hub_role(
                    relay_keys=hub_keys, broker_keys=plan.venue_keys, redis_url=plan.redis_url
                ),
                roles.web_role(port=plan.web_port),
            ],
        ]
        for stage in stages:
            if not self._stopping.is_set():
                supervisor.start(stage, stopping=self._stopping.is_set)
        self._welcome(plan)

    def _prepare_database(self) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        if self._options.parameters is not None:
            version = activate_for_run(self._options.parameters, self._options.parameters_comment)
            self.say("up", f"parameters: version {version} ({self._options.parameters_comment})")
        elif self._options.market is not None and activate_first(FIRST_PROFILE):
            self.say("up", f"parameters: profile {FIRST_PROFILE}, until you change them")
        self._tell_kill_switch()
        users = get_user_model().objects
        if not users.exists():
            password = secrets.token_urlsafe(12)
            users.create_superuser("admin", password=password)
            self.say("up", f"sign in as admin with the password {password} (shown only now)")

    def _tell_kill_switch(self) -> None:
        """A stop outlives the start; a run that trades nothing must not look like a quiet day."""
        switch = selectors.kill_switch()
        if switch.level != "none":
            said = f"the kill switch is at {switch.level} ({switch.reason}; {switch.actor})"
            self.say("up", f"{said}: no entries until `killswitch none --yes --reason TEXT`")

    def _fresh_relay_keys(self) -> tuple[list[Keys], Keys]:
        """New consumers' keys for this start; those of the last start are revoked."""
        home = settings.RELAY_HOME
        for entry in relay_keys.list_keys(home):
            if entry.name.startswith("up-"):
                relay_keys.revoke(home, entry.id)
        numbers = range(1, self._options.shards + 1)
        shards = [relay_keys.add_key(home, role="shard", name=f"up-shard-{n}") for n in numbers]
        hub = relay_keys.add_key(home, role="hub", name="up-hub")
        return [Keys(key=k, secret=s) for k, s in shards], Keys(key=hub[0], secret=hub[1])

    def _upstream(self, plan: Plan) -> tuple[str, Keys | None]:
        """Alpaca when the venue plays nothing; the orders stay on this machine all the same."""
        if self._options.market is None:
            keys = Keys(key=settings.APCA_API_KEY_ID, secret=settings.APCA_API_SECRET_KEY)
            return settings.RELAY_UPSTREAM_URL or ALPACA_DATA_URL, keys
        return f"ws://127.0.0.1:{plan.venue_port}/v2/sip", None

    def _welcome(self, plan: Plan) -> None:
        if self._stopping.is_set():
            return
        market = self._options.market
        if market is None:
            what = "SHADOW: Alpaca's data, orders to the paper venue on this machine only"
        else:
            what = f"PAPER: {market.title} at speed {market.speed}"
        self.say("up", what)
        if isinstance(market, SyntheticPlan) and market.planted is not None:
            self.say("up", f"what accelerates in it, and when: {market.planted}")
        self.say("up", f"ready: http://127.0.0.1:{plan.web_port}/ (Ctrl-C stops all)")

    # --- running ------------------------------------------------------------------------------
    def _serve(self, supervisor: Supervisor, plan: Plan) -> dict[str, object] | None:
        """Look after the children until told to stop, or until the run has ended.

        Returns: the run's summary, None when stopped before.
        """
        looks = 0
        while not self._stopping.wait(LOOK_S):
            supervisor.watch()
            looks += 1
            if self._options.until_end and looks % RUN_LOOK_EVERY == 0:
                state = self._run_state(plan.run)
                if state == "failed":
                    raise UpError(f"the run failed: {self._why_failed(plan.run)}")
                if state == "ended":
                    return selectors.run_summary(plan.run)
        return None

    def _run_state(self, run: str) -> str | None:
        """The run's state as its row tells it; None also while the database does not answer."""
        try:
            return selectors.run_state(run)
        except DatabaseError as exc:
            self.say("up", f"the database does not answer: {exc}")
            close_old_connections()
            return None

    def _why_failed(self, run: str) -> str:
        newest = Activity.objects.filter(run=run, level="alarm").first()
        return newest.text if newest else "see logs/hub.log"

    def _report(self, summary: dict[str, object]) -> int:
        broken = verdict(summary)
        text = json.dumps(summary) if self._options.as_json else as_table(summary)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if broken:
            raise UpError(broken)
        return 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal all ask for the same clean stop."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stopping.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before: list[Callable[..., object] | int | None] = [signal.signal(n, ask) for n in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
