"""OME-Zarr images and plates, written as the specification has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .conftest import square

VERSIONS = ("0.4", "0.5")
PIXEL_UM = 0.5
_TYPES = {"t": "time", "c": "channel"}
_SIZES = {"t": 1.0, "c": 1.0}


def attributes_of(group: Path) -> dict[str, Any]:
    """What a group says of OME-Zarr, of either version, read from its files."""
    if (group / "zarr.json").is_file():
        found: dict[str, Any] = json.loads((group / "zarr.json").read_bytes())["attributes"]["ome"]
        return found
    attributes: dict[str, Any] = json.loads((group / ".zattrs").read_bytes())
    return attributes


def write_image(
    path: Path,
    pixels: np.ndarray,
    version: str,
    axes: str = "cyx",
    *,
    name: str = "cells",
    channels: tuple[str, ...] = (),
) -> Path:
    """Writes an image of one resolution; a pixel is half a micrometre wide."""
    group = _group(path, version)
    named = {} if version == "0.4" else {"dimension_names": list(axes)}
    group.create_array("0", data=pixels, chunks=(*[1] * (pixels.ndim - 2), 32, 32), **named)
    described = {
        "name": name,
        "axes": [
            {"name": axis, "type": _TYPES.get(axis, "space"), **({} if axis in _SIZES else {"unit": "micrometer"})}
            for axis in axes
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [_SIZES.get(axis, PIXEL_UM) for axis in axes]}
                ],
            }
        ],
    }
    versioned = {"version": version} if version == "0.4" else {}
    attributes: dict[str, Any] = {"multiscales": [versioned | described]}
    if channels:
        window = {"min": 0, "max": 255, "start": 0, "end": 255}
        attributes["omero"] = {
            "channels": [{"label": label, "color": "FFFFFF", "window": window} for label in channels]
        }
    _describe(group, version, attributes)
    return path


def write_plate(path: Path, version: str, wells: tuple[str, ...] = ("A/1", "B/2"), fields: int = 2) -> dict[str, Any]:
    """Writes a plate; returns the pixels of its fields, uint8 [2, 60, 80], by name: each has its square elsewhere."""
    rows, columns = (sorted({well.split("/")[part] for well in wells}) for part in (0, 1))
    plate = {
        "name": "test",
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": [
            {
                "path": well,
                "rowIndex": rows.index(well.split("/")[0]),
                "columnIndex": columns.index(well.split("/")[1]),
            }
            for well in wells
        ],
        "field_count": fields,
    }
    _describe(_group(path, version), version, {"plate": {"version": version} | plate})
    found = {}
    for well in wells:
        _group(path / well.split("/")[0], version)
        images = [{"path": str(field)} for field in range(fields)]
        _describe(_group(path / well, version), version, {"well": {"version": version, "images": images}})
        for field in range(fields):
            number = len(found)
            bright = square(y=5 + 8 * number, x=4 + 12 * number)
            pixels = np.stack([bright, np.full_like(bright, 20)])
            write_image(path / well / str(field), pixels, version, name=str(field), channels=("GFP", "DAPI"))
            found[f"{well}/{field}"] = pixels
    return found


def _group(path: Path, version: str) -> zarr.Group:
    return zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)


def _describe(group: zarr.Group, version: str, attributes: dict[str, Any]) -> None:
    group.attrs.put(attributes if version == "0.4" else {"ome": {"version": version} | attributes})
