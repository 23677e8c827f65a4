"""Reports of the trades, tables that no spreadsheet runs, and the ledger made twice."""

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from fastparquet import ParquetFile
from hypothesis import given
from hypothesis import strategies as st

from accounts import selectors
from accounts import services as books
from accounts.models import Account
from execution import archive_bars, reports, tables
from execution import selectors as run_selectors
from execution.brokers.port import FillActivity, Side
from execution.domain.trade_figures import Bar, TradeFacts, figures
from execution.errors import ExportFailed
from execution.hub import exits
from execution.models import Order
from execution.services import rebuild, venue_state
from execution.tables import Kind
from execution.venue.faults import Rule
from shards.archive import SPOOL, finish
from shards.records import REVISED_ROW
from tests.fakes.desk import Bench
from tradeplane.pages import position

D = Decimal
OPENED, CLOSED = 1_000 * 10**9, 1_100 * 10**9
K = OPENED // 5_000_000_000


def a_trade(**changes: object) -> TradeFacts:
    base = {
        "entry": D("20.00"),
        "exit": D("20.40"),
        "stop": D("19.60"),
        "level": D("20.42"),
        "decided": D("19.99"),
        "opened_ns": OPENED,
        "closed_ns": CLOSED,
    }
    return TradeFacts(**{**base, **changes})


def a_bar(k: int, low: str, high: str, close: str) -> Bar:
    return Bar(k, D(high), D(low), D(close))


def test_a_trade_is_measured_in_bps_and_r() -> None:
    bars = [
        a_bar(K + 1, "19.80", "20.10", "20.00"),
        a_bar(K + 5, "19.90", "20.60", "20.50"),
        a_bar(K + 20 + 12, "20.30", "20.50", "20.30"),  # a minute after the exit
    ]

    found = figures(a_trade(), bars)

    assert found.entry_slippage_bps == D("5.00")
    assert found.exit_slippage_bps == D("10.00")
    assert (found.mae_r, found.mfe_r) == (D("-0.5"), D("1.5"))
    assert found.markouts_bps == {60: D("-50.00"), 300: None}


def test_every_figure_has_two_decimals_and_no_zero_a_minus() -> None:
    bars = [a_bar(K + 1, "19.96", "20.05", "20.00"), a_bar(K + 20 + 12, "21", "21", "20.40")]

    found = figures(a_trade(stop=D("19.70"), level=D("20.39999")), bars)

    assert (str(found.mae_r), str(found.mfe_r)) == ("-0.13", "1.33")
    assert str(found.exit_slippage_bps) == "0.00"
    assert [str(one) for one in found.markouts_bps.values()] == ["0.00", "None"]
    assert figures(a_trade(stop=D("20.00")), bars).mae_r is None  # nothing at risk


def test_without_buckets_nothing_is_made_up() -> None:
    found = figures(a_trade(decided=None, level=None), ())

    assert (found.mae_r, found.mfe_r, found.entry_slippage_bps) == (None, None, None)
    assert set(found.markouts_bps.values()) == {None}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+A1", "'+A1"),
        ("-A1", "'-A1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("ABCD", "ABCD"),
        (D("-12.50"), "-12.50"),
        (-3, "-3"),
        (None, ""),
        (True, "true"),
        (date(2026, 11, 20), "2026-11-20"),
        (D("1E+3"), "1000"),
    ],
)
def test_a_text_is_never_a_formula_and_a_number_stays_one(value: object, shown: str) -> None:
    assert tables.cell(value) == shown


