"""Representations of a segmentation, chosen by the caller's Accept header. All run on worker threads."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.model_card import Family
from cellserve_contract.objects import columns
from cellserve_contract.params import PARAMETERS, SegmentParams
from cellserve_contract.warnings import WarningKind
from cellserve_formats import Image
from cellserve_formats.geojson import geojson_bytes
from cellserve_formats.labels_png import MOST_OBJECTS, labels_png_bytes
from cellserve_formats.labels_tiff import labels_tiff_bytes
from cellserve_formats.overlay import overlay_bytes
from cellserve_formats.table_csv import table_csv_bytes
from cellserve_postprocess import ObjectTable
from numpy.typing import NDArray

from cellserve_gateway import __version__
from cellserve_gateway.app.context import Timing
from cellserve_gateway.app.decode import translated_image_errors
from cellserve_gateway.app.networks import Network, weights_of
from cellserve_gateway.app.results import Segmentation

from .problems import NotAcceptable


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer is made of.

    Attributes:
        request_id: Id of the request.
        image: The image as decoded.
        family: The family that answered.
        result: The segmentation.
        timing: Seconds per stage so far.
    """

    request_id: str
    image: Image
    family: Family
    result: Segmentation
    timing: Timing

    @property
    def labels(self) -> NDArray[Any]:
        """The label image, [Y, X] or [Z, Y, X]."""
        assert self.result.labels is not None  # wanted
        return self.result.labels

    @property
    def plane(self) -> NDArray[Any]:
        """The label image [Y, X]. Raises NotAcceptable for a stack."""
        if self.labels.ndim == 2:
            return self.labels
        allowed = ", ".join(one.media_type for one in REPRESENTATIONS if not one.is_flat)
        raise NotAcceptable("a stack cannot be answered in this form", field="Accept", allowed=allowed)

    @property
    def rows(self) -> list[dict[str, int | float]]:
        """The objects, by the column names of the contract."""
        return table_rows(self.result.objects, self.result.axes)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Warnings of the contract."""
        return described(self.result.warnings)

    @property
    def provenance(self) -> dict[str, Any]:
        """How the answer was made."""
        return {
            "params": by_query_names(self.result.params),
            "diameter_source": self.result.diameter_source.value,
            "model": model_of(self.family, self.result.network),
            "versions": {"cellserve": __version__},
        }


def by_query_names(params: SegmentParams) -> dict[str, Any]:
    """Returns parameters by the names of the query: sending them again repeats the result, as `SegmentParams` says.

    Parameters of stacks are left out if the image is no stack.
    """
    given = {name: value for name in PARAMETERS if (value := getattr(params, name)) is not None}
    return given | {"normalization": str(params.normalization), "invert": params.normalization.invert}


def described(warnings: Iterable[tuple[WarningKind, Mapping[str, str]]]) -> list[dict[str, Any]]:
    """Returns warnings with their texts."""
    return [
        {
            "kind": kind.name.lower(),
            "meaning": kind.meaning,
            "suggestion": kind.suggestion,
            "metadata": dict(facts),
        }
        for kind, facts in warnings
    ]


def table_rows(objects: ObjectTable, axes: str) -> list[dict[str, int | float]]:
    """Returns objects as mappings from the contract's column names; `axes` are those of the label image."""
    values = (
        objects.label,
        *objects.bbox.T,
        *objects.centroid.T,
        objects.area,
        objects.equivalent_diameter_area,
        objects.mean_probability,
        objects.flow_error,
    )
    names = [column.name for column in columns(axes)]
    return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in values), strict=True)]


def model_of(family: Family, network: Network) -> dict[str, Any]:
    """Returns the description of a network of a family."""
    return {
        "family": family.name,
        "name": network.name,
        "version": network.version,
        "sha256": network.sha256,
        "weights": weights_of(family, network.name).value or None,
        "precision": network.precision.value or None,
        "runtime": network.runtime or None,
    }


