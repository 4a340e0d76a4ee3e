"""Tables of objects as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from .files import write_bytes

Row = Mapping[str, int | float]
"""One object: a number per column."""

COLUMNS = (
    "label",
    "bbox-0",
    "bbox-1",
    "bbox-2",
    "bbox-3",
    "centroid-0",
    "centroid-1",
    "area",
    "equivalent_diameter_area",
    "mean_probability",
    "flow_error",
)
"""Columns of a table, by the names of scikit-image where it has one; lengths in pixels."""


def table_csv_bytes(rows: Iterable[Row]) -> bytes:
    """Returns the objects as CSV, one row each, under a header; floating-point numbers with seven digits.

    Args:
        rows: One mapping of all `COLUMNS` per object.

    Raises:
        KeyError: A column is missing.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([_text(row[column]) for column in COLUMNS] for row in rows)
    return text.getvalue().encode()


def write_table_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes the objects as CSV; arguments and errors as in `table_csv_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, table_csv_bytes(rows))


def _text(value: int | float) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
