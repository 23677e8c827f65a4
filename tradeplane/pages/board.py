"""What the live pages show, read from the apps' rows and the roles' heart-beats.

Plain values only, so that two boards compare by `==` and a section is sent again only when it
changed. What costs more than a look (the table of a round, the day's funnel) is kept by round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import redis

from accounts import selectors as books
from accounts.models import Account
from execution import selectors, statement
from execution.models import Round, RoundState, Run, RunState, Trade
from execution.selectors import StandingSwitch, TradingDayFacts
from signals import selectors as parameter_selectors
from signals.parameters.catalogue import ParameterError, defaults
from signals.session import BUCKET_NS
from tradeplane.pages import (
    candidates,
    figures,
    letters,
    log,
    machinery,
    outcomes,
    position,
    steps,
)
from tradeplane.pages.buckets import Buckets
from tradeplane.pages.health import Health, Watch

SECTIONS = (
    "mode", "switch", "hero", "startup", "candidates", "funnel", "position", "letters", "shards",
    "versions", "activity", "stopping", "relay", "stages", "problems",
    "trades",
)  # fmt: skip
MODES = {
    "off": ("OFF", "not deciding"),
    "shadow": ("SHADOW", "no orders at the broker"),
    "paper": ("PAPER", "practice money"),
    "live": ("LIVE", "real money"),
}
FUNNEL = (("S", "Healthy stock"), ("C", "Confident"), ("confirm", "Confirmed"), ("fired", "Fired"))
ROUNDS_AT_ONCE = 20_000
SHARDS_MAX = 26
TRADES_MAX = 20


@dataclass
class Funnel:
    """The day's funnel of one run, summed up round by round as they are decided."""

    day: tuple[str, date | None] = ("", None)  # the run's id and its trading day
    last: int = 0
    sums: dict[str, int] = field(default_factory=dict)

    def read(self, run: Run) -> dict[str, int]:
        if self.day != (run.pk, run.day):
            self.day, self.last, self.sums = (run.pk, run.day), 0, {}
        fresh = selectors.rounds_of_the_day(run).filter(pk__gt=self.last).order_by("pk")
        for pk, state, found in fresh.values_list("pk", "state", "funnel")[:ROUNDS_AT_ONCE]:
            if state == RoundState.CLOSED:
                break  # its answer is owed; the later ones wait for it
            self.last = pk
            for name, n in found.items():
                if isinstance(n, int):
                    self.sums[name] = self.sums.get(name, 0) + n
        return self.sums


