"""What the command line shows of results."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cellserve_contract.channels import MEAN, NONE
from rich import box
from rich.table import Table

from cellserve.errors import CellServeError
from cellserve.models import ModelList
from cellserve.params import DIAMETER_SOURCES
from cellserve.results import DiameterEstimate, Object, ResultWarning, Segmentation

from .outputs import Outputs

ROWS = 10
"""Rows of a table at most: the CSV has all objects."""


class Said(NamedTuple):
    """What a run says of an image.

    Attributes:
        record: The line for `--json`.
        text: Below the table.
        table: None: no table.
    """

    record: dict[str, Any]
    text: str
    table: Table | None


def said(path: Path, result: Segmentation, planes: int, outputs: Outputs, *, alone: bool) -> Said:
    """Returns what a run says of an image of so many planes: at length if the image is alone."""
    return Said(
        record(path, result, planes, outputs),
        totals(result, planes, outputs) if alone else summary(path, result, planes),
        object_table(result) if alone and result.objects else None,
    )


def summary(path: Path, result: Segmentation, planes: int) -> str:
    """Returns one line about one image of so many planes, and one for each of its warnings."""
    line = f"{path}: {count_of(result.objects)}, {result.timing.total_s:.2f} s on the server"
    if planes > 1:
        line += f"; {channels_of(result, planes)}"
    return "\n".join([line, *warning_lines(result.warnings)])


def warning_lines(warnings: Iterable[ResultWarning]) -> list[str]:
    """Returns one line for each warning: what happened, and what to try."""
    return [f"warning   {warning.message}{_facts(warning)} {warning.suggestion}" for warning in warnings]


def object_table(result: Segmentation) -> Table:
    """Returns the first objects of an image as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    centre, size = [f"centre {axis.lower()}" for axis in result.axes], "area px" if result.axes == "YX" else "voxels"
    for heading in ("label", *centre, size, "diameter px", "probability", "flow error"):
        table.add_column(heading, justify="right")
    for entry in result.objects[:ROWS]:
        table.add_row(
            f"{entry.label}",
            *(f"{position:.1f}" for position in entry.centroid),
            f"{entry.area}",
            f"{entry.equivalent_diameter_area:.1f}",
            f"{entry.mean_probability:.2f}",
            f"{entry.flow_error:.3f}",
        )
    return table


def totals(result: Segmentation, planes: int, outputs: Outputs) -> str:
    """Returns a few lines about an image of so many planes: objects, size, model, time, files."""
    timing, model, diameter = result.timing, result.model, result.params.diameter or 0.0
    more = len(result.objects) - ROWS
    lines = [
        *([f"... and {more} more"] if more > 0 else []),
        f"objects   {count_of(result.objects)}; image {' x '.join(map(str, result.labels.shape))} px",
        f"diameter  {diameter:.1f} px ({DIAMETER_SOURCES[result.diameter_source]})",
        *([f"channels  {channels_of(result, planes)}"] if planes > 1 else []),
        f"model     {model.family}: {model.name} version {model.version}, sha256 {model.sha256[:12]}",
        f"computed  in {model.precision or 'unknown precision'}, by {model.runtime or 'an unknown runtime'}",
        f"time      {timing.total_s:.2f} s on the server: inference {timing.inference_s:.2f} s ({timing.tiles} tiles), "
        f"masks {timing.postprocess_s:.2f} s, rest {_rest(result):.2f} s",
        f"request   {result.request_id}",
        *warning_lines(result.warnings),
        *(f"wrote     {path}" for path in reversed(outputs.paths)),
    ]
    return "\n".join(lines)


def record(path: Path, result: Segmentation, planes: int, outputs: Outputs) -> dict[str, Any]:
    """Returns one image's outcome for `--json`."""
    return {
        "file": str(path),
        **measures(result.objects),
        "files": outputs.listed(),
        "planes": planes,
        "pixel_size_um": result.pixel_size and result.pixel_size._asdict(),
        **origin(result),
    }


