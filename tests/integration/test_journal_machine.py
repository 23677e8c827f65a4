"""The order journal and the slots under everything at once; see `journal_machine`."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

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
