"""The quiet profile on real ticks of four large names: it finds something, and not everything."""

from collections import Counter
from datetime import date

import pytest

from signals.parameters.catalogue import profile
from signals.session import regular_session
from tradeplane.lab.replay import replay

NAMES = ("AIG", "BAC", "IBM", "SPY")


@pytest.mark.tape
@pytest.mark.slow
@pytest.mark.parametrize("day", ["20131007", "20131008", "20131009"])
def test_every_name_has_three_to_twenty_five_births_a_day(imported_tape, day):
    tape = imported_tape(NAMES, day)
    session = regular_session(date.fromisoformat(day))
    births: Counter[str] = Counter()

    for step in replay(tape, profile("quiet"), session=session):
        for closed in step.closed:
            found = closed.report_parts["candidates"]
            births.update(c.symbol for c in found if c.born_k == c.k and not c.shadow)

    assert set(births) == set(NAMES)
    assert all(3 <= count <= 25 for count in births.values()), births
