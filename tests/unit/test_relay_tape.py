"""Tapes: what goes on comes off; damage is told, and everything before it is given."""

import datetime as dt
import gzip
import os
from pathlib import Path

import msgpack
import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import csv_kernels, frames, tape, tape_format

SECOND = 1_000_000_000
START_NS = 1_381_152_600 * SECOND  # 2013-10-07 09:30 New York
HEADER = tape.TapeHeader(day=dt.date(2013, 10, 7), symbols=("A", "B"))


def a_frame(symbol: str = "A", i: int = 1, ts_ns: int = START_NS) -> bytes:
    message = {"T": "t", "S": symbol, "i": i, "p": 1.5, "s": 100, "c": ["@"], "t": ts_ns}
    return frames.encode_array([frames.encode_message(message)])


def a_tape(path: Path, count: int = 30, per_block: int = 10) -> list[tuple[int, bytes]]:
    """Write `count` frames one second apart, alternating A and B; return what was written."""
    wanted = []
    with tape.TapeWriter(path, HEADER) as writer:
        for i in range(count):
            recv_ns = START_NS + i * SECOND
            wanted.append((recv_ns, a_frame("AB"[i % 2], i, recv_ns)))
            writer.append(*wanted[-1])
            if i % per_block == per_block - 1:
                writer.flush()
    return wanted


def read(path: Path, **options) -> tuple[list[tuple[int, bytes]], str | None]:
    """Everything the reader gives, and the name of the error that ended it."""
    limits = {name: options.pop(name) for name in ("start_ns", "end_ns") if name in options}
    found = []
    try:
        for block in tape.TapeReader(path, **options).blocks(**limits):
            found += [(int(ns), block.frame(i)) for i, ns in enumerate(block.recv_ns)]
    except tape.TapeError as exc:
        return found, type(exc).__name__
    return found, None


def test_frames_and_times_come_back_as_written(tmp_path):
    wanted = a_tape(tmp_path / "a.tape")

    assert read(tmp_path / "a.tape") == (wanted, None)
    header = tape.TapeReader(tmp_path / "a.tape").header
    assert (header.day, header.symbols, header.feed) == (dt.date(2013, 10, 7), ("A", "B"), "sip")


def test_a_time_range_is_half_open(tmp_path):
    wanted = a_tape(tmp_path / "a.tape")

    found, _ = read(tmp_path / "a.tape", start_ns=wanted[7][0], end_ns=wanted[23][0])

    assert found == wanted[7:23]


def test_a_large_batch_is_split_into_bounded_blocks_and_one_giant_frame_stands_alone(tmp_path):
    small, giant = a_frame(), b"\x91" + b"\xc0" * (tape_format.BLOCK_BYTES + 5)
    lengths = np.array([len(small)] * 30_000 + [len(giant)] + [len(small)] * 2, np.int64)
    recv_ns = np.arange(lengths.size) + START_NS
    data = small * 30_000 + giant + small * 2
    with tape.TapeWriter(tmp_path / "a.tape", HEADER) as writer:
        writer.append(START_NS - 1, small)
        writer.extend(recv_ns, lengths, data)

    blocks = list(tape.TapeReader(tmp_path / "a.tape").blocks())

    assert b"".join(block.packed().data for block in blocks) == small + data
    sizes = [len(block.data) for block in blocks]
    assert sum(size > tape_format.BLOCK_BYTES for size in sizes) == 1
    assert min(sizes[:2]) > tape_format.BLOCK_BYTES // 2


@given(cut=st.integers(1, 5_000))
@settings(max_examples=60, deadline=None)
def test_a_truncated_tape_gives_its_whole_blocks_and_says_so(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("tape") / "a.tape"
    wanted = a_tape(path)
    size = path.stat().st_size
    os.truncate(path, max(0, size - cut))

    found, error = read(path)

    assert found == wanted[: len(found)]
    assert len(found) < len(wanted)
    if path.stat().st_size >= 12 and found:
        assert len(found) % 10 == 0
        assert error in ("TapeTruncated", None)  # None: cut exactly between two blocks
        assert read(path, allow_truncated=True) == (found, None)
    else:
        assert error in ("TapeTruncated", "NotATape", None)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path_factory, at, bit):
    path = tmp_path_factory.mktemp("tape") / "a.tape"
    wanted = a_tape(path)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)

    found, error = read(path)

    assert error is not None
    assert found == wanted[: len(found)]


