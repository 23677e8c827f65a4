"""How the hub counts who should have reported, and how often it asks what was not answered."""

from types import SimpleNamespace
from typing import Any

from execution.hub.flow import Flow

SYMBOLS = ["AAPL", "MSFT", "ZM"]


def a_hub(**changes: Any) -> Any:
    base = SimpleNamespace(
        run=SimpleNamespace(universe=SYMBOLS),
        shard_desk=SimpleNamespace(shards={1, 2}, owner=lambda symbol: 1 if symbol < "N" else 2),
        intake=SimpleNamespace(latest={1: SimpleNamespace(n_symbols=2)}),
        desk=SimpleNamespace(unsettled={7}),
        clock=SimpleNamespace(now_ns=lambda: 0),
        exit_desk=SimpleNamespace(retry_due=lambda: None),
        day_end=SimpleNamespace(act=lambda: None),
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
