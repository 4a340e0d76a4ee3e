"""What the command line shows of results."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cellserve_contract.channels import MEAN, NONE
from rich import box
from rich.table import Table

from cellserve.errors import CellServeError
from cellserve.models import ModelList
from cellserve.params import DIAMETER_SOURCES
from cellserve.results import DiameterEstimate, ResultWarning, Segmentation
from cellserve.saving import ENDINGS

from .outputs import Outputs

_ROWS = 10  # of an object table: the CSV has them all


def summary(path: Path, result: Segmentation, planes: int) -> str:
    """Returns one line about one image of so many planes, and one for each of its warnings."""
    line = f"{path}: {_count(result)}{_median(result)}, {result.timing.total_s:.2f} s on the server"
    if planes > 1:
        line += f"; {_channels(result, planes)}"
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
    for entry in result.objects[:_ROWS]:
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
    more = len(result.objects) - _ROWS
    lines = [
        *([f"... and {more} more"] if more > 0 else []),
        f"objects   {_count(result)}{_median(result)}; image {' x '.join(map(str, result.labels.shape))} px",
        f"diameter  {diameter:.1f} px ({DIAMETER_SOURCES[result.diameter_source]})",
        *([f"channels  {_channels(result, planes)}"] if planes > 1 else []),
        f"model     {model.family}: {model.name} version {model.version}, sha256 {model.sha256[:12]}",
        f"computed  in {model.precision or 'unknown precision'}, by {model.runtime or 'an unknown runtime'}",
        f"time      {timing.total_s:.2f} s on the server: inference {timing.inference_s:.2f} s ({timing.tiles} tiles), "
        f"masks {timing.postprocess_s:.2f} s, rest {_rest(result):.2f} s",
        f"request   {result.request_id}",
        *warning_lines(result.warnings),
        *(f"wrote     {path}" for path in reversed(outputs.values())),
    ]
    return "\n".join(lines)


def record(path: Path, result: Segmentation, planes: int, outputs: Outputs) -> dict[str, Any]:
    """Returns one image's outcome for `--json`."""
    return {
        "file": str(path),
        "objects": len(result.objects),
        "median_diameter": statistics.median(entry.equivalent_diameter_area for entry in result.objects)
        if result.objects
        else None,
        **{kind: str(outputs[kind]) if kind in outputs else None for kind in reversed(ENDINGS)},
        "planes": planes,
        "pixel_size_um": result.pixel_size and result.pixel_size._asdict(),
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


def _channels(result: Segmentation, planes: int) -> str:
    """Says which planes of an image were taken for what."""
    cytoplasm, nucleus = result.params.cytoplasm_channel, result.params.nucleus_channel
    cells = f"the mean of {planes} planes" if cytoplasm in (None, MEAN) else f"plane {cytoplasm} of {planes}"
    nuclei = "no plane" if nucleus in (None, NONE) else f"plane {nucleus}"
    return f"cells in {cells}, nuclei in {nuclei}"


def _count(result: Segmentation) -> str:
    return f"{len(result.objects)} object{'' if len(result.objects) == 1 else 's'}"


def _median(result: Segmentation) -> str:
    if not result.objects:
        return ""
    return f", median diameter {statistics.median(entry.equivalent_diameter_area for entry in result.objects):.1f} px"


def _rest(result: Segmentation) -> float:
    timing = result.timing
    return max(0.0, timing.total_s - timing.inference_s - timing.postprocess_s)
