"""Which level of the kill switch counts, and what may follow what."""

import pytest

from execution.domain.kill_levels import STRENGTH, TURNS, crosses, stronger

STRONG = ("flatten", "freeze")


@pytest.mark.parametrize("standing", STRENGTH)
@pytest.mark.parametrize("level", STRENGTH)
def test_no_turn_weakens_what_stands(standing: str, level: str) -> None:
    weaker = stronger(standing, level) == standing != level

    allowed = level != "none" and (not weaker or (standing in STRONG and level in STRONG))

    assert (level in TURNS[standing]) == allowed
    assert crosses(standing, level) == (standing != level and {standing, level} == set(STRONG))


@pytest.mark.parametrize(
    ("one", "other", "counts"),
    [
        ("none", "pause", "pause"),
        ("flatten", "pause", "flatten"),
        ("freeze", "flatten", "flatten"),
        ("none", "none", "none"),
    ],
)
def test_the_stronger_level_counts(one: str, other: str, counts: str) -> None:
    assert stronger(one, other) == stronger(other, one) == counts
