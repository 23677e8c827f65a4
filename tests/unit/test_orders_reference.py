"""docs/orders.md says what the code says, and every fail point of the code is on its list."""

import ast
import re
from pathlib import Path

import pytest

from execution import failpoints, reference

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "orders.md"


def test_the_page_is_made_from_the_tables() -> None:
    page = PAGE.read_text()

    assert reference.filled(page) == page, "run `manage.py orders_reference`"


@pytest.mark.parametrize("part", sorted(reference.PARTS))
def test_every_part_has_its_place_on_the_page(part: str) -> None:
    assert f"<!-- begin {part} -->" in PAGE.read_text()


def test_every_property_of_the_books_has_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| (`test_.*`) \|$", PAGE.read_text(), re.M)
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))

    assert [int(number) for number, _ in rows] == list(range(1, 16))
    for name in (name for _, names in rows for name in re.findall(r"`(\w+)`", names)):
        assert f"def {name}(" in written, name


def reached() -> list[str]:
    names = []
    for path in sorted((ROOT / "execution").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reach":
                (name,) = node.args
                names.append(ast.literal_eval(name))
    return names


def test_every_fail_point_is_registered_and_stands_in_one_place() -> None:
    assert sorted(reached()) == sorted(failpoints.POINTS)


@pytest.mark.parametrize(
    "text", ["oops=kill", "lease.after_renew=sleep", "lease.after_renew@x=kill"]
)
def test_an_unknown_fail_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a fail point"):
        failpoints.arm_from(text, Path())
