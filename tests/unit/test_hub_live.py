"""Whom a round waits for when there is no lock-step."""

from types import SimpleNamespace
from typing import Any

import pytest

from execution.hub.intake import Intake
from execution.hub.live import Live
from signals.session import BUCKET_NS
from tests.integration.test_hub_late import a_report

MS = 1_000_000
K = 100


def a_hub(now_ms: float, *, silent_since: int) -> Any:
    """Two shards; 1 has just reported bucket K, 2 reported its last bucket some time ago."""
    now_ns = (K + 1) * BUCKET_NS + round(now_ms * MS)
    intake = Intake()
    intake.add(a_report(shard=2, k=silent_since), closed_k=None)
    intake.take(silent_since)
    intake.add(a_report(shard=1, k=K), closed_k=None)
    return SimpleNamespace(
        intake=intake,
        allotment=SimpleNamespace(reporting={1, 2}),
        rounds=SimpleNamespace(
            parameters={"shard_heartbeat_timeout_ms": 12_000, "decision_deadline_ms": 1800}
        ),
        desk=SimpleNamespace(late_ns=lambda since_ns: max(0, now_ns - since_ns)),
    )


@pytest.mark.parametrize(
    ("now_ms", "silent_since", "due"),
    [
        (900, K - 1, False),  # it is only slow: until the deadline
        (1800, K - 1, True),
        (900, K - 3, True),  # silent for 15.9 s: not waited for
        (900, K - 2, False),  # for 10.9 s
    ],
)
def test_a_round_waits_for_the_slow_and_not_for_the_silent(
    now_ms: float, silent_since: int, due: bool
) -> None:
    assert Live(a_hub(now_ms, silent_since=silent_since))._is_due(K) is due


def test_one_that_never_reported_is_waited_for_until_the_deadline() -> None:
    hub = a_hub(900, silent_since=K - 1)
    hub.allotment.reporting = {1, 2, 3}
    hub.intake.latest.pop(2)

    assert Live(hub)._awaited() == {1, 2, 3}