@given(st.text(max_size=12))
def test_no_text_begins_a_formula_after_it_was_read_again(text: str) -> None:
    shown = tables.cell(text)

    assert shown.lstrip()[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20")


@pytest.fixture
def closed(db: None) -> Bench:
    """Two closed trades: one at its target, one left early; a corrected price in between."""
    bench = Bench.make(Rule(do="correct", nth=1, delay_ms=500, ticks=2), cooldown_after_trade_s=0)
    trade = bench.open()
    bench.step(600)
    bench.venue.quote(str(trade.take_profit), str(trade.take_profit + D("0.02")))
    bench.step(0)
    return bench


@pytest.mark.db
def test_sums_and_the_equity_curve_end_where_the_books_end(closed: Bench) -> None:
    told = reports.report(closed.run.pk)
    (row,) = told.trades

    assert row["exit_reason"] == "target"
    assert row["pnl"] == closed.trade().realized_pnl
    assert reports.equity_curve(told)[-1]["equity"] == closed.broker.account().cash
    for by in reports.GROUPS:
        (group,) = reports.sums(told, by)
        assert (group["trades"], group["wins"], group["pnl"]) == (1, 1, row["pnl"])


def moved(bench: Bench, kind: str, amount: str, n: int, day: int = 20) -> None:
    """Money of the broker's account moved without an order, on a day of November."""
    books.record_cash(
        Account.objects.get(),
        source_id=f"{kind}-{n}",
        kind=kind,
        amount=D(amount),
        ts_ns=bench.venue.now_ns + n,
        session_date=date(2026, 11, day),
    )


@pytest.fixture
def with_money(closed: Bench) -> Bench:
    """… and a fee, a dividend, a withdrawal, something unknown, and a fee of the day after."""
    for n, (kind, amount) in enumerate(
        [("fee", "-25.00"), ("income", "3.10"), ("transfer", "-500"), ("suspense", "0.70")]
    ):
        moved(closed, kind, amount, n)
    moved(closed, "fee", "-0.02", 9, day=23)
    return closed


@pytest.mark.db
def test_fees_income_and_transfers_are_in_sums_and_curve_by_their_day(with_money: Bench) -> None:
    told = reports.report(with_money.run.pk)
    pnl = told.trades[0]["pnl"]

    day, next_day = reports.sums(told, "day")

    assert (day["pnl"], day["fees"], day["income"]) == (pnl, D(25), D("3.10"))
    assert (day["other"], day["transfers"]) == (D("0.70"), D(-500))
    assert day["net"] == pnl - 25 + D("3.10") + D("0.70")
    assert (next_day["trades"], next_day["net"], next_day["average"]) == (0, D("-0.02"), None)
    curve = reports.equity_curve(told)
    assert curve[-1]["equity"] == selectors.cash(Account.objects.get())
    assert [step["what"] for step in curve].count("transfer") == 1
    assert curve[-1]["drawdown"] == D("-0.02") + min(D(0), D("-25") + D("3.80"))


@pytest.mark.db
@pytest.mark.parametrize("by", ["version", "hour", "exit_reason", "symbol"])
def test_what_no_trade_explains_is_a_line_of_its_own(with_money: Bench, by: str) -> None:
    told = reports.report(with_money.run.pk)

    trades, rest = reports.sums(told, by)

    assert (trades["trades"], rest["by"], rest["trades"]) == (1, "no trade", 0)
    assert (rest["fees"], rest["income"], rest["transfers"]) == (D("25.02"), D("3.10"), D(-500))


@pytest.mark.db
@pytest.mark.parametrize(("first", "last"), [(None, 20), (23, None), (21, 22)])
def test_some_days_begin_where_the_days_before_ended(
    with_money: Bench, first: int | None, last: int | None
) -> None:
    days = [None if one is None else date(2026, 11, one) for one in (first, last)]
    told = reports.report(with_money.run.pk, first=days[0], last=days[1])
    curve = reports.equity_curve(told)

    end = curve[-1]["equity"] if curve else told.opening
    cash = selectors.cash(Account.objects.get())
    assert end == (cash if last is None else cash + D("0.02"))
    assert end == told.opening + sum(
        (row["net"] + row["transfers"] for row in reports.sums(told, "day")), D(0)
    )


@pytest.mark.db
def test_a_part_that_was_sold_is_told_before_its_trade_is_closed(db: None) -> None:
    bench = Bench.make()
    trade = bench.open()
    leg = trade.orders.get(purpose="tp")
    sold = FillActivity(
        execution_id="part", order_id=str(leg.broker_id), symbol=leg.symbol, side=Side.SELL,
        quantity=100, price=D("20.50"), ts_ns=bench.venue.now_ns,
    )  # fmt: skip
    venue_state.apply_fill(bench.run, sold)

    told = reports.report(bench.run.pk)

    (day,) = reports.sums(told, "day")
    assert (day["trades"], day["other"]) == (0, 100 * D("20.50") - 100 * D("20.06"))
    held = selectors.positions(Account.objects.get())["ABCD"]
    at_cost = selectors.cash(Account.objects.get()) + held.cost
    assert reports.equity_curve(told)[-1]["equity"] == at_cost


@pytest.mark.db
def test_a_cover_is_no_part_of_the_entry(db: None, settings, tmp_path: Path) -> None:
    settings.TRADEPLANE_HOME = tmp_path
    bench = Bench.make(Rule(do="both_legs", nth=1, delay_ms=0))
    bench.open()
    target = bench.trade().take_profit
    bench.venue.quote(str(target), str(target + D("0.02")))
    for _ in range(8):
        bench.step(500)
    by = {order.purpose: order for order in Order.objects.filter(filled_quantity__gt=0)}

    (row,) = reports.trade_rows(bench.run.pk)

    assert (row["quantity"], row["entry"]) == (298, D("20.06"))
    assert (row["cover_quantity"], row["cover"]) == (298, by["c"].filled_value / 298)
    assert abs(row["entry_slippage_bps"]) < 20
    assert row["exit_slippage_bps"] == D("0.00")  # the leg that ended it got its price
    assert row["pnl"] == by["tp"].filled_value + by["sl"].filled_value - 298 * D("20.06") - (
        by["c"].filled_value
    )
    assert row["r"] == (row["pnl"] / (298 * (D("20.06") - D("19.70")))).quantize(D("0.01"))
    shown = position.closed(bench.trade())
    assert (shown["quantity"], shown["entry"]) == ("298", "20.06")
    assert "298 bought back" in shown["why"]
    (told,) = run_selectors.trade_rows(bench.run)
    assert (told["quantity"], told["bought_back"]) == (298, 298)


@pytest.mark.db
def test_the_events_alone_make_the_same_ledger(closed: Bench) -> None:
    found = rebuild.compare(closed.run)

    assert found.was == found.made
    assert found.differences == []
    call_command("books", "rebuild", "--run", closed.run.pk)


@pytest.mark.db
def test_a_ledger_that_the_events_do_not_make_is_found(closed: Bench, monkeypatch) -> None:
    facts = rebuild._facts

    def other(event: object) -> object:
        price, *rest = facts(event)
        return (price + D("0.01"), *rest)

    monkeypatch.setattr(rebuild, "_facts", other)

    with pytest.raises(CommandError, match="other books"):
        call_command("books", "rebuild", "--run", closed.run.pk)


@pytest.mark.db
def test_tables_are_written_whole_or_not_at_all(closed: Bench, tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    call_command("books", "trades", "--run", closed.run.pk, "--out", str(path))

    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == tuple(reports.TRADE_COLUMNS)
    assert D(row["pnl"]) == closed.trade().realized_pnl
    with pytest.raises(CommandError, match=r"ends in \.csv or \.parquet"):
        call_command("books", "trades", "--run", closed.run.pk, "--out", str(tmp_path / "t.xls"))
    assert [one.name for one in tmp_path.iterdir()] == ["trades.csv"]


@pytest.mark.db
def test_parquet_keeps_every_digit(closed: Bench, tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"

    call_command("books", "trades", "--run", closed.run.pk, "--out", str(path))

    (row,) = ParquetFile(io.BytesIO(path.read_bytes())).to_pandas().to_dict("records")
    (told,) = reports.trade_rows(closed.run.pk)
    assert tuple(row) == tuple(reports.TRADE_COLUMNS)
    assert D(row["pnl"]) == closed.trade().realized_pnl
    assert {name: row[name] for name in ("symbol", "slot", "quantity")} == {
        name: told[name] for name in ("symbol", "slot", "quantity")
    }


def read(path: Path) -> Any:
    """Return a Parquet file as a frame."""
    return ParquetFile(io.BytesIO(path.read_bytes())).to_pandas()


def test_parquet_tells_numbers_text_and_nothing_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [
        {"n": 1, "r": D("0.50"), "usd": D("0.1000001"), "text": "=1+1", "flag": True},
        {"n": None, "r": None, "usd": None, "text": None, "flag": None},
    ]

    kinds = (Kind.COUNT, Kind.RATIO, Kind.MONEY, Kind.TEXT, Kind.FLAG, Kind.RATIO)
    tables.write(path, rows, dict(zip([*rows[0], "empty"], kinds, strict=True)))

    first, second = read(path).to_dict("records")
    assert tuple(first.values())[:5] == (1, 0.5, "0.1000001", "=1+1", True)
    assert all(pd.isna(value) for value in (*second.values(), first["empty"]))


@pytest.mark.db
def test_ratios_can_be_reckoned_with_and_money_is_text_with_its_digits(
    closed: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "trades.parquet"

    call_command("books", "trades", "--out", str(path))

    frame, (told,) = read(path), reports.trade_rows(closed.run.pk)
    assert frame.r.mean() == float(told["r"])
    assert frame.pnl.map(D).sum() == told["pnl"]
    ratios = [name for name, kind in reports.TRADE_COLUMNS.items() if kind is Kind.RATIO]
    assert ratios == [name for name in frame if name == "r" or name.endswith(("_r", "_bps"))]
    assert {str(frame[name].dtype) for name in ratios} == {"float64"}


@pytest.mark.db
@pytest.mark.parametrize("what", ["trades", "sums", "equity"])
def test_a_table_without_rows_has_the_types_of_one_with_rows(
    closed: Bench, what: str, tmp_path: Path
) -> None:
    some, none = tmp_path / "some.parquet", tmp_path / "none.parquet"

    call_command("books", what, "--out", str(some))
    call_command("books", what, "--from", "2030-01-01", "--out", str(none))

    assert (len(read(some)), len(read(none))) == (1, 0)
    assert read(none).dtypes.to_dict() == read(some).dtypes.to_dict()


@pytest.mark.db
def test_the_archive_gives_the_newest_buckets_of_a_trade(closed: Bench, tmp_path: Path) -> None:
    trade = closed.trade()
    first, folder = trade.opened_ns // 5_000_000_000, tmp_path / f"{trade.day}"
    rows = np.zeros(4, REVISED_ROW)
    rows["k"] = (first - 1, first, first, first + 1)
    rows["symbol"], rows["rev"] = trade.symbol, (0, 0, 1, 0)
    rows["close"] = (1.0, 20.5, 20.25, 20.75)
    (folder / SPOOL).mkdir(parents=True)
    (folder / SPOOL / "1-1.buckets").write_bytes(rows.tobytes())
    finish(folder)

    found = archive_bars.reader(tmp_path)(trade)

    assert [(bar.k, bar.close) for bar in found] == [(first, D("20.25")), (first + 1, D("20.75"))]


@pytest.mark.db
def test_what_cannot_be_reported_is_one_line(db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is no run yet"):
        call_command("books", "trades")
    with pytest.raises(ExportFailed, match="nowhere"):
        tables.write(tmp_path / "nowhere" / "t.csv", [], {"a": tables.Kind.TEXT})
    for no_file in ("", ".", "/", "..", "a.txt"):
        with pytest.raises(ExportFailed, match="name a file that ends in"):
            tables.write(Path(no_file), [], {"a": tables.Kind.TEXT})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rebuild --out F.csv", "--out is for trades, sums, equity, not for rebuild"),
        ("rebuild --from 2026-11-20", "--from is for trades, sums, equity, not for rebuild"),
        ("trades --by symbol", "--by is for sums, not for trades"),
        ("equity --by day", "--by is for sums, not for equity"),
        ("sums --activity a", "--activity is for settle, not for sums"),
        ("trades --as fee", "--as is for settle, not for trades"),
        ("trades --reason x", "--reason is for settle, not for trades"),
        ("settle --to 2026-11-20", "--to is for trades, sums, equity, not for settle"),
        ("settle --as fee", "--as needs --activity"),
        ("settle --reason x", "--reason needs --activity"),
        ("trades --from 2026-11-21 --to 2026-11-20", "--from 2026-11-21 is after --to 2026-11-20"),
        ("sums --from 2013-13-01", "--from: '2013-13-01' is no day like 2013-10-08"),
        ("equity --to today", "--to: 'today' is no day like 2013-10-08"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused_in_one_line(line: str, said: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("books", *line.split())

    assert (str(refused.value), refused.value.returncode) == (said, 2)


@pytest.mark.db
@pytest.mark.parametrize("what", ["trades", "sums", "equity"])
def test_one_day_may_be_the_first_and_the_last(closed: Bench, what: str, capsys) -> None:
    call_command("books", what, "--from", "2026-11-20", "--to", "2026-11-20")

    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.db
def test_a_trade_left_early_is_told_apart(db: None) -> None:
    bench = Bench.make()
    exits.begin(bench.desk, bench.open(), "time_stop")
    bench.step(150)

    (row,) = reports.trade_rows(bench.run.pk)

    assert row["exit_reason"] == "time_stop"
    assert row["exit_slippage_bps"] is None
