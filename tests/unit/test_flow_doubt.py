"""How the hub counts who should have reported, and how often it asks what was not answered."""

from types import SimpleNamespace
from typing import Any

from execution.hub.flow import Flow
from execution.hub.grants import Grant, Holders
from execution.hub.telemetry import StageTimes
from signals.session import BUCKET_NS

HOLDERS = Holders(
    [
        Grant(number=1, shard=1, ranges=(("", "N"),)),
        Grant(number=2, shard=2, ranges=(("N", ""),)),
    ]
)
SYMBOLS = ["AAPL", "MSFT", "ZM"]


def a_hub(**changes: Any) -> Any:
    base = SimpleNamespace(
        run=SimpleNamespace(universe=SYMBOLS),
        shard_desk=SimpleNamespace(holders=HOLDERS),
        intake=SimpleNamespace(latest={1: SimpleNamespace(n_symbols=2)}),
        desk=SimpleNamespace(unsettled={7}),
        clock=SimpleNamespace(now_ns=lambda: 0),
        exit_desk=SimpleNamespace(retry_due=lambda: None),
        day_end=SimpleNamespace(act=lambda: None),
        software=SimpleNamespace(act=lambda: None),
        trader=SimpleNamespace(busy=False),
        mono=lambda: 0.0,
    )
    for name, value in changes.items():
        setattr(base, name, value)
    return base


def test_a_shard_that_never_reported_counts_by_its_letters() -> None:
    assert Flow(a_hub())._expected_symbols() == 3


def test_shards_that_report_count_by_what_they_say() -> None:
    intake = SimpleNamespace(latest={n: SimpleNamespace(n_symbols=5) for n in (1, 2)})

    assert Flow(a_hub(intake=intake))._expected_symbols() == 10


def test_what_is_not_answered_is_asked_less_and_less_often(monkeypatch) -> None:
    now = 0.0
    flow = Flow(a_hub(mono=lambda: now))
    settled: list[float] = []
    monkeypatch.setattr(flow, "settle", lambda: settled.append(now))

    for step in range(100):
        now = step / 10
        flow.act()

    assert len(set(settled)) < 10
    flow.news = True
    flow.act()
    assert settled[-1] == now


def test_rounds_of_a_tape_that_still_ran_ahead_are_not_counted_late() -> None:
    late_ns = 5_000_000_000
    hub = a_hub(
        warming_ns=100 * BUCKET_NS + 1,
        stages=StageTimes(),
        rounds=SimpleNamespace(parameters={"decision_deadline_ms": 1800}),
        desk=SimpleNamespace(late_ns=lambda _at: late_ns),
        clock=SimpleNamespace(now_ns=lambda: 102 * BUCKET_NS),
    )
    flow = Flow(hub)

    flow._note_decided(99)  # ended before the tape's newest word that it runs ahead
    flow._note_decided(100)

    assert (hub.stages.rounds, hub.stages.late_rounds) == (1, 1)