def measures(objects: Sequence[Object]) -> dict[str, Any]:
    """Returns the number of objects and their median diameter, for `--json`."""
    return {"objects": len(objects), "median_diameter": _median(objects) if objects else None}


def origin(result: Segmentation) -> dict[str, Any]:
    """Returns how a result came about, for `--json`."""
    return {
        "params": dataclasses.asdict(result.params),
        "diameter_source": result.diameter_source,
        "model": dataclasses.asdict(result.model),
        "timing": dataclasses.asdict(result.timing),
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
        "request_id": result.request_id,
    }


def diameter_line(path: Path, estimate: DiameterEstimate) -> str:
    """Returns one image's estimate as a line, and one line for each of its warnings."""
    line = f"{path}: {estimate.diameter:.1f} px ({DIAMETER_SOURCES[estimate.source]})"
    return "\n".join([line, *warning_lines(estimate.warnings)])


def diameter_record(path: Path, estimate: DiameterEstimate) -> dict[str, Any]:
    """Returns one image's estimate for `--json`."""
    return {
        "file": str(path),
        "diameter": estimate.diameter,
        "diameter_source": estimate.source,
        "model": dataclasses.asdict(estimate.model),
        "warnings": [dataclasses.asdict(warning) for warning in estimate.warnings],
        "request_id": estimate.request_id,
    }


def error_line(path: Path, error: CellServeError) -> str:
    """Returns one image's failure as a line. Files name themselves in their own errors."""
    return f"error: {error}" if str(path) in error.message else f"error: {path}: {error}"


def error_record(path: Path, error: CellServeError) -> dict[str, Any]:
    """Returns one image's failure for `--json`."""
    return {
        "file": str(path),
        "error": {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
            "request_id": error.request_id,
        },
    }


def model_table(models: ModelList) -> Table:
    """Returns the families of a server as a table; an asterisk marks the default."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("model", "ready", "diameter px", "size model", "version", "sha256"):
        table.add_column(heading, no_wrap=True)
    for model in models:
        ensemble = model.versions[0] if model.versions else None
        table.add_row(
            model.name + (" *" if model.name == models.default else ""),
            "yes" if model.ready else "no",
            f"{model.working_diameter:g}",
            "yes" if model.has_size_model else "no",
            ensemble.version if ensemble else "",
            ensemble.sha256[:12] if ensemble else "",
        )
    return table


def model_notes(models: ModelList) -> str:
    """Returns what each family is for, its channels and its licence."""
    return "\n".join(
        f"{model.name}: {model.description} Channels: {', '.join(model.channels)}. Licence: {model.license}."
        for model in models
    )


def _facts(warning: ResultWarning) -> str:
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in warning.metadata.items())
    return f" ({facts})" if facts else ""


def channels_of(result: Segmentation, planes: int) -> str:
    """Says which planes of an image were taken for what."""
    cytoplasm, nucleus = result.params.cytoplasm_channel, result.params.nucleus_channel
    cells = f"the mean of {planes} planes" if cytoplasm in (None, MEAN) else f"plane {cytoplasm} of {planes}"
    nuclei = "no plane" if nucleus in (None, NONE) else f"plane {nucleus}"
    return f"cells in {cells}, nuclei in {nuclei}"


def count_of(objects: Sequence[Object]) -> str:
    """Says how many objects there are, and their median diameter."""
    count = f"{len(objects)} object{'' if len(objects) == 1 else 's'}"
    return f"{count}, median diameter {_median(objects):.1f} px" if objects else count


def _median(objects: Sequence[Object]) -> float:
    return statistics.median(entry.equivalent_diameter_area for entry in objects)


def _rest(result: Segmentation) -> float:
    timing = result.timing
    return max(0.0, timing.total_s - timing.inference_s - timing.postprocess_s)
