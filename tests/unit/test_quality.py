"""Data-quality flags: every one has a producer, a consumer, a label and what clears it."""

import re
from pathlib import Path

import numpy as np
import pytest

from shards import describe
from signals import quality
from tests.shard_builders import K0, an_engine, at, close, frame_of, ticks
from tradeplane.pages import words

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "shards").glob("*.py"), ROOT / "signals" / "messages.py"]
WRITTEN = re.compile(
    r"flags(?:\.append|\.add)\(\"(\w+)\"\)|flags, \"(\w+)\"\]|\*found, \"(\w+)\"\]|"
    r"\(\"(\w+)\", \"\w+_k\", |, \"(\w+_dropped)\"\n"
)


def test_every_flag_is_complete() -> None:
    for flag in quality.FLAGS:
        assert all(flag), flag
    names = [(flag.name, flag.carried) for flag in quality.FLAGS]
    assert len(names) == len(set(names))


def test_what_the_sources_raise_is_in_the_table_and_nothing_else_is() -> None:
    found = {
        name for path in SOURCES for each in WRITTEN.findall(path.read_text()) for name in each
    }
    raised = quality.raised()

    assert found - {""} == raised[quality.CANDIDATE] | raised[quality.REPORT]


def test_every_gate_that_acts_is_a_gate() -> None:
    known = words.ASKED
    named = {gate for flag in quality.FLAGS for gate in re.findall(r"\b[GSCP]\d+\b", flag.consumer)}

    assert named <= set(known), named - set(known)


def test_the_page_of_words_labels_every_flag() -> None:
    told = {name for _, group in words.WORDS for name, _ in group}

    assert {flag.name for flag in quality.FLAGS} <= told


def test_the_docs_are_made_from_the_table() -> None:
    assert (ROOT / "docs" / "data-quality.md").read_text() == quality.as_markdown()


def flags_of(engine) -> list[str]:
    return describe.flags(engine, engine.closed_k, np.array([0]))[0]


def test_a_gap_or_a_bad_frame_flags_every_symbol_until_the_lookback_is_over() -> None:
    for harm in (lambda e: e.gap(at(6), at(7)), lambda e: e.feed(b"\xc1")):
        engine = an_engine()
        engine.feed(frame_of(ticks("0 10x100")))
        close(engine, K0)
        assert flags_of(engine) == []

        harm(engine)
        close(engine, K0 + 1)
        assert flags_of(engine) == ["gap"]
        close(engine, K0 + 36)
        assert flags_of(engine) == ["gap"]
        close(engine, K0 + 37)
        assert flags_of(engine) == []


@pytest.mark.parametrize(("regular", "flagged"), [(500, True), (1500, False)])
def test_too_many_late_prints_flag_the_symbol_for_a_minute(regular: int, flagged: bool) -> None:
    engine = an_engine()
    text = ", ".join(f"{5 + n / 1000} 10x100" for n in range(regular))
    engine.feed(frame_of(ticks("0 10x100, " + text)))
    close(engine, K0 + 1)

    engine.feed(frame_of([t._replace(id=9999) for t in ticks("4 11x10")]))
    close(engine, K0 + 2)

    assert flags_of(engine) == (["late_rate"] if flagged else [])
    close(engine, K0 + 30)
    assert flags_of(engine) == []
