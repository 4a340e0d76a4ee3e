"""Tables of objects as Parquet files, written part by part; needs the extra `formats`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cellserve_contract.objects import Column, columns
from numpy.typing import ArrayLike

from .files import replacing
from .image import PixelSize
from .table_csv import Row

_TYPES = {"int": pa.int64(), "float": pa.float64()}
_ROWS_OF_A_GROUP = 1 << 17


class TableParquetWriter:
    """Writes the objects of an image of any size in parts; a context manager that puts the file into its place.

    The file replaces an earlier one when the context ends
    without an error. `pandas.read_parquet(path).attrs` has the axes and the pixel size. With `region`, the table has a
    column `region`, and the attributes have what spatialdata's `TableModel.parse` asks for, under `spatialdata_attrs`.

    Args:
        path: The file.
        axes: Axes of the label image: "YX" or "ZYX".
        pixel_size: That of the segmented image, micrometres.
        region: Name of the label image in a spatialdata object; None for a table without the column.
        table: The columns; None: those of `cellserve_contract.objects` for these axes.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        axes: str = "YX",
        pixel_size: PixelSize | None = None,
        region: str | None = None,
        table: Sequence[Column] | None = None,
    ) -> None:
        self._path = path
        self._region = region
        self._schema = _schema(axes, pixel_size, region, columns(axes) if table is None else table)
        self._waiting: list[pa.Table] = []
        self._stack = contextlib.ExitStack()

    def write(self, objects: Mapping[str, ArrayLike]) -> None:
        """Adds rows.

        Args:
            objects: The values of each column, of equal length.

        Raises:
            KeyError: A column is missing.
            OSError: The file cannot be written.
            ValueError: The columns differ in length.
        """
        values = {}
        for field in self._schema:
            if field.name == "region":
                continue
            values[field.name] = _column(objects[field.name], field.type)
        if self._region is not None:
            indices = _column(np.zeros(len(values["label"])), pa.int32())
            values["region"] = pa.DictionaryArray.from_arrays(indices, _word(self._region))
        self._waiting.append(pa.Table.from_arrays(list(values.values()), schema=self._schema))
        if sum(len(table) for table in self._waiting) >= _ROWS_OF_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.concat_tables(self._waiting))
        self._waiting.clear()

    def __enter__(self) -> TableParquetWriter:
        with self._stack as stack:
            file = stack.enter_context(replacing(self._path))
            self._file = stack.enter_context(pq.ParquetWriter(file, self._schema, compression="zstd"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._waiting:
            with self._stack:
                self._flush()
        self._stack.__exit__(kind, error, trace)


def write_table_parquet(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    axes: str = "YX",
    pixel_size: PixelSize | None = None,
    *,
    region: str | None = None,
    table: Sequence[Column] | None = None,
) -> None:
    """Writes the objects of one result.

    Args:
        path: The file.
        rows: One mapping of all columns per object.
        axes: As for `TableParquetWriter`, as are all others.
        pixel_size: Micrometres.
        region: Name of the label image in a spatialdata object.
        table: The columns.

    Raises:
        KeyError: A column is missing.
        OSError: The file cannot be written.
    """
    known, all_rows = columns(axes) if table is None else table, list(rows)
    with TableParquetWriter(path, axes, pixel_size, region, known) as writer:
        writer.write({column.name: [row[column.name] for row in all_rows] for column in known})


def _column(values: ArrayLike, type: pa.DataType) -> pa.Array:
    """Returns numbers as a column. `pa.array` imports pandas, which takes half a second."""
    numbers = np.ascontiguousarray(values, type.to_pandas_dtype())
    return pa.Array.from_buffers(type, len(numbers), [None, pa.py_buffer(numbers)])


def _word(text: str) -> pa.Array:
    """Returns an array of one string; see `_column`."""
    data = text.encode()
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(data)], np.int32)), pa.py_buffer(data)]
    )


def _schema(axes: str, pixel_size: PixelSize | None, region: str | None, table: Sequence[Column]) -> pa.Schema:
    fields = [
        pa.field(column.name, _TYPES[column.kind], False, {"unit": column.unit, "meaning": column.meaning})
        for column in table
    ]
    attributes: dict[str, Any] = {"axes": axes, "pixel_size_um": pixel_size and pixel_size._asdict()}
    if region is not None:
        fields.append(pa.field("region", pa.dictionary(pa.int32(), pa.string()), False))
        attributes["spatialdata_attrs"] = {"region": region, "region_key": "region", "instance_key": "label"}
    return pa.schema(fields, {"PANDAS_ATTRS": json.dumps(attributes)})