def test_a_tape_can_be_read_while_it_is_written(tmp_path):
    writer = tape.TapeWriter(tmp_path / "a.tape", HEADER)
    writer.append(START_NS, a_frame())
    writer.flush()
    writer.append(START_NS + 1, a_frame())

    found, error = read(tmp_path / "a.tape", allow_truncated=True)

    assert (len(found), error) == (1, None)
    writer.close()
    assert len(read(tmp_path / "a.tape")[0]) == 2


def test_missing_foreign_and_empty_files_are_named(tmp_path):
    (tmp_path / "foreign").write_bytes(b"ts_ns,symbol\n")
    (tmp_path / "empty").touch()

    for name, error in (("missing", tape.TapeError), ("foreign", tape.NotATape)):
        with pytest.raises(error, match=name):
            tape.TapeReader(tmp_path / name)
    with pytest.raises(tape.NotATape, match="empty"):
        tape.TapeReader(tmp_path / "empty")


def test_info_counts_up_to_the_damage_and_tells_it(tmp_path):
    a_tape(tmp_path / "a.tape")
    os.truncate(tmp_path / "a.tape", (tmp_path / "a.tape").stat().st_size - 3)

    found = tape.info(tmp_path / "a.tape")

    assert (found.frames, found.messages) == (20, {"t": 20})
    assert "cut off" in found.damaged


def test_a_cut_keeps_the_range_and_the_symbols(tmp_path):
    wanted = a_tape(tmp_path / "a.tape")

    header = tape.cut(tmp_path / "a.tape", tmp_path / "b.tape", wanted[5][0], wanted[25][0], ["B"])

    assert (header.symbols, header.source) == (("B",), "cut")
    assert read(tmp_path / "b.tape") == (wanted[5:25:2], None)


def test_a_failed_cut_leaves_nothing(tmp_path):
    a_tape(tmp_path / "a.tape")

    with pytest.raises(tape.TapeError, match="nothing in the given time range"):
        tape.cut(tmp_path / "a.tape", tmp_path / "b.tape", 0, 1)
    with pytest.raises(tape.TapeError, match="no ZZ on this tape"):
        tape.cut(tmp_path / "a.tape", tmp_path / "b.tape", 0, 2**62, ["A", "ZZ"])

    assert [path.name for path in tmp_path.iterdir()] == ["a.tape"]


# --- import ------------------------------------------------------------------------------------


def trade_row(ts_ns=START_NS, symbol="A", price="10.25", size="100", conditions="@", **odd) -> str:
    exchange, tape_letter = odd.get("exchange", "V"), odd.get("tape", "A")
    row = f"{ts_ns},{symbol},t,{price},{size},{exchange},{conditions},{tape_letter},0,0"
    return row + ",,,,,,"


def quote_row(ts_ns=START_NS, symbol="A", bid="10.24,300,P", ask="10.26,200,Q") -> str:
    return f"{ts_ns},{symbol},q,,,,R,A,,0,{bid},{ask}"


def a_csv(path: Path, *rows: str, end: str = "\n") -> Path:
    text = "\n".join((csv_kernels.COLUMNS, *rows)) + end
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def messages(path: Path) -> list[dict]:
    found, error = read(path)
    assert error is None
    return [message for _, raw in found for message in msgpack.unpackb(raw, timestamp=0)]


