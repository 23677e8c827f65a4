"""Every edge case of the design has a test with its number."""

import re
from pathlib import Path

CASES = 68


def test_every_edge_case_has_a_test_of_its_number() -> None:
    here = Path(__file__).parent
    text = "\n".join(path.read_text() for path in here.glob("test_*.py"))

    found = {int(number) for number in re.findall(r"^def test_case_(\d\d)_", text, re.M)}

    assert found == set(range(1, CASES + 1))
