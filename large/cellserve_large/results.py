"""The results of a run: label image, table and picture, each there as a whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellserve.engines import Progress
from cellserve.saving import LABELS_IN_IMAGE, large_results, result_stem, run_folder
from cellserve_contract.objects import columns
from cellserve_formats import PixelSize
from cellserve_formats.files import write_bytes
from cellserve_formats.lazy import LazyImage
from cellserve_formats.ome_zarr import LABEL_CHUNKS, OmeZarrWriter, labels_beside
from cellserve_formats.table_csv import Row, write_table_csv
from cellserve_formats.table_parquet import TableParquetWriter
from cellserve_postprocess import ObjectTable
from numpy.typing import NDArray

from .found import Found
from .geometry import Grid
from .picture import picture_bytes

MOST_CSV_ROWS = 1_000_000
"""Rows of the largest table that is written as CSV, too: spreadsheets open no more."""
_ROWS = 1 << 16  # of a part of the table


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results of an image go.

    Attributes:
        labels: Folder of the label image.
        table: The table as Parquet.
        csv: The table as CSV; None if it is not wanted.
        overlay: The picture; None if it is not wanted.
        image: Folder of the OME-Zarr image that the labels are in; None for labels in a folder of their own.
        stem: What the names of the other files begin with.
    """

    labels: Path
    table: Path
    csv: Path | None
    overlay: Path | None
    image: Path | None
    stem: Path

    @classmethod
    def of(cls, image: LazyImage, source: Path | None, out: Path | None, *, csv: bool, overlay: bool) -> Results:
        """Returns where the results of an image go.

        Args:
            image: The image.
            source: Path of the image; None for an array.
            out: What the names of the results begin with; None: beside the image, labels in the OME-Zarr image.
            csv: Whether a table as CSV is wanted.
            overlay: Whether the picture is wanted.

        Raises:
            ValueError: An array has no `out`.
        """
        stem = out
        if stem is None:
            if source is None:
                raise ValueError("an array has no name: out says what the names of the results begin with")
            stem = source.with_name(result_stem(source))
        paths = large_results(stem)
        inside = image.folder if out is None else None
        return cls(
            labels=paths["labels"] if inside is None else inside / LABELS_IN_IMAGE,
            table=paths["table"],
            csv=paths["csv"] if csv else None,
            overlay=paths["overlay"] if overlay else None,
            image=inside,
            stem=stem,
        )

    @property
    def run_folder(self) -> Path:
        """Folder of what is half done."""
        return run_folder(self.stem)

    def check(self) -> None:
        """Sees, before any work, that results can be written.

        Raises:
            OSError: A folder cannot be written.
        """
        for place in (self.table.parent, self.labels.parent):
            folder = next(some for some in (place, *place.absolute().parents) if some.exists())
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0")

    def write(self, image: LazyImage, found: Found, threads: int, progress: Progress | None) -> Path | None:
        """Writes all results, the label image last.

        Args:
            image: The image.
            found: What was found.
            threads: Threads that write the label image.
            progress: Told about the parts of the label image that are written.

        Returns:
            The table as CSV; None if it was not wanted or would have too many rows.

        Raises:
            ImageError: The image cannot be read.
            OSError: A file cannot be written.
        """
        axes, table, size = found.axes, found.objects, image.pixel_size
        csv = self.csv if len(table) < MOST_CSV_ROWS else None
        with TableParquetWriter(self.table, axes, size, region=self.labels.name.removesuffix(".ome.zarr")) as parquet:
            for part in _parts(table):
                parquet.write(part)
        if csv is not None:
            write_table_csv(csv, _rows(table), size, axes)
        elif self.csv is not None:
            self.csv.unlink(missing_ok=True)  # that of an earlier run has other objects
        if self.overlay is not None:
            write_bytes(self.overlay, picture_bytes(image, found))
        self._write_labels(found, size, threads, progress)
        return csv

    def _write_labels(self, found: Found, size: PixelSize | None, threads: int, progress: Progress | None) -> None:
        axes, shape, chunks = found.axes, found.shape, LABEL_CHUNKS[len(found.shape)]
        if self.image is None:
            writer = OmeZarrWriter(self.labels, axes, shape, found.dtype, chunks=chunks, pixel_size=size, labels=True)
        else:
            writer = labels_beside(
                self.image, self.labels.name, axes, shape, found.dtype, chunks=chunks, pixel_size=size
            )
        grid = Grid(tuple((*range(0, length, step), length) for length, step in zip(shape, chunks, strict=True)))

        def write(block: int) -> None:
            box = grid.box(block)
            writer.write(box.slices, found.read(box))

        report: Callable[..., Any] = progress or (lambda *_: None)
        with ThreadPoolExecutor(threads) as pool:
            for done, _ in enumerate(pool.map(write, range(len(grid)))):
                report("write", done + 1, len(grid))
        writer.finish(threads)


def _parts(table: ObjectTable) -> Iterator[dict[str, NDArray[Any]]]:
    """Yields the table in parts of rows, by column."""
    names = [column.name for column in columns("ZYX"[-table.centroid.shape[1] :])]
    for first in range(0, max(1, len(table)), _ROWS):
        part = slice(first, first + _ROWS)
        values = [
            table.label[part],
            *table.bbox[part].T,
            *table.centroid[part].T,
            table.area[part],
            table.equivalent_diameter_area[part],
            table.mean_probability[part],
            table.flow_error[part],
        ]
        yield dict(zip(names, values, strict=True))


def _rows(table: ObjectTable) -> Iterator[Row]:
    """Yields the rows of the table."""
    for part in _parts(table):
        values = [column.tolist() for column in part.values()]
        yield from (dict(zip(part, row, strict=True)) for row in zip(*values, strict=True))
