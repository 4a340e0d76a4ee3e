"""Time series on the command line: a request for each time point, one set of result files for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_contract.objects import columns
from cellserve_formats import Image, time_points
from cellserve_formats.files import write_bytes
from cellserve_formats.labels_tiff import labels_tiff_bytes
from cellserve_formats.montage import spread, time_montage
from cellserve_formats.png import png_bytes
from cellserve_formats.table_csv import table_csv_bytes
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from cellserve.errors import CellServeError, at_time_point
from cellserve.makers import Write
from cellserve.params import DIAMETER_SOURCES
from cellserve.pictures import shown
from cellserve.results import Object, Segmentation

from . import report
from .outputs import Outputs
from .report import Said

_LISTED = 5  # numbers of time points in a line


@dataclass(frozen=True, slots=True, eq=False)
class SeriesResult:
    """What came of a time series.

    Attributes:
        image: The series.
        labels: uint16 or uint32 [T, Y, X] or [T, Z, Y, X].
        results: What else came of its time points, in order of time; without label images.
    """

    image: Image
    labels: NDArray[Any]
    results: Sequence[Segmentation]

    @property
    def objects(self) -> list[Object]:
        """The objects of all time points."""
        return [entry for result in self.results for entry in result.objects]

    def contents(self, outputs: Outputs) -> dict[Path, Write]:
        """Makes the result files: labels and table of all time points, a picture of some."""
        return {path: partial(write_bytes, data=self._content(word)) for word, (path,) in outputs.files.items()}

    def _content(self, word: str) -> bytes:
        first = self.results[0]
        axes, size = f"T{first.axes}", first.pixel_size
        match word:
            case "masks":
                return labels_tiff_bytes(self.labels, size, axes, self.image.frame_interval_s)
            case "csv":
                numbered = enumerate(self.results)
                rows = ({"frame": frame, **row} for frame, result in numbered for row in result.rows())
                known = (columns(axes)[0], *first.columns())
                return table_csv_bytes(rows, axes, size, known)
            case "overlay":
                return self._picture()
        raise ValueError(f"a time series has no result file of the kind {word}")

    def _picture(self) -> bytes:
        """Draws some time points; of a stack the middle plane."""
        chosen, points = spread(len(self.results)), list(time_points(self.image))
        stacks = [shown(self.results[frame], points[frame]) for frame in chosen]
        middle = len(stacks[0]) // 2
        labels = self.labels[chosen] if self.labels.ndim == 3 else self.labels[chosen, middle]
        return png_bytes(time_montage(np.stack([stack[middle] for stack in stacks]), labels, chosen))


class TimePoints:
    """The time points of an image on their way through `segment`: images out, results in.

    An image without axis T is its only time point, and its result is that of the image.

    Args:
        image: The image.

    Attributes:
        is_series: Whether the image is a time series.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        self.is_series = "T" in image.axes
        self._count = sum(1 for _ in time_points(image))
        self._labels: NDArray[Any] | None = None
        self._results: dict[int, Segmentation] = {}
        self._failed = False

    def __iter__(self) -> Iterator[tuple[int, Image]]:
        """Yields number and image of each time point. Ends early when a time point has failed."""
        for number, image in enumerate(time_points(self._image)):
            if self._failed:
                return
            yield number, image

    def add(
        self, number: int, result: Segmentation | CellServeError
    ) -> Segmentation | SeriesResult | CellServeError | None:
        """Takes what came of a time point.

        Returns:
            What came of the image, once: the first error, or all results. None before and after.
        """
        if self._failed:
            return None
        if isinstance(result, CellServeError):
            self._failed, self._labels = True, None
            return at_time_point(result, number) if self.is_series else result
        if not self.is_series:
            return result
        labels = self._with_labels(number, result.labels)
        self._results[number] = replace(result, label_image=None)
        if len(self._results) < self._count:
            return None
        return SeriesResult(self._image, labels, [self._results[number] for number in range(self._count)])

    def _with_labels(self, number: int, labels: NDArray[Any]) -> NDArray[Any]:
        """Puts the labels of a time point into those of the series: a second copy of all would take as much memory."""
        if self._labels is None:
            self._labels = np.zeros((self._count, *labels.shape), labels.dtype)
        self._labels = self._labels.astype(np.promote_types(self._labels.dtype, labels.dtype), copy=False)
        self._labels[number] = labels
        return self._labels