def test_a_trade_and_a_quote_become_the_venues_messages(tmp_path):
    source = a_csv(tmp_path / "a.csv", trade_row(conditions="F;T"), quote_row())

    header = tape.import_csv([source], tmp_path / "a.tape")

    trade, quote = messages(tmp_path / "a.tape")
    assert trade.pop("t").to_unix_nano() == quote.pop("t").to_unix_nano() == START_NS
    assert next(iter(trade)) == "T"
    assert trade == {
        "T": "t", "S": "A", "i": 1, "x": "V", "p": 10.25, "s": 100, "c": ["F", "T"], "z": "A",
    }  # fmt: skip
    assert quote == {
        "T": "q", "S": "A", "bx": "P", "bp": 10.24, "bs": 300, "ax": "Q", "ap": 10.26, "as": 200,
        "c": ["R"], "z": "A",
    }  # fmt: skip
    assert (header.day, header.channels) == (dt.date(2013, 10, 7), ("trades", "quotes"))


def test_empty_sides_and_letters_are_zero_and_blank(tmp_path):
    rows = (trade_row(exchange="", tape="", conditions=""), quote_row(bid=",,"))

    tape.import_csv([a_csv(tmp_path / "a.csv", *rows)], tmp_path / "a.tape")

    trade, quote = messages(tmp_path / "a.tape")
    assert (trade["x"], trade["z"], trade["c"]) == (" ", " ", [])
    assert (quote["bx"], quote["bp"], quote["bs"]) == (" ", 0.0, 0)


def test_files_merge_by_time_then_trades_first_then_symbol_then_row(tmp_path):
    one = a_csv(tmp_path / "q.csv.gz", quote_row(START_NS + 1), quote_row(START_NS + 2))
    two = a_csv(tmp_path / "t.csv", trade_row(START_NS + 2, "B"), trade_row(START_NS + 3, "B"))
    rows = (trade_row(START_NS + 2, size="1"), trade_row(START_NS + 2, size="2"))
    three = a_csv(tmp_path / "u.csv", *rows, end="")

    tape.import_csv([one, two, three], tmp_path / "a.tape")

    found, _ = read(tmp_path / "a.tape")
    decoded = [[(m["T"], m["S"], m.get("s")) for m in msgpack.unpackb(raw)] for _, raw in found]
    assert decoded == [
        [("q", "A", None)],
        [("t", "A", 1), ("t", "A", 2), ("t", "B", 100), ("q", "A", None)],
        [("t", "B", 100)],
    ]
    assert [ns - START_NS for ns, _ in found] == [1, 2, 3]


def test_small_pieces_merge_as_large_ones_do(tmp_path, monkeypatch):
    sources = []
    for number, symbol in enumerate("ABC"):
        rows = [
            trade_row(START_NS + (i * (number + 1)) // 3, symbol, size=str(i + 1))
            for i in range(200)
        ]
        sources.append(a_csv(tmp_path / f"{symbol}.csv", *rows))
    tape.import_csv(sources, tmp_path / "large.tape")
    monkeypatch.setattr("relay.csv_import.CHUNK_BYTES", 300)

    tape.import_csv(sources, tmp_path / "small.tape")

    assert read(tmp_path / "small.tape") == read(tmp_path / "large.tape")
    assert len(messages(tmp_path / "small.tape")) == 600


def test_one_moment_with_many_prints_is_split_at_500(tmp_path):
    source = a_csv(tmp_path / "a.csv", *[trade_row()] * 1201)

    tape.import_csv([source], tmp_path / "a.tape")

    found, _ = read(tmp_path / "a.tape")
    assert [len(msgpack.unpackb(raw)) for _, raw in found] == [500, 500, 201]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (trade_row(price="ten"), "bad price 'ten'"),
        (trade_row(price=""), "bad price ''"),
        (trade_row(price="nan"), "bad price 'nan'"),
        (trade_row(size="1.5"), "bad size '1.5'"),
        (trade_row(symbol=""), "bad symbol ''"),
        (trade_row(symbol="X" * 17), "bad symbol"),
        (trade_row(ts_ns="12x"), "bad ts_ns '12x'"),
        (trade_row(ts_ns=START_NS - 1), "ts_ns goes backwards"),
        (trade_row(conditions="@;;F"), "bad conditions '@;;F'"),
        (trade_row().replace(",t,", ",z,"), "bad kind 'z'"),
        (quote_row(ask="1.2.3,1,Q"), "bad ask '1.2.3'"),
        (quote_row(bid="1.2,x,Q"), "bad bid_size 'x'"),
        (trade_row() + ",", "17 fields, not 16"),
        ("", "1 fields, not 16"),
    ],
)
def test_a_bad_row_names_file_and_line_and_leaves_nothing(tmp_path, row, reason):
    source = a_csv(tmp_path / "bad.csv", trade_row(), row, trade_row())

    with pytest.raises(tape.BadRow, match=r"bad\.csv: line 3: ") as caught:
        tape.import_csv([source], tmp_path / "a.tape")

    assert reason in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_unreadable_sources_are_named(tmp_path):
    whole = a_csv(tmp_path / "a.csv.gz", *[trade_row()] * 50)
    (tmp_path / "cut.csv.gz").write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "other.csv").write_text("a,b\n")
    a_csv(tmp_path / "none.csv")
    next_day = a_csv(tmp_path / "next.csv", trade_row(START_NS + 86_400 * SECOND))

    for names, reason in (
        (["cut.csv.gz"], "cut.csv.gz.*not intact gzip"),
        (["other.csv"], "other.csv: line 1: the columns are not"),
        (["none.csv"], "no rows"),
        (["missing.csv"], "missing.csv: No such file"),
        ([whole.name, next_day.name], "2013-10-07 and 2013-10-08"),
    ):
        with pytest.raises(tape.TapeError, match=reason):
            tape.import_csv([tmp_path / name for name in names], tmp_path / "a.tape")
    assert not (tmp_path / "a.tape").exists()


