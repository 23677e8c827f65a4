"""`manage.py lab`: tables of a tape, complete or not at all, one clear line when it cannot."""

import csv
import json
import math
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from execution.models import Run
from relay.tape_format import TapeHeader, TapeWriter
from shards.engine import bucket_hash
from shards.records import BUCKET_ROW
from signals.models import ParameterSet
from tests.shard_builders import SESSION, frame_of
from tests.unit.test_shards_engine import a_burst
from tradeplane.lab.replay import replay


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "burst.tape"
    prints = sorted([*a_burst(), *a_burst(symbol="ZED", start=1000)], key=lambda t: t.ts_ns)
    header = TapeHeader(day=SESSION.day, symbols=("ACME", "ZED"), channels=("trades",))
    with TapeWriter(path, header) as writer:
        for tick in prints:
            writer.append(tick.ts_ns, frame_of([tick]))
    return path


def lab(*arguments: object) -> dict:
    out = StringIO()
    call_command("lab", *map(str, arguments), "--json", stdout=out)
    return json.loads(out.getvalue().splitlines()[-1])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_buckets_are_written_with_the_columns_of_the_design(tape: Path, tmp_path: Path) -> None:
    told = lab("buckets", tape, "--out", tmp_path / "b.csv")

    found = rows(tmp_path / "b.csv")
    assert list(found[0]) == [
        "symbol", "k", "start_ns", "open", "high", "low", "close", "volume", "trades", "vwap",
        "synthetic",
    ]  # fmt: skip
    assert len(found) == told["rows"] == 2 * 130
    assert found[0]["symbol"] == "ACME"
    assert int(found[0]["start_ns"]) == SESSION.open_ns
    assert told["symbols"] == ["ACME", "ZED"]


def test_reading_the_table_gives_the_same_bits(tape: Path, tmp_path: Path) -> None:
    import numpy as np  # noqa: PLC0415

    told = lab("buckets", tape, "--out", tmp_path / "b.csv", "--shards", 4)
    read = np.array(
        [
            tuple(
                row[name].encode() if name == "symbol" else
                (int if BUCKET_ROW[name].kind in "iu" else float)(row[name])
                for name in BUCKET_ROW.names
            )
            for row in rows(tmp_path / "b.csv")
        ],
        BUCKET_ROW,
    )  # fmt: skip

    assert bucket_hash(read) == told["hash"]


def test_the_oscillator_is_empty_until_it_is_warm(tape: Path, tmp_path: Path) -> None:
    lab("oscillator", tape, "--out", tmp_path / "o.csv", "--set", "ao_accel_lookback=2")

    acme = [row for row in rows(tmp_path / "o.csv") if row["symbol"] == "ACME"]
    assert list(acme[0]) == ["symbol", "k", "ao", "ac", "x_bps", "z", "accel"]
    assert next(n for n, row in enumerate(acme) if row["ao"]) == 33
    assert next(n for n, row in enumerate(acme) if row["x_bps"]) == 37
    assert next(n for n, row in enumerate(acme) if row["accel"]) == 39
    assert next(n for n, row in enumerate(acme) if row["z"]) == 61
    last = acme[-1]
    slope = (float(last["x_bps"]) - float(acme[-3]["x_bps"])) / 2
    assert float(last["accel"]) == pytest.approx(slope, abs=1e-9)


def test_candidates_are_told_with_their_numbers(tape: Path, tmp_path: Path) -> None:
    told = lab("candidates", tape, "--out", tmp_path / "c.csv", "--profile", "careful")

    found = rows(tmp_path / "c.csv")
    assert told["births"] == 1
    assert {row["symbol"] for row in found} == {"ACME"}
    assert all(math.isfinite(float(row["z"])) for row in found)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.tape"], "nowhere.tape"),
        (["{tape}", "--set", "fast_perod=3"], "fast_period"),
        (["{tape}", "--set", "fast_period=much"], "fast_period"),
        (["{tape}", "--set", "fast_period=40"], "slow_period"),
        (["{cut}"], "cut off"),
        (["{noise}"], "not a tape"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    tape: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    cut, noise = tmp_path / "cut.tape", tmp_path / "noise.tape"
    cut.write_bytes(tape.read_bytes()[:-10])
    noise.write_bytes(b"x" * 100)
    given = [each.format(tape=tape, cut=cut, noise=noise) for each in arguments]
    before = set(tmp_path.iterdir())

    with pytest.raises(CommandError) as caught:
        lab("buckets", *given, "--out", tmp_path / "b.csv")

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


def test_an_output_that_cannot_be_written_is_named(tape: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        lab("buckets", tape, "--out", tmp_path / "nowhere" / "b.csv")


def test_a_replay_stops_where_lock_step_stops(tape: Path) -> None:
    from signals.parameters.catalogue import defaults  # noqa: PLC0415

    ks = [step.k - SESSION.first_k for step in replay(tape, defaults(), session=SESSION)]

    assert ks == list(range(130))


@pytest.mark.django_db
def test_a_backtest_leaves_no_trace_in_the_operators_database(tape: Path, tmp_path: Path) -> None:
    told = lab("run", tape, "--profile", "quiet", "--out", tmp_path / "run")
    again = lab("decisions", tape, "--profile", "quiet", "--shards", 3, "--out", tmp_path / "d")

    written = (tmp_path / "run" / "decisions.jsonl").read_bytes()
    assert written == (tmp_path / "d").read_bytes()
    assert told["hashes"] == again["hashes"]
    assert told["decisions"] == again["rows"] == len(written.splitlines()) > 0
    assert told["hashes"]["buckets"] == lab("buckets", tape, "--out", tmp_path / "b")["hash"]
    assert told["books_ok"] is True
    assert told["invariants"]["broken"] == []
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "decisions.jsonl", "fills.jsonl", "trades.jsonl", "report.json",
    }  # fmt: skip
    assert not Run.objects.exists()
    assert not ParameterSet.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.tape"], "nowhere.tape"),
        (["{tape}", "--set", "alpaca_trading_mode=live"], "trading mode is live"),
        (["{cut}"], "cut off"),
    ],
)
def test_a_backtest_that_cannot_be_done_is_one_line(
    tape: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    cut = tmp_path / "cut.tape"
    cut.write_bytes(tape.read_bytes()[:-10])
    given = [each.format(tape=tape, cut=cut) for each in arguments]

    with pytest.raises(CommandError) as caught:
        lab("decisions", *given, "--out", tmp_path / "d.jsonl")

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d.jsonl").exists()