def said(path: Path, series: SeriesResult, planes: int, outputs: Outputs, *, alone: bool) -> Said:
    """Returns what a run says of a series, whose time points have so many planes: at length if it is alone."""
    return Said(
        _record(path, series, planes, outputs),
        _totals(series, planes, outputs) if alone else _summary(path, series, planes),
        _table(series.results) if alone else None,
    )


def _record(path: Path, series: SeriesResult, planes: int, outputs: Outputs) -> dict[str, Any]:
    size = series.results[0].pixel_size
    frames = [
        {"frame": frame, **report.measures(result.objects), **report.origin(result)}
        for frame, result in enumerate(series.results)
    ]
    return {
        "file": str(path),
        **report.measures(series.objects),
        "files": outputs.listed(),
        "planes": planes,
        "pixel_size_um": size and size._asdict(),
        "frame_interval_s": series.image.frame_interval_s,
        "frames": frames,
    }


def _summary(path: Path, series: SeriesResult, planes: int) -> str:
    time = f"{_seconds(series):.2f} s on the server in all"
    line = f"{path}: {_counts(series)}, {time}; diameter {_diameters(series.results)}"
    if planes > 1:
        line += f"; {report.channels_of(series.results[0], planes)}"
    return "\n".join([line, *_warning_lines(series.results)])


def _totals(series: SeriesResult, planes: int, outputs: Outputs) -> str:
    first, interval_s = series.results[0], series.image.frame_interval_s
    lines = [
        *([f"... and {len(series.results) - report.ROWS} more"] if len(series.results) > report.ROWS else []),
        f"objects   {_counts(series)}; image {' x '.join(map(str, series.labels.shape))} px",
        *([] if interval_s is None else [f"interval  {interval_s:g} s between time points"]),
        f"diameter  {_diameters(series.results)}",
        *([f"channels  {report.channels_of(first, planes)}"] if planes > 1 else []),
        *_models(series.results),
        f"time      {_seconds(series):.2f} s on the server: the sum of the time points, of which several ran at a time",
        *_warning_lines(series.results),
        *(f"wrote     {path}" for path in reversed(outputs.paths)),
    ]
    return "\n".join(lines)


def _table(results: Sequence[Segmentation]) -> Table:
    """Returns the first time points as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("frame", "objects", "median diameter px", "diameter used px"):
        table.add_column(heading, justify="right")
    for frame, result in enumerate(results[: report.ROWS]):
        median = report.measures(result.objects)["median_diameter"]
        table.add_row(
            f"{frame}", f"{len(result.objects)}", "" if median is None else f"{median:.1f}", f"{_diameter(result):.1f}"
        )
    return table


def _counts(series: SeriesResult) -> str:
    points = len(series.results)
    return f"{points} time point{'s' * (points != 1)}, {report.count_of(series.objects)}"


def _seconds(series: SeriesResult) -> float:
    return sum(result.timing.total_s for result in series.results)


def _diameter(result: Segmentation) -> float:
    return result.params.diameter or 0.0


def _diameters(results: Sequence[Segmentation]) -> str:
    """Says which diameters were used, and that each time point has its own if they were not given."""
    low, high = (choose(map(_diameter, results)) for choose in (min, max))
    source = results[0].diameter_source
    if source == "caller":
        return f"{low:.1f} px ({DIAMETER_SOURCES[source]})"
    span = f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"
    return f"{span} px ({DIAMETER_SOURCES[source]}, each time point on its own)"


def _models(results: Sequence[Segmentation]) -> Iterator[str]:
    """Yields a line for each network that answered; there are several if the server changed meanwhile."""
    for model in dict.fromkeys(result.model for result in results):
        yield f"model     {model.family}: {model.name} version {model.version}, sha256 {model.sha256[:12]}"
        yield f"computed  in {model.precision or 'unknown precision'}, by {model.runtime or 'an unknown runtime'}"


def _warning_lines(results: Sequence[Segmentation]) -> Iterator[str]:
    """Yields a line for each kind of warning, with the time points that have it."""
    found: dict[tuple[str, str], list[int]] = {}
    for frame, result in enumerate(results):
        for warning in result.warnings:
            found.setdefault((warning.message, warning.suggestion), []).append(frame)
    for (message, suggestion), frames in found.items():
        yield f"warning   {_listed(frames, len(results))}: {message} {suggestion}"


def _listed(frames: Sequence[int], count: int) -> str:
    if len(frames) == count:
        return "all time points"
    more = f" and {len(frames) - _LISTED} more" if len(frames) > _LISTED else ""
    return f"time point{'s' * (len(frames) > 1)} {', '.join(map(str, frames[:_LISTED]))}{more}"
