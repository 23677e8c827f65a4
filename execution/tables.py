"""Tables for spreadsheets: CSV that no program takes for a formula, and Parquet."""

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from execution.errors import ExportFailed

#: What makes a cell a formula somewhere, full-width forms included; numbers are no text.
FORMULA = re.compile(r"^\s*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20|%]")
Row = Mapping[str, Any]


class Kind(StrEnum):
    """What a column holds, and so its type in Parquet, also when no row has a value for it."""

    TEXT = "text"
    COUNT = "count"  # int
    FLAG = "flag"  # bool
    MONEY = "money"  # USD, Decimal; text in Parquet: what writes it knows no exact decimals
    RATIO = "ratio"  # Decimal that is no money, so it may become a float


DTYPES = {Kind.COUNT: "Int64", Kind.FLAG: "boolean", Kind.RATIO: "float64"}
Columns = Mapping[str, Kind]


def cell(value: Any) -> str:
    """Return a value as a CSV cell; a text that could be a formula is led by an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if FORMULA.match(text) else text


def write(path: Path, rows: Sequence[Row], columns: Columns) -> None:
    """Write rows to `.csv` or `.parquet`, whole or not at all.

    Raises:
        ExportFailed: another ending, or a folder that cannot be written.
    """
    write_as = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix)
    if write_as is None:
        raise ExportFailed(f"{path}: name a file that ends in .csv or .parquet")
    fresh = path.with_name(f".{path.name}.part")
    try:
        write_as(fresh, rows, columns)
        fresh.replace(path)
    except OSError as exc:
        raise ExportFailed(f"{path}: {exc.strerror}") from exc
    finally:
        fresh.unlink(missing_ok=True)


def _write_csv(path: Path, rows: Sequence[Row], columns: Columns) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([cell(row.get(name)) for name in columns] for row in rows)


def _write_parquet(path: Path, rows: Sequence[Row], columns: Columns) -> None:
    """Money stays exact, as text with all its digits; ratios become float64."""
    import pandas as pd  # noqa: PLC0415 - not small, and only for whoever exports
    from fastparquet import write  # noqa: PLC0415

    frame = pd.DataFrame(
        {name: _column([row.get(name) for row in rows], kind) for name, kind in columns.items()}
    )
    write(str(path), frame, compression="GZIP", write_index=False, object_encoding="utf8")


def _column(values: list[Any], kind: Kind) -> Any:
    """Return a column of the type of its kind, whatever its values are; None is null there."""
    import pandas as pd  # noqa: PLC0415

    if kind not in DTYPES:
        return pd.Series([None if one is None else _text(one) for one in values], dtype=object)
    if kind is Kind.RATIO:
        values = [None if one is None else float(one) for one in values]
    return pd.Series(values, dtype=DTYPES[kind])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cell(value)
