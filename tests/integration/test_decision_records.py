"""Decision records only grow, hang together, and come out of their inputs again."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import QuerySet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.errors import AppendOnlyViolation
from execution.models import Decision, DecisionChain, Round
from execution.services import chain, replay, rounds
from signals.messages import Candidate
from tests.fakes.desk import Bench, packed
from tests.integration.test_hub_late import a_report, late
from tests.unit.domain_builders import K, a_candidate

pytestmark = [pytest.mark.django_db, pytest.mark.db]

VALUES = {
    "x": st.sampled_from([4.0, 12.0, 30.0, float("nan")]),
    "z": st.floats(0, 9),
    "surge": st.floats(0, 40),
    "synthetic_share": st.floats(0, 1),
    "shadow": st.booleans(),
    "halted": st.booleans(),
    "quote": st.sampled_from([None, ...]),
}


@st.composite
def candidates(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Some symbols of one round, each with some of its numbers changed."""
    symbols = draw(st.sets(st.sampled_from(["AA", "BB", "CC", "DD"]), min_size=1))
    changes = {
        symbol: {n: draw(v) for n, v in VALUES.items() if draw(st.booleans())} for symbol in symbols
    }
    return {s: {n: v for n, v in each.items() if v is not ...} for s, each in changes.items()}


def decide(bench: Bench, k: int, found: list[Candidate]) -> None:
    change_inputs(bench.close_round(k), candidates=tuple(found))
    rounds.decide_round(run_id=bench.run.pk, k=k, epoch=bench.epoch)


def change_inputs(row: Round, **changes: Any) -> None:
    row.inputs = packed(replace(rounds.inputs_of(row), **changes))
    row.save()


def wrong(bench: Bench) -> list[str]:
    return list(chain.problems(bench.run))


def verify(what: str = "verify", *more: str) -> dict[str, Any]:
    out = StringIO()
    call_command("decisions", what, "--json", *more, stdout=out, stderr=StringIO())
    return dict(json.loads(out.getvalue().splitlines()[-1]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds_of=st.lists(candidates(), min_size=1, max_size=4))
def test_replaying_the_records_of_a_run_gives_the_records(
    rounds_of: list[dict[str, dict[str, Any]]], db: None
) -> None:
    with transaction.atomic():
        bench = Bench.make(confirm_buckets=2)
        for n, found in enumerate(rounds_of):
            k = K + n
            decide(
                bench,
                k,
                [a_candidate(s, k=k, candidate_id=f"c-{s}", **each) for s, each in found.items()],
            )
        late(bench, a_report(a_candidate("ZZ")))

        again = list(replay.replay_run(bench.run))

        assert len(again) == Decision.objects.count() == 1 + sum(map(len, rounds_of))
        assert [one for one in again if not one.same] == []
        assert wrong(bench) == []
        transaction.set_rollback(True)


def test_a_skipped_round_and_what_came_late_are_replayed_too() -> None:
    bench = Bench.make()
    rounds.skip_round(bench.close_round(K))
    late(bench, a_report(a_candidate("WXYZ"), a_candidate("AAAA"), shard=2))
    late(bench, a_report(a_candidate("WXYZ"), a_candidate("BBBB"), shard=3))

    assert [r.outcome for r in replay.replay_run(bench.run)] == [
        "skipped_stale", "late_for_round", "late_for_round", "late_for_round",
    ]  # fmt: skip
    assert verify("replay")["problems"] == []
    assert verify("replay", "--symbol", "bbbb")["records"] == 1
    assert verify("verify") == {
        "run": "run-1", "records": 4, "problems": [], "said": "the chain is whole",
    }  # fmt: skip


def test_every_record_names_its_inputs_the_rules_and_the_record_before_it() -> None:
    bench = Bench.make()
    bench.decide()
    bench.decide(K + 1)

    first, second = Decision.objects.order_by("pk")
    assert first.record["prev_record"] == ""
    assert second.record["prev_record"] == first.digest
    assert first.record["inputs_ref"] != second.record["inputs_ref"]
    assert first.record["code_version"] == chain.rules_version()
    assert DecisionChain.objects.get().head == second.digest


def test_records_are_never_changed_through_the_model() -> None:
    bench = Bench.make()
    bench.decide()
    row = Decision.objects.get()

    for change in (
        lambda: Decision.objects.update(outcome="fired"),
        lambda: Decision.objects.all().delete(),
        row.save,
        row.delete,
    ):
        with pytest.raises(AppendOnlyViolation):
            change()


TAMPERED = {
    "a number": lambda row: {"record": {**row.record, "streak": 7}},
    "a column": lambda row: {"primary_reason": "C4: something else"},
    "the order": lambda row: {"record": {**row.record, "prev_record": "0" * 64}},
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_changed_record_is_found(how: str) -> None:
    bench = Bench.make()
    bench.decide()
    bench.decide(K + 1)
    row = Decision.objects.order_by("pk")[0]

    QuerySet(Decision).filter(pk=row.pk).update(**TAMPERED[how](row))

    assert any(f"record {row.pk}" in line for line in wrong(bench))


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_record_is_found_also_at_the_end(which: int) -> None:
    bench = Bench.make()
    bench.decide()
    bench.decide(K + 1)

    gone = Decision.objects.order_by("pk")[which]
    QuerySet(Decision).filter(pk=gone.pk)._raw_delete("default")

    assert "2 records were written, 1 are here" in wrong(bench)


def test_changed_inputs_are_found_by_the_chain_and_by_the_replay() -> None:
    bench = Bench.make()
    bench.decide()
    row = Round.objects.get()
    change_inputs(row, trades_today=3)

    assert any("the inputs" in line for line in wrong(bench))
    (found,) = replay.replay_run(bench.run)
    assert "outcome" in found.differs
    with pytest.raises(CommandError, match="1 of 1 records are wrong"):
        verify("replay")


def test_the_command_says_which_run_it_does_not_know() -> None:
    with pytest.raises(CommandError, match="no run yet"):
        verify()
    with pytest.raises(CommandError, match="no run nowhere"):
        verify("verify", "--run", "nowhere")