class Board:
    """Args: client: Redis with the state; used from one thread."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._buckets = Buckets(client)
        self._funnel = Funnel()
        self._watch = Watch()
        self._counted: tuple[tuple[str, int | None], dict[str, int]] = (("", None), {})
        self._table: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def read(self) -> tuple[dict[str, Any], Health]:
        """Return every section's values and how fresh they are."""
        run = selectors.current_run()
        beats = heartbeats(self._client)
        if run is None:
            return _nothing(beats), Health(state="empty", why="Nothing has run yet.")
        hub = None if beats is None else beats.pop("hub", None)
        relay = None if beats is None else beats.pop("relay", None)
        health = self._watch.look(run, hub, beats)
        lagged = letters.with_lags(beats, hub, speed=health.speed, lockstep=run.lockstep)
        values = self._values(run, hub, lagged, health)
        values["relay"] = machinery.relay(relay)
        if health.state == "live" and not values["candidates"]["rows"]:
            health = health.but(state="empty")
        values["hero"] = {**values["hero"], "health": health.state}
        return values, health

    def _values(
        self,
        run: Run,
        hub: dict[str, str] | None,
        beats: letters.Beats | None,
        health: Health,
    ) -> dict[str, Any]:
        p = parameters_of(run)
        day = selectors.trading_day(run)
        trades = selectors.active_trades(run)
        newest = selectors.newest_round(run)
        table = self._candidates(run, newest, p)
        switch = selectors.kill_switch()
        described = [position.describe(trade, self._mark(run, trade.symbol), p) for trade in trades]
        begun = steps.steps(selectors.startup_steps(run), run.started_at)
        cells = letters.cells(run, beats, float(p["max_relay_lag_ms"]))
        money = self._money(run, day, trades, p)
        return {
            "mode": mode(run),
            "switch": switch_of(switch, trades),
            "hero": {
                **say(run, begun, newest, trades, day, switch, p, health),
                "kpis": money,
            },
            "startup": {
                "steps": begun,
                "said": steps.said_of(begun, dark=cells["dark"]),
                "started": figures.wall(run.started_at),
            },
            "candidates": table,
            "funnel": self._funnel_of(run, newest),
            "position": {
                "trades": described,
                "slots": _slots(trades, day, p),
                "next": _next_words(switch, day, p, locked=selectors.has_unresolved_order(run)),
            },
            "letters": cells,
            "shards": letters.shards(run, beats, selectors.drained_shards()),
            "versions": letters.versions(run, hub, beats),
            "activity": [log.line(row) for row in selectors.activity(run, log.NEWEST)],
            "stopping": _stopping(described, run),
            "stages": machinery.stages(hub, beats, float(p["lateness_grace_ms"])),
            "problems": self._problems(run),
            "trades": [position.closed(row) for row in selectors.closed_trades(run, TRADES_MAX)],
        }

    def _problems(self, run: Run) -> dict[str, int]:
        """Warnings and errors of the run, counted again when a line came."""
        newest = run.activity_set.order_by("-pk").values_list("pk", flat=True).first()
        if self._counted[0] != (run.pk, newest):
            found = selectors.log_counts(run)
            counted = {
                "warnings": found.get("warning", 0),
                "errors": found.get("alarm", 0) + found.get("error", 0),
            }
            self._counted = ((run.pk, newest), counted)
        return self._counted[1]

    def _candidates(self, run: Run, newest: Round | None, p: Mapping[str, Any]) -> dict[str, Any]:
        """The table changes once per decided round."""
        key = (run.pk, newest and (newest.k, newest.state), p["min_score"], p["confirm_buckets"])
        if self._table[0] != key:
            found = candidates.table(run, newest, p)
            if not found["rows"]:
                found["miss"] = candidates.nearest_miss(run, newest)
                found["read"] = figures.count(newest.n_symbols) if newest else figures.MISSING
            self._table = (key, found)
        return self._table[1]

    def _funnel_of(self, run: Run, newest: Round | None) -> list[dict[str, str]]:
        sums = self._funnel.read(run)
        read = newest.n_symbols if newest else None
        return [
            {"name": "Stocks read", "value": figures.count(read)},
            {"name": "Judged today", "value": figures.count(sums.get("candidates", 0))},
            *({"name": name, "value": figures.count(sums.get(key, 0))} for key, name in FUNNEL),
        ]

    def _mark(self, run: Run, symbol: str) -> Decimal | None:
        bar = self._buckets.newest(run.pk, run.day, symbol)
        return None if bar is None else Decimal(str(round(bar.close, 4)))

    def _money(
        self, run: Run, day: TradingDayFacts, trades: list[Trade], p: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        marks = {trade.symbol: self._mark(run, trade.symbol) for trade in trades}
        result, whole = position.day_result(run, day.realized, trades, marks.get)
        beside = statement.beside_trades(run)
        today = result + beside
        start = _day_start(run)
        limit = start * Decimal(str(p["max_daily_loss_percent"])) / 100
        share = figures.percent(100 * today / start) if start else figures.MISSING
        said = "no trade yet" if not day.trades else "open" if trades else "realized"
        said += f", fees and income {figures.money(beside)}" if beside else ""
        return [
            {
                "name": "Today",
                "value": figures.money(today) if whole else figures.MISSING,
                "more": f"{figures.arrow(today)} {share}, {said}" if whole else "price unknown",
                "tone": figures.tone(today),
            },
            {
                "name": "Trades",
                "value": f"{day.trades} of {p['max_trades_per_day']}",
                "more": f"{day.trades - len(trades)} closed",
            },
            {
                "name": "Loss room",
                "help": "How much more may be lost today before entries stop by themselves: "
                f"{p['max_daily_loss_percent']:g} % of the equity at the day's start.",
                "value": figures.money(limit + result, signed=False) if start else figures.MISSING,
                "more": figures.unbroken(f"stops at {figures.money(-limit)}") if start else "",
            },
            {
                "name": "Equity",
                "value": figures.money(_equity(run, marks), signed=False),
                "more": "by the books",
            },
        ]


def heartbeats(client: redis.Redis) -> dict[str, dict[str, str]] | None:
    """Return heart-beats by shard number, "hub" and "relay"; None when Redis does not answer."""
    names = {str(number): f"hb:shard:{number}" for number in range(1, SHARDS_MAX + 1)}
    names |= {"hub": "hb:hub", "relay": "hb:relay"}
    try:
        pipe = client.pipeline(transaction=False)
        for key in names.values():
            pipe.hgetall(key)
        answers = pipe.execute()
    except redis.RedisError:
        return None
    return {
        name: {_text(key): _text(value) for key, value in answer.items()}
        for name, answer in zip(names, answers, strict=True)
        if answer
    }


def parameters_of(run: Run) -> Mapping[str, Any]:
    """Return the set that the run uses; before it has one, the set that counts."""
    found = run.parameters.get(str(run.parameters_version))
    if found:
        return {**defaults(), **found}
    try:
        return parameter_selectors.active_parameters()[1]
    except ParameterError:
        return defaults()


def mode(run: Run | None) -> dict[str, str]:
    kind = "off" if run is None else run.mode if run.mode in MODES else "off"
    word, note = MODES[kind]
    if run is not None and run.pk.startswith("tape-"):
        note = f"{note}, {'made-up market' if run.pk.startswith('tape-made-') else 'a tape'}"
    return {"kind": kind, "word": word, "note": note}


def switch_of(switch: StandingSwitch, trades: Sequence[Trade] = ()) -> dict[str, str]:
    if switch.level == "none":
        return {"level": "none"}
    return {
        "level": switch.level,
        "said": _switch_words(switch, trades),
        "reason": switch.reason,
        "by": switch.actor if switch.at is None else f"{switch.actor}, {figures.wall(switch.at)}",
    }


SWITCH_SAID = {
    "pause": "Entries are paused.",
    "cancel_entries": "Entries are paused and open entry orders canceled.",
    "flatten": "Everything is being sold; entries are off.",
    "freeze": "Frozen: only the stop and target at the broker act.",
}


def _switch_words(switch: StandingSwitch, trades: Sequence[Trade]) -> str:
    done = switch.level == "flatten" and not trades
    return "Nothing is held; entries are off." if done else SWITCH_SAID[switch.level]


def say(
    run: Run,
    begun: list[dict[str, Any]],
    newest: Round | None,
    trades: list[Trade],
    day: TradingDayFacts,
    switch: StandingSwitch,
    p: Mapping[str, Any],
    health: Health,
) -> dict[str, str]:
    """The first lines of the page: what is so, and why."""
    if health.state == "stale":
        return {"say": f"Entries are blocked: {health.why}", "more": _safe_words(trades)}
    if run.state == RunState.FAILED:
        return {"say": "The run has failed.", "more": "The reason is in the log."}
    if run.state == RunState.ENDED:
        counted = figures.counted(day.trades, "trade")
        return {"say": f"The tape has ended. {counted} today.", "more": _round_words(run, newest)}
    if health.state == "loading":
        return {
            "say": f"Starting: {steps.said_of(begun)}.",
            "more": "Entries stay off until all hold.",
        }
    if health.warming:
        return {
            "say": "The market runs ahead, so that everything is warm.",
            "more": "Entries are locked until it goes by the clock. " + _round_words(run, newest),
        }
    if newest is None:
        return {"say": "All steps hold; the first round is coming.", "more": ""}
    at = figures.clock((newest.k + 1) * BUCKET_NS)
    fired = selectors.fired_symbols(run, newest.k) if newest.n_candidates else []
    if fired:
        head = f"{', '.join(fired)} fired at {at}."
    elif newest.n_candidates:
        head = f"Nothing fired at {at}."
    else:
        head = f"Quiet. No stock accelerates enough at {at}."
    return {"say": f"{head} {_why_idle(trades, day, switch, p)}".strip(),
            "more": _round_words(run, newest)}  # fmt: skip


def _why_idle(
    trades: list[Trade], day: TradingDayFacts, switch: StandingSwitch, p: Mapping[str, Any]
) -> str:
    if switch.level != "none":
        return _switch_words(switch, trades)
    names = ", ".join(trade.symbol for trade in trades)
    slots = int(p["max_concurrent_positions"]) if p["concurrent_trading"] else 1
    if trades and len(trades) >= slots:
        which = "Your one slot is" if slots == 1 else f"Your {slots} slots are"
        return f"{which} busy with {names}."
    if day.trades >= p["max_trades_per_day"]:
        return f"Your {p['max_trades_per_day']} trades of today are used."
    return f"Open: {names}." if trades else ""


def _round_words(run: Run, newest: Round | None) -> str:
    """`11 candidates · 1 is blocked · 1 waits for another round · 9 turned down`."""
    if newest is None:
        return "No round yet."
    coverage = f"coverage {100 * newest.coverage:.0f}{figures.NARROW}%"
    if not newest.n_candidates:
        read = figures.counted(newest.n_symbols, "stock")
        return f"{read} read · no candidate · {coverage} · this is normal most of the time"
    found: dict[str, int] = {}
    for (outcome, reason), n in selectors.outcomes_of(run, newest.k).items():
        key = outcomes.outcome_of(outcome, outcomes.primary_id(reason)).key
        found[key] = found.get(key, 0) + n
    words = {
        "fired": "{} fired",
        "wait": "{} waiting for another round",
        "slot": "{} blocked",
        "unk": "{} unknown",
        "no": "{} turned down",
    }
    parts = [words[key].format(found[key]) for key in words if found.get(key)]
    return " · ".join([figures.counted(newest.n_candidates, "candidate"), *parts, coverage])


def _safe_words(trades: list[Trade]) -> str:
    held = [trade.symbol for trade in trades if trade.held > 0]
    if not held:
        return "No position is open. What you see is the last known state."
    return f"{', '.join(held)}: stop and target lie at the broker and act without us."


def _slots(trades: list[Trade], day: TradingDayFacts, p: Mapping[str, Any]) -> str:
    slots = int(p["max_concurrent_positions"]) if p["concurrent_trading"] else 1
    free = slots - len(trades)
    if day.trades >= p["max_trades_per_day"]:
        return "None. Today's trades are used."
    return f"None. {figures.counted(free, 'slot')} {'is' if free == 1 else 'are'} free."


def _next_words(
    switch: StandingSwitch, day: TradingDayFacts, p: Mapping[str, Any], *, locked: bool
) -> str:
    """What may come into a free slot; nothing does while entries are stopped or used up."""
    if switch.level != "none":
        return "No entry comes while the kill switch is on."
    if locked:
        return "No entry comes: an order must be looked at first (see System)."
    if day.trades >= p["max_trades_per_day"]:
        return "No entry comes before the next day."
    return "The next stock that passes everything may take it."


def _stopping(described: list[dict[str, Any]], run: Run) -> dict[str, Any]:
    """What each step of the stop dialog would do now."""
    waiting = [one for one in described if not one["filled"]]
    held = [one for one in described if one["filled"]]
    return {
        "entries": ", ".join(f"{one['quantity']} {one['symbol']}" for one in waiting) or "none now",
        "held": [
            f"{one['quantity']} {one['symbol']}, about {one['value']}, now {one['pnl']}"
            for one in held
        ],
    }


def _day_start(run: Run) -> Decimal:
    account = Account.objects.filter(run_id=run.pk, number=run.account_number).first()
    if account is None or run.day is None:
        return run.opening_cash
    return books.equity_before(account, run.day)


def _equity(run: Run, marks: Mapping[str, Decimal | None]) -> Decimal | None:
    account = Account.objects.filter(run_id=run.pk, number=run.account_number).first()
    if account is None:
        return None
    known = {symbol: mark for symbol, mark in marks.items() if mark is not None}
    try:
        return books.equity(account, known)
    except KeyError:
        return None  # a position whose price nobody knows


def _nothing(beats: dict[str, dict[str, str]] | None) -> dict[str, Any]:
    if beats is not None:
        beats.pop("hub", None)
        beats.pop("relay", None)
    return {
        "mode": mode(None),
        "switch": switch_of(selectors.kill_switch()),
        "hero": {
            "say": "Nothing has run yet.",
            "more": "Start with script/up.",
            "kpis": [],
            "health": "empty",
        },
        "startup": {"steps": [], "said": "the hub has not begun", "started": ""},
        "candidates": {"rows": [], "n": 0, "read": "0", "miss": "", "least": 0},
        "funnel": [],
        "position": {"trades": [], "slots": "None.", "next": ""},
        "letters": letters.cells(None, beats, 1),
        "shards": letters.shards(None, beats),
        "versions": letters.versions(None, None, beats),
        "activity": [],
        "stopping": {"entries": "none now", "held": []},
        "relay": machinery.relay(None),
        "stages": machinery.stages(None, None, 0.0),
        "problems": {"warnings": 0, "errors": 0},
        "trades": [],
    }


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
