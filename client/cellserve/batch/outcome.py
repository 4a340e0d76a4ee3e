"""What came of one image of a batch."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cellserve_formats import PixelSize

from cellserve.errors import AuthenticationError, CellServeError, DeadlineError, OverloadedError, UnavailableError
from cellserve.results import Segmentation

from .report import Histogram
from .rows import Row

MOST_LATE = 5
"""How often an image is tried again whose deadline passed, each time with fewer images in work."""
_FULL = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO")
"""Errors of the system after which no other result can be written either."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row. Can be pickled.

    Attributes:
        row: The row.
        seconds: Time under way, reading and writing included.
        refusals: How often a server had no room for a call since the last outcome of the same process.
        record: For the journal: numbers, files and origin of the result. Empty for a failure.
        sha256: Checksum of the network that answered; "" for a failure.
        flow_error: Mean flow error of the objects; -1 without objects.
        picture: Small picture with outlines; None if it would not be among the worst.
        error: Why the image failed; None if it did not.
    """

    row: Row
    seconds: float
    refusals: int = 0
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sha256: str = ""
    flow_error: float = -1.0
    picture: bytes | None = None
    error: CellServeError | None = None

    @property
    def is_late(self) -> bool:
        """Whether the image had waited too long: it can be done when fewer images are in work."""
        waited = isinstance(self.error, DeadlineError) and self.error.reason != "WORK_BUDGET_EXCEEDED"
        return waited or isinstance(self.error, OverloadedError)

    @property
    def is_unserved(self) -> bool:
        """Whether no server took the image."""
        return isinstance(self.error, UnavailableError)

    @property
    def ends_run(self) -> bool:
        """Whether all other images would fail like this one."""
        error = self.error
        if error is None:
            return False
        unwritable = error.reason == "FILE_UNWRITABLE" and error.metadata.get("errno") in _FULL
        return isinstance(error, AuthenticationError) or error.reason == "RUN_STOPPED" or unwritable


def failure_record(error: CellServeError) -> dict[str, Any]:
    """Returns why an image failed, for the journal."""
    return {
        "reason": error.reason or error.code.name,
        "code": error.code.name,
        "message": error.message,
        "metadata": error.metadata,
        "attempts": error.attempts,
        "request_id": error.request_id,
    }


def result_record(row: Row, result: Segmentation, files: Sequence[str]) -> dict[str, Any]:
    """Returns what came of an image, for the journal.

    Args:
        row: The row.
        result: The result.
        files: Result files, relative to the folder of all results.
    """
    errors = [entry.flow_error for entry in result.objects]
    sizes = [entry.equivalent_diameter_area for entry in result.objects]
    size = result.pixel_size
    return {
        "objects": len(result.objects),
        "median_diameter": statistics.median(sizes) if sizes else None,
        "mean_flow_error": statistics.fmean(errors) if errors else None,
        "worst_flow_error": max(errors, default=None),
        "diameter": result.params.diameter,
        "diameter_source": result.diameter_source,
        "diameters": Histogram.of_sizes(sizes).to_json(),
        "diameters_um": None if size is None else Histogram.of_sizes(_micrometres(sizes, size)).to_json(),
        "pixels": row.pixels,
        "pixel_size_um": size and size._asdict(),
        "files": list(files),
        "channels": [result.params.cytoplasm_channel, result.params.nucleus_channel],
        "model": dataclasses.asdict(result.model),
        "warnings": sorted({warning.kind for warning in result.warnings}),
        "server_s": result.timing.total_s,
        "server_version": result.server_version,
        "client_version": version("cellserve"),
        "request_id": result.request_id,
    }


def _micrometres(sizes: Sequence[float], size: PixelSize) -> list[float]:
    """Returns diameters in micrometres: of the disk, or in volumes the ball, of equal size."""
    lengths = [length for length in size if length is not None]
    scale = math.prod(lengths) ** (1 / len(lengths))
    return [diameter * scale for diameter in sizes]
