"""What a batch leaves besides the results: images.csv, a row for each image, and report.html."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cellserve_formats.files import replacing, write_bytes

from .journal import Entry, Journal
from .report import Counts, Histogram, ReportData, Thumbnail, report_html
from .request import Request
from .shard import Shard
from .summary import Summary
from .work import Worker

_COLUMNS = (
    "image", "state", "objects", "median_diameter", "diameter", "diameter_source", "mean_flow_error",
    "worst_flow_error", "pixel_size_z_um", "pixel_size_y_um", "pixel_size_x_um", "model", "sha256", "precision",
    "warnings", "reason", "message", "files",
)  # fmt: skip


def write_summaries(
    journal: Journal, worker: Worker, part: Shard | None, *, title: str, left: int, report: bool
) -> list[Path]:
    """Writes the table and the report of a run. A kill leaves nothing half written beside the results.

    Args:
        journal: The journal.
        worker: Says where the files go.
        part: The shard of this run; None: all images.
        title: Names the run.
        left: Number of images that are neither done nor failed.
        report: Whether the report is written.

    Returns:
        The files.

    Raises:
        OSError: A file cannot be written.
    """
    files = [table_path(worker.out, part), *([report_path(worker.out, part)] if report else [])]
    halves = [worker.parts / file.name for file in files]
    write_table(journal, halves[0])
    if report:
        write_report(journal, halves[1], worker.request, title, files[0].name, left)
    for half, file in zip(halves, files, strict=True):
        half.replace(file)
    return files


def table_path(out: Path, part: Shard | None) -> Path:
    """Returns the path of the table of all images; a shard has a table of its own."""
    return out / ("images.csv" if part is None else f"images-{part.folder}.csv")


def report_path(out: Path, part: Shard | None) -> Path:
    """Returns the path of the report; a shard has a report of its own."""
    return out / ("report.html" if part is None else f"report-{part.folder}.html")


def write_table(journal: Journal, path: Path) -> None:
    """Writes a row for each image of the run that is done or has failed, by name.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")  # a name can be no Unicode
        try:
            table = csv.writer(text, lineterminator="\n")
            table.writerow(_COLUMNS)
            table.writerows([facts.get(column, "") for column in _COLUMNS] for facts in map(_facts, journal.entries()))
        finally:
            text.detach()  # flushed, and the file stays open


def write_report(journal: Journal, path: Path, request: Request, title: str, rest: str, left: int) -> None:
    """Writes the report.

    Args:
        journal: The journal.
        path: The file.
        request: What was asked for.
        title: Names the run.
        rest: Name of the table of all images.
        left: Number of images that are neither done nor failed.

    Raises:
        OSError: The file cannot be written.
    """
    summary = Summary()
    for entry in journal.entries():
        summary.add(entry)
    data = ReportData(
        title=title,
        started=datetime.fromtimestamp(float(journal.fact("began") or 0), UTC),
        ended=datetime.now(UTC),
        work_s=float(journal.fact("work_s") or 0),
        counts=Counts(done=summary.done, failed=sum(summary.reasons.values()), left=left),
        megapixels=summary.pixels / 1e6,
        parameters=request.described(),
        models=summary.models(),
        client_version=version("cellserve"),
        server_versions=tuple(sorted(summary.servers)),
        warnings=tuple(sorted(summary.warnings.items())),
        objects_per_image=Histogram("counts", tuple(sorted(summary.counts.items()))),
        diameters=Histogram("sizes", tuple(sorted(summary.sizes.items()))),
        diameters_um=Histogram("sizes", tuple(sorted(summary.sizes_um.items()))),
        rows=summary.worst_rows(),
        thumbnails=tuple(map(_thumbnail, journal.pictures())),
        failures=summary.failures(),
        rest=rest,
        again="The same command tries them again.",
    )
    write_bytes(path, report_html(data).encode("utf-8", "backslashreplace"))


def _thumbnail(kept: tuple[Entry, bytes]) -> Thumbnail:
    entry, picture = kept
    record = entry.record
    return Thumbnail(
        name=entry.name, data=picture, objects=record["objects"], mean_flow_error=record["mean_flow_error"]
    )


def _facts(entry: Entry) -> dict[str, Any]:
    """Returns the columns of an image."""
    record = entry.record
    facts = {"image": entry.name, "state": entry.state, "sha256": entry.sha256}
    facts |= {name: value for name, value in record.items() if name in _COLUMNS and value is not None}
    if entry.state == "failed":
        return facts
    size = record["pixel_size_um"] or {}
    facts |= {f"pixel_size_{axis}_um": size[axis] for axis in "zyx" if size.get(axis) is not None}
    facts |= {
        "model": record["model"]["family"],
        "precision": record["model"]["precision"],
        "warnings": " ".join(record["warnings"]),
        "files": "; ".join(record["files"]),
    }
    return {name: f"{value:.7g}" if isinstance(value, float) else value for name, value in facts.items()}
