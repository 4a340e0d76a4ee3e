"""Tables of objects as AnnData files; needs the extra `formats`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from cellserve_contract.objects import Column, columns

from .files import write_bytes
from .image import PixelSize
from .table_csv import Row


def table_anndata_bytes(
    rows: Iterable[Row],
    axes: str = "YX",
    pixel_size: PixelSize | None = None,
    *,
    region: str,
    table: Sequence[Column] | None = None,
) -> bytes:
    """Returns the objects as an AnnData file (.h5ad), one observation per object.

    | part | content |
    |---|---|
    | `X` | float64 [N, M]: the measurements, all columns but label, bounding box, centroid and frame |
    | `var` | name of each measurement, with `unit` and `meaning` |
    | `obs` | `label`, `region` (categorical) and the columns of the bounding box; the names are the labels |
    | `obsm["spatial"]` | float64 [N, 2]: centroids (x, y), of a volume (x, y, z), pixels |
    | `uns` | `axes`; `pixel_size_um` if known; if there are objects `spatialdata_attrs`, as spatialdata asks for |

    Centroids are those of the other tables: (0, 0) is the centre of the first pixel. In the coordinates of spatialdata
    (0, 0) is the corner of that pixel: add 0.5.

    Args:
        rows: One mapping of all columns per object.
        axes: Axes of the label image: "YX" or "ZYX".
        pixel_size: That of the segmented image, micrometres.
        region: Name of the label image in a spatialdata object.
        table: The columns; None: those of `cellserve_contract.objects`.

    Raises:
        KeyError: A column is missing.
    """
    known, all_rows = columns(axes) if table is None else table, list(rows)
    values = {
        column.name: np.array([row[column.name] for row in all_rows], np.int64 if column.kind == "int" else np.float64)
        for column in known
    }
    centres = [f"centroid-{number}" for number in reversed(range(len(axes)))]
    boxes = [name for name in values if name.startswith("bbox-")]
    measures = [column for column in known if column.name not in {"label", "frame", *boxes, *centres}]
    # Text of the type object: that which every AnnData writes, whatever the default of pandas is.
    obs = pd.DataFrame(
        {
            "label": values["label"],
            "region": pd.Categorical.from_codes(np.zeros(len(all_rows), np.int8), categories=_texts([region])),
            **{name: values[name] for name in boxes},
        },
        index=_texts(map(str, values["label"].tolist())),
    )
    var = pd.DataFrame(
        {name: _texts(getattr(column, name) for column in measures) for name in ("unit", "meaning")},
        index=_texts(column.name for column in measures),
        dtype=object,
    )
    content = anndata.AnnData(
        X=_together([values[column.name] for column in measures], len(all_rows)),
        obs=obs,
        var=var,
        obsm={"spatial": _together([values[name] for name in centres], len(all_rows))},
        uns={
            "axes": axes,
            **(_attributes(region) if all_rows else {}),
            **({} if pixel_size is None else {"pixel_size_um": _known(pixel_size)}),
        },
    )
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write_elem(file, "/", content)
    return buffer.getvalue()


def write_table_anndata(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    axes: str = "YX",
    pixel_size: PixelSize | None = None,
    *,
    region: str,
    table: Sequence[Column] | None = None,
) -> None:
    """Writes the objects as an AnnData file; arguments and errors as in `table_anndata_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, table_anndata_bytes(rows, axes, pixel_size, region=region, table=table))


def _attributes(region: str) -> dict[str, Any]:
    """Returns what links the table to its label image; spatialdata refuses such a link of a table without rows."""
    return {"spatialdata_attrs": {"region": region, "region_key": "region", "instance_key": "label"}}


def _texts(texts: Iterable[str]) -> pd.Index:
    return pd.Index(list(texts), dtype=object)


def _together(values: Sequence[Any], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns columns as an array [count, columns]."""
    return np.stack(values, axis=1).astype(np.float64) if values else np.zeros((count, 0))


def _known(size: PixelSize) -> dict[str, float]:
    return {axis: length for axis, length in size._asdict().items() if length is not None}