def as_json(answer: Answer) -> bytes:
    """Returns objects, outlines (if the segmentation has them), parameters, model, timing and warnings."""
    result, image = answer.result, answer.image
    objects: list[dict[str, Any]] = list(answer.rows)
    for row, outlines in zip(objects, result.outlines or (), strict=result.outlines is not None):
        by_plane = {z: line.tolist() for z, line in outlines.items()}
        row |= {"outline": by_plane[0]} if result.axes == "YX" else {"outlines": by_plane}
    return _dumped(
        {
            "request_id": answer.request_id,
            "image": {
                "axes": image.axes,
                "shape": list(image.pixels.shape),
                "dtype": str(image.pixels.dtype),
                "pixel_size_um": image.pixel_size and image.pixel_size._asdict(),
            },
            "objects": objects,
            **answer.provenance,
            "timing": stage_seconds(answer.timing),
            "tiles": answer.timing.tiles,
            "warnings": answer.warnings,
        }
    )


def as_labels_png(answer: Answer) -> bytes:
    """Returns the label image as a 16-bit PNG file.

    Raises:
        ImageTooLarge: There are more than 65,535 objects.
    """
    with translated_image_errors():
        return labels_png_bytes(answer.plane, answer.image.pixel_size)


def as_labels_tiff(answer: Answer) -> bytes:
    """Returns the label image as a TIFF file with the pixel size of the image."""
    return labels_tiff_bytes(answer.labels, answer.image.pixel_size, answer.result.axes)


def as_geojson(answer: Answer) -> bytes:
    """Returns the objects as GeoJSON."""
    return geojson_bytes(answer.plane, answer.rows, answer.image.pixel_size)


def as_csv(answer: Answer) -> bytes:
    """Returns the table of objects."""
    return table_csv_bytes(answer.rows, answer.result.axes, answer.image.pixel_size)


def as_overlay(answer: Answer) -> bytes:
    """Returns the image with the outlines of its objects, a PNG file."""
    params = answer.result.params
    assert params.cytoplasm_channel is not None  # resolved
    assert params.nucleus_channel is not None
    return overlay_bytes(answer.image, answer.plane, params.cytoplasm_channel, params.nucleus_channel)


def as_zip(answer: Answer) -> bytes:
    """Returns all other representations that can show the result in one ZIP file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for representation in REPRESENTATIONS:
            fits = representation is not LABELS_PNG or int(np.max(answer.labels, initial=0)) <= MOST_OBJECTS
            fits &= answer.labels.ndim == 2 or not representation.is_flat
            if representation is not ZIP and fits:
                compression = zipfile.ZIP_DEFLATED if representation.is_text else zipfile.ZIP_STORED
                archive.writestr(representation.file_name, representation.render(answer), compression)
    return packed.getvalue()


@dataclass(frozen=True, slots=True)
class Representation:
    """A form of the answer.

    Attributes:
        media_type: Media type.
        file_name: Name of the file, in a ZIP file or on a caller's disk.
        render: Returns the file.
        about: One sentence.
        is_text: True: compression makes the file smaller.
        is_flat: True: a stack cannot be shown.
    """

    media_type: str
    file_name: str
    render: Callable[[Answer], bytes]
    about: str
    is_text: bool = False
    is_flat: bool = False


JSON = Representation(
    "application/json", "result.json", as_json, "Objects, parameters as used, model, timing, warnings.", is_text=True
)
LABELS_PNG = Representation("image/png", "labels.png", as_labels_png, "Label image, 16 bit grey.", is_flat=True)
LABELS_TIFF = Representation("image/tiff", "labels.tif", as_labels_tiff, "Label image, 16 or 32 bit.")
GEOJSON = Representation(
    "application/geo+json",
    "objects.geojson",
    as_geojson,
    "Outlines of the objects, for QuPath.",
    is_text=True,
    is_flat=True,
)
CSV = Representation("text/csv", "objects.csv", as_csv, "Table of the objects.", is_text=True)
OVERLAY = Representation(
    "image/png", "overlay.png", as_overlay, "With view=overlay: the image with outlines.", is_flat=True
)
ZIP = Representation("application/zip", "segmentation.zip", as_zip, "All of these.")
REPRESENTATIONS = (JSON, LABELS_PNG, LABELS_TIFF, GEOJSON, CSV, OVERLAY, ZIP)
"""In the order of preference of the server."""


def stage_seconds(timing: Timing) -> dict[str, float]:
    """Returns the seconds of each stage under the stage's name with the unit."""
    stages = ("decode", "preprocess", "inference", "reassemble", "postprocess", "encode")
    return {f"{stage}_s": round(getattr(timing, stage), 6) for stage in stages if getattr(timing, stage)}


def _dumped(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
