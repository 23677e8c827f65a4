"""The build names the program by its sources, wherever they lie."""

from pathlib import Path

import pytest

from signals.build import PACKAGES, build, hash_of
from tests.unit.test_tidy import APPS


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.py").write_text(f"NAME = {name!r}\n")
    return tmp_path


def test_it_is_a_version_and_a_hash() -> None:
    version, _, sources = build().partition("+")

    assert version
    assert len(sources) == 12
    assert set(PACKAGES) == set(APPS)


def test_a_change_of_any_module_is_another_build(copy: Path) -> None:
    before = hash_of(copy)
    (copy / "elsewhere.py").write_text("")
    (copy / "relay" / "notes.txt").write_text("")
    assert hash_of(copy) == before

    (copy / "relay" / "one.py").write_text("NAME = 1\n")
    changed = hash_of(copy)
    (copy / "relay" / "one.py").rename(copy / "relay" / "two.py")

    assert len({before, changed, hash_of(copy)}) == 3
