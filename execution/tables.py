"""Tables for spreadsheets: CSV that no program takes for a formula, and Parquet."""

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from execution.errors import ExportFailed

#: What makes a cell a formula somewhere, full-width forms included; numbers are no text.
FORMULA = re.compile(r"^\s*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20|%]")
Row = Mapping[str, Any]


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


def write(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
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


def _write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([cell(row.get(name)) for name in columns] for row in rows)


def _write_parquet(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Money stays exact: Decimal becomes text with all its digits."""
    import pandas as pd  # noqa: PLC0415 - not small, and only for whoever exports
    from fastparquet import write  # noqa: PLC0415

    frame = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in columns})
    write(str(path), frame, compression="GZIP", write_index=False, object_encoding="utf8")


def _column(values: list[Any]) -> Any:
    """Return a column of numbers where all are (none is null), else of text."""
    import pandas as pd  # noqa: PLC0415

    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return pd.array(values, dtype="Int64")
    if kinds == {bool}:
        return pd.array(values, dtype="boolean")
    if kinds and kinds <= {int, float}:
        return pd.array(values, dtype="Float64").astype("float64")
    return pd.Series([None if value is None else _text(value) for value in values], dtype=object)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cell(value)
