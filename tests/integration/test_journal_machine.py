"""The order journal and the slots under everything at once; see `journal_machine`."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from execution.brokers.alpaca import AlpacaBroker
from execution.brokers.port import BrokerError
from tests.integration.journal_machine import JournalMachine

pytestmark = [pytest.mark.db, pytest.mark.django_db]


def test_journal_and_slots_hold_whatever_happens(db):
    # No shrinking: in a database it takes minutes; the printed steps are few enough to read.
    how = settings(
        max_examples=max(settings.default.max_examples // 8, 1),
        stateful_step_count=25,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    run_state_machine_as_test(JournalMachine, settings=how)


QUERIES = {"/v2/positions": "positions", "/v2/orders": "orders"}


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("path", QUERIES)
def test_the_machine_sees_a_build_that_reads_a_failed_query_as_flat(
    db, monkeypatch, path: str, holds: bool
) -> None:
    ask = getattr(AlpacaBroker, QUERIES[path])

    def or_nothing(broker: AlpacaBroker, **kwargs: str) -> list[object]:
        try:
            return ask(broker, **kwargs)
        except BrokerError:
            return []

    machine = JournalMachine()
    machine.open_the_day(kinds=set(), fault="")
    if holds:
        machine.time_passes(150)
    machine.compares_and_a_query_fails(path)  # as we are
    monkeypatch.setattr(AlpacaBroker, QUERIES[path], or_nothing)

    with pytest.raises(AssertionError, match="compared without"):
        machine.compares_and_a_query_fails(path)

    monkeypatch.undo()
    machine.teardown()
