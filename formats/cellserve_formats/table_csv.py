"""Tables of objects as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from cellserve_contract.objects import columns

from .files import write_bytes

Row = Mapping[str, int | float]
"""One object: a number per column."""


def table_csv_bytes(rows: Iterable[Row], axes: str = "YX") -> bytes:
    """Returns the objects as CSV, one row each, under a header; floating-point numbers with seven digits.

    Args:
        rows: One mapping of all columns of `cellserve_contract.objects` per object.
        axes: Axes of the label image.

    Raises:
        KeyError: A column is missing.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [column.name for column in columns(axes)]
    table.writerow(names)
    table.writerows([_text(row[name]) for name in names] for row in rows)
    return text.getvalue().encode()


def write_table_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes the objects as CSV; arguments and errors as in `table_csv_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, table_csv_bytes(rows))


def _text(value: int | float) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
