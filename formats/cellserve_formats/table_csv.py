"""Tables of objects as CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from cellserve_contract.objects import Column, columns

from .files import replacing
from .image import PixelSize

Row = Mapping[str, int | float]
"""One object: a number per column."""


def table_csv_bytes(
    rows: Iterable[Row],
    axes: str = "YX",
    pixel_size: PixelSize | None = None,
    table: Sequence[Column] | None = None,
) -> bytes:
    """Returns the objects as CSV, one row each, under a header; floating-point numbers with seven digits.

    The last columns, `pixel_size_y_um` and so on, repeat the pixel size in each row; they are empty if it is unknown.

    Args:
        rows: One mapping of all columns per object.
        axes: Axes of the label image: "YX" or "ZYX", with a leading T for a time series.
        pixel_size: That of the segmented image, micrometres.
        table: The columns; None: those of `cellserve_contract.objects` for these axes.

    Raises:
        KeyError: A column is missing.
    """
    text = io.StringIO()
    _write(text, rows, axes, pixel_size, table)
    return text.getvalue().encode()


def write_table_csv(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    pixel_size: PixelSize | None = None,
    axes: str = "YX",
    table: Sequence[Column] | None = None,
) -> None:
    """Writes the objects as CSV, row by row; arguments and errors as in `table_csv_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        try:
            _write(text, rows, axes, pixel_size, table)
        finally:
            text.detach()  # flushed, and the file stays open


def _write(
    text: TextIO, rows: Iterable[Row], axes: str, pixel_size: PixelSize | None, table: Sequence[Column] | None
) -> None:
    lines = csv.writer(text, lineterminator="\n")
    names = [column.name for column in (columns(axes) if table is None else table)]
    sizes = {f"pixel_size_{axis.lower()}_um": getattr(pixel_size, axis.lower(), None) for axis in axes if axis != "T"}
    lines.writerow([*names, *sizes])
    size = [_text(value) for value in sizes.values()]
    lines.writerows([*(_text(row[name]) for name in names), *size] for row in rows)


def _text(value: int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
