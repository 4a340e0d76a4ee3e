"""Objects as GeoJSON that QuPath opens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from .files import write_bytes
from .image import PixelSize
from .polygons import Ring, trace_polygons
from .table_csv import Row


def geojson_bytes(labels: NDArray[Any], rows: Iterable[Row] = (), pixel_size: PixelSize | None = None) -> bytes:
    """Returns the objects as a FeatureCollection with one detection of QuPath per object.

    Coordinates are pixels, (x, y), with (0, 0) at the outer corner of the first pixel. Geometries run along the edges
    of pixels: a Polygon, with rings of holes, or a MultiPolygon for an object in several pieces.

    Args:
        labels: Unsigned integers [Y, X], 0 is background.
        rows: Columns of objects by name, as for `table_csv_bytes`; all but `label` become measurements.
        pixel_size: That of the segmented image, micrometres: the member `pixel_size_um` of the collection.
    """
    measurements = {row["label"]: {name: value for name, value in row.items() if name != "label"} for row in rows}
    features = [
        {
            "type": "Feature",
            "id": str(label),
            "geometry": _geometry(polygons),
            "properties": {
                "objectType": "detection",
                "name": str(label),
                "measurements": measurements.get(label, {}),
            },
        }
        for label, polygons in trace_polygons(labels)
    ]
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if pixel_size is not None:
        collection["pixel_size_um"] = pixel_size._asdict()
    return json.dumps(collection, separators=(",", ":")).encode()


def write_geojson(
    path: str | os.PathLike[str], labels: NDArray[Any], rows: Iterable[Row] = (), pixel_size: PixelSize | None = None
) -> None:
    """Writes the objects as GeoJSON; arguments as in `geojson_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, geojson_bytes(labels, rows, pixel_size))


def _geometry(polygons: list[list[Ring]]) -> dict[str, Any]:
    closed = [[[*ring, ring[0]] for ring in polygon] for polygon in polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}
