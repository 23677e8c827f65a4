"""What the hub tells of its surroundings, and what the system page makes of it."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from execution.hub.coordinator import Coordinator
from execution.hub.telemetry import KEPT, RelayFigures, StageTimes
from tradeplane.pages import letters, machinery, steps

STATUS = {
    "T": "status", "upstream": {"state": "open", "feed": "sip"}, "messages": 1_000,
    "consumers": [
        {"label": "shard 1", "state": "ok", "queued_bytes": 10},
        {"label": "shard 2", "state": "lagging", "queued_bytes": 2_500_000},
    ],
    "ring_bytes": 128_000_000, "loop_lag_ms": 2, "frames": 2_100_000, "gaps": 0, "cut": 1,
}  # fmt: skip


def test_a_stage_tells_its_middle_and_its_worst() -> None:
    times = StageTimes()
    for ms in range(2 * KEPT):
        times.add("decide", float(ms))
    times.add("collect", -3.0)  # the report came before the grace was over

    assert json.loads(times.packed()) == {
        "decide": [300.0, 398.0, KEPT],
        "collect": [0.0, 0.0, 1],
    }


def test_the_relays_rate_comes_from_two_answers() -> None:
    now = 10.0
    figures = RelayFigures(lambda: now)
    figures.take(STATUS)
    assert figures.facts["per_s"] == ""

    now = 12.0
    figures.take(STATUS | {"messages": 97_420})

    assert figures.facts["per_s"] == "48210"
    assert (figures.facts["lagging"], figures.facts["slowest"]) == ("1", "shard 2")


def test_a_restarted_relay_has_no_rate_for_a_moment() -> None:
    now = 10.0
    figures = RelayFigures(lambda: now)
    figures.take(STATUS)
    now = 12.0
    figures.take(STATUS | {"messages": 3})

    assert figures.facts["per_s"] == ""


def test_the_relay_panel_says_what_is_slow() -> None:
    figures = RelayFigures(lambda: 0.0)
    figures.take(STATUS)

    told = machinery.relay(figures.facts)

    rows = dict(told["rows"])
    assert told["said"] == "✓ connected"
    assert rows["Readers"] == "2, 1 slow"
    assert rows["Slowest queue"] == "shard 2, 2.5 MB"
    assert rows["Messages per second"] == "–"
    assert machinery.relay(None)["said"] == "? silent"


def test_each_stage_begins_where_the_one_before_it_ended() -> None:
    packed = {"collect": [100.0, 150.0, 9], "decide": [50.0, 100.0, 9],
              "send": [100.0, 100.0, 1], "total": [1000.0, 1100.0, 1]}  # fmt: skip

    told = machinery.stages({"stages": json.dumps(packed)}, {"1": {"lag_ms": "0.0"}}, 750.0)

    assert [(row["name"], row["from"], row["typical"]) for row in told["rows"]] == [
        ("Waiting for late prints", "0.0", "75.0"),
        ("Shards compute, hub collects", "75.0", "10.0"),
        ("Hub decides", "85.0", "5.0"),
        ("Broker acknowledges", "90.0", "10.0"),
    ]
    assert told["total"] == {"typical": "1.0 s", "worst": "1.1 s"}


@pytest.mark.parametrize("packed", ["", "no json", "[1, 2]"])
def test_without_figures_there_are_no_stages(packed: str) -> None:
    assert machinery.stages({"stages": packed}, None, 750.0)["rows"] == []


def test_a_tapes_lag_is_against_the_hubs_market_time() -> None:
    hub = {"at": str(5_000 * 10**6), "market_ns": str(900_000 * 10**6)}
    beats = {"1": {"lag_ms": "0.0", "at": "5100", "watermark_ns": str(899_900 * 10**6)},
             "2": {"lag_ms": "12.5", "at": "5100", "watermark_ns": "1"}}  # fmt: skip

    found = letters.with_lags(beats, hub, speed=2.0, lockstep=False)

    assert found is not None
    assert (found["1"]["lag_ms"], found["2"]["lag_ms"]) == ("300", "12.5")
    held = letters.with_lags(beats, hub, speed=0.0, lockstep=True)
    assert held is not None
    assert held["1"]["lag_ms"] == ""


def rows(**changes: Any) -> list[dict[str, Any]]:
    """The hub's own steps, a second apart, all done."""
    names = [name for _, parts in steps.STEPS for name in parts]
    at = datetime(2026, 11, 27, 14, 24, tzinfo=UTC)
    found = [
        {"name": name, "state": "done", "reason": "", "at": at + timedelta(seconds=n + 1)}
        for n, name in enumerate(names)
    ]
    for row in found:
        row |= changes.get(row["name"], {})
    return found


def test_ten_steps_of_the_hub_are_six_for_people() -> None:
    started = datetime(2026, 11, 27, 14, 24, tzinfo=UTC)

    found = steps.steps(rows(upstream={"reason": "sip"}), started)

    assert [step["state"] for step in found] == ["done"] * 6
    assert [step["took"] for step in found] == [
        "2.0 s",
        "1.0 s",
        "4.0 s",
        "1.0 s",
        "1.0 s",
        "1.0 s",
    ]
    assert found[1]["reason"] == "SIP feed, one connection"
    assert steps.said_of(found) == "complete"
    assert steps.said_of(found, dark=2) == "complete; no entries in 2 letters, see the map"


def test_a_held_step_names_the_part_and_its_reason() -> None:
    held = {"state": "blocked", "reason": "cash differs by $1.00"}
    waiting = {"state": "pending"}

    found = steps.steps(
        rows(reconcile=held, universe=waiting, shards=waiting, rounds=waiting), None
    )

    assert found[2]["state"] == "blocked"
    assert found[2]["reason"] == "books: cash differs by $1.00"
    assert [step["state"] for step in found[3:]] == ["pending"] * 3
    assert steps.said_of(found).startswith("held at “Account agrees”: books: cash differs")


def test_a_step_that_is_half_done_works() -> None:
    found = steps.steps(rows(relay={"state": "pending"}), None)

    assert found[0]["state"] == "running"


def test_a_loss_is_logged_once_and_so_is_the_return() -> None:
    said: list[tuple[str, str, dict[str, Any]]] = []
    hub: Any = SimpleNamespace(
        state="running",
        note=lambda kind, text, *, level, **facts: said.append((text, level, facts)),
    )

    for was, now in ((True, True), (True, False), (False, False), (False, True)):
        Coordinator._say_change(hub, "the relay", was, now, reason="" if now else "reset by peer")

    assert said == [
        ("the relay: lost", "warning", {"reason": "reset by peer"}),
        ("the relay: back", "info", {}),
    ]
    hub.state = "starting"
    Coordinator._say_change(hub, "the relay", True, False)
    assert len(said) == 2
