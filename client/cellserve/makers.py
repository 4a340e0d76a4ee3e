"""What the result files hold: a maker for each kind of file.

A maker makes the content of a file, and returns the function that writes the content. All files of a result are made
before the first one is written. Makers import the libraries of extras when they are called.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cellserve_formats import planes
from cellserve_formats.cell_probability import cell_probability_png_bytes, cell_probability_tiff_bytes
from cellserve_formats.cellpose_outlines import cellpose_outlines_bytes
from cellserve_formats.cellpose_seg import cellpose_seg_bytes
from cellserve_formats.files import write_bytes
from cellserve_formats.flows import flows_png_bytes, flows_tiff_bytes
from cellserve_formats.geojson import geojson_bytes
from cellserve_formats.labels_png import labels_png_bytes
from cellserve_formats.labels_tiff import labels_tiff_bytes
from cellserve_formats.overlay import OverlayOptions, overlay_bytes
from cellserve_formats.png import png_bytes
from cellserve_formats.table_csv import table_csv_bytes
from numpy.typing import NDArray

from .images import ImageLike
from .pictures import channels, check_size, overlay

if TYPE_CHECKING:
    from .results import Segmentation

Write = Callable[[Path], None]
"""Writes the content of a file, which is whole or not there. Raises OSError."""


@dataclass(frozen=True, slots=True, eq=False)
class ToSave:
    """A result of which files are made.

    Attributes:
        result: The result.
        image: The image. None: the image that the result refers to.
        path: Path of the image's file; "" for an image that is no file.
        region: Name of the label image, by which a table refers to the labels.
        store: Folder of the OME-Zarr image that the labels belong to; None for labels of their own.
        options: What an overlay shows.
    """

    result: Segmentation
    image: ImageLike | None = None
    path: str = ""
    region: str = ""
    store: Path | None = None
    options: OverlayOptions = field(default_factory=OverlayOptions)


Maker = Callable[[ToSave], Write]


def labels_tiff(saved: ToSave) -> Write:
    """Label image."""
    result = saved.result
    return _bytes(labels_tiff_bytes(result.labels, result.pixel_size, result.axes))


def labels_png(saved: ToSave) -> Write:
    """Label image as a PNG file."""
    return _bytes(labels_png_bytes(saved.result.labels, saved.result.pixel_size))


def labels_array(saved: ToSave) -> Write:
    """Label image as an array of NumPy."""
    file = io.BytesIO()
    np.save(file, saved.result.labels)
    return _bytes(file.getvalue())


def labels_zarr(saved: ToSave) -> Write:
    """Label image as OME-Zarr."""
    from cellserve_formats.labels_zarr import write_labels_zarr

    result = saved.result
    return partial(
        write_labels_zarr,
        labels=result.labels,
        pixel_size=result.pixel_size,
        axes=result.axes,
        image=saved.store,
    )


def seg(saved: ToSave) -> Write:
    """Result as Cellpose keeps it."""
    result = saved.result
    data = cellpose_seg_bytes(
        result.labels,
        filename=os.path.abspath(saved.path) if saved.path else saved.region,  # noqa: PTH100  # links stay
        diameter=result.params.diameter or 0.0,
        maps=result.maps,
        channels=_channels_of_cellpose(saved),
    )
    return _bytes(data)


def rois(saved: ToSave) -> Write:
    """ROIs of ImageJ."""
    from cellserve_formats.imagej_rois import imagej_rois_bytes

    return _bytes(imagej_rois_bytes(saved.result.labels))


def geojson(saved: ToSave) -> Write:
    """Outlines for QuPath."""
    return _bytes(geojson_bytes(saved.result.labels, saved.result.rows(), saved.result.pixel_size))


def outlines(saved: ToSave) -> Write:
    """Outlines as Cellpose writes them."""
    lines = [entry.outline for entry in saved.result.objects]
    if any(line is None for line in lines):
        raise _not_asked_for("outlines")
    return _bytes(cellpose_outlines_bytes(line for line in lines if line is not None))


def table_csv(saved: ToSave) -> Write:
    """Table of objects."""
    result = saved.result
    return _bytes(table_csv_bytes(result.rows(), result.axes, result.pixel_size, result.columns()))


def table_parquet(saved: ToSave) -> Write:
    """Table of objects as Parquet."""
    from cellserve_formats.table_parquet import write_table_parquet

    result, region = saved.result, saved.region
    return partial(
        write_table_parquet,
        rows=list(result.rows()),
        axes=result.axes,
        pixel_size=result.pixel_size,
        region=region,
        table=result.columns(),
    )


def table_anndata(saved: ToSave) -> Write:
    """Table of objects as AnnData."""
    from cellserve_formats.table_anndata import table_anndata_bytes

    result, region = saved.result, saved.region
    return _bytes(
        table_anndata_bytes(result.rows(), result.axes, result.pixel_size, region=region, table=result.columns())
    )


def overlay_png(saved: ToSave) -> Write:
    """Picture of the objects on the image."""
    result, image = saved.result, saved.result.source.image_of(saved.image)
    if result.labels.ndim == 3:
        return _bytes(png_bytes(overlay(result, image)))
    check_size(result, image)
    return _bytes(overlay_bytes(image, result.labels, *channels(result), **saved.options))


def flows_tiff(saved: ToSave) -> Write:
    """Flows as numbers."""
    return _bytes(flows_tiff_bytes(_wanted(saved.result, "flows"), saved.result.pixel_size))


def flows_png(saved: ToSave) -> Write:
    """Flows as a picture."""
    return _bytes(flows_png_bytes(_wanted(saved.result, "flows"), saved.result.pixel_size))


def probability_tiff(saved: ToSave) -> Write:
    """Cell probability as logits."""
    return _bytes(cell_probability_tiff_bytes(_wanted(saved.result, "cell_probability"), saved.result.pixel_size))


def probability_png(saved: ToSave) -> Write:
    """Cell probability as a picture."""
    return _bytes(cell_probability_png_bytes(_wanted(saved.result, "cell_probability"), saved.result.pixel_size))


def _bytes(data: bytes) -> Write:
    return partial(write_bytes, data=data)


def _wanted(result: Segmentation, output: str) -> NDArray[Any]:
    """Returns an optional part of a result."""
    values: NDArray[Any] | None = getattr(result, output)
    if values is None:
        raise _not_asked_for(output)
    return values


def _not_asked_for(output: str) -> ValueError:
    return ValueError(f"this result has no {output}: ask for it with outputs=['{output}']")


def _channels_of_cellpose(saved: ToSave) -> list[int]:
    """Returns the channels as Cellpose counts them: from 1, 0 for all or none; Cellpose knows three."""
    result, source = saved.result, saved.result.source
    wanted = channels(result)
    unknown = saved.image is None and source.image is None
    if unknown or len(result.axes) == 3 or max(wanted) < 0 or len(planes(source.image_of(saved.image))) == 1:
        return [0, 0]
    return [number + 1 if 0 <= number < 3 else 0 for number in wanted]