@given(st.decimals(0, 10**6, places=4), st.integers(0, 10**9))
@settings(max_examples=100, deadline=None)
def test_prices_and_sizes_are_parsed_as_python_does(tmp_path_factory, price, size):
    folder = tmp_path_factory.mktemp("csv")
    source = a_csv(folder / "a.csv", trade_row(price=str(price), size=str(size)))

    tape.import_csv([source], folder / "a.tape")

    (trade,) = messages(folder / "a.tape")
    assert (trade["p"], trade["s"]) == (float(price), size)


# --- the command -------------------------------------------------------------------------------


def test_the_command_imports_shows_and_cuts(tmp_path, capsys):
    rows = [trade_row(START_NS + i * 60 * SECOND, "AB"[i % 2]) for i in range(90)]
    source, whole, part = a_csv(tmp_path / "a.csv", *rows), tmp_path / "a.tape", tmp_path / "b.tape"

    call_command("tape", "import", str(source), "--out", str(whole))
    call_command("tape", "cut", str(whole), "--out", str(part), "--from", "10:00", "--to", "10:10")

    assert "10:00:00 New York" in capsys.readouterr().out
    assert tape.info(part).messages == {"t": 10}


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "missing.tape"],
        ["import", "missing.csv", "--out", "x"],
        ["cut", "missing.tape", "--out", "x", "--from", "10:00", "--to", "11:00"],
    ],
)
def test_the_command_fails_with_one_line(arguments):
    with pytest.raises(CommandError, match="No such file") as caught:
        call_command("tape", *arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.tape
def test_a_real_day_is_imported_row_for_row(tmp_path):
    folder = Path(os.environ.get("TRADEPLANE_TAPES", "../shared/tapes")) / "ticks"
    sources = [folder / f"AIG_20131007_{kind}.csv.gz" for kind in "tq"]
    if not all(source.is_file() for source in sources):
        pytest.skip("no real tapes here")

    tape.import_csv(sources, tmp_path / "a.tape")

    with gzip.open(sources[0], "rt") as file:
        rows = [line.split(",") for line in file.read().splitlines()[1:]]
    found = [message for message in messages(tmp_path / "a.tape") if message["T"] == "t"]
    assert len(found) == len(rows)
    for number, (row, message) in enumerate(zip(rows, found, strict=True), 1):
        assert message["t"].to_unix_nano() == int(row[0])
        assert (message["i"], message["p"], message["s"]) == (number, float(row[3]), int(row[4]))
        assert message["c"] == [name for name in row[6].split(";") if name]
