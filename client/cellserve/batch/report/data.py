"""What a report shows: plain frozen objects, made by whoever knows the run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .histogram import NO_COUNTS, NO_SIZES, Histogram

MOST_ROWS = 1000
"""Rows of the table of images, at most."""
MOST_THUMBNAILS = 60
"""Thumbnails in a report, at most."""
MOST_FILES = 20
"""Names of files that a report lists for one reason of failure, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of images. A time point of a position of a file is an image.

    Attributes:
        done: Segmented in this run.
        failed: Failed in this run.
        skipped: Done in an earlier run, and left as they are.
        left: Neither done nor failed, because the run ended before.
    """

    done: int
    failed: int = 0
    skipped: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed:
    """A network that answered.

    Attributes:
        family: Model family.
        name: Name of the network.
        version: Its version.
        sha256: Checksum of its file, in hexadecimal.
        precision: Precision of its numbers, such as "fp16"; "" where unknown.
        runtime: What ran the network; "" where unknown.
    """

    family: str
    name: str
    version: str
    sha256: str
    precision: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """An image that is done.

    Attributes:
        name: Name of the image: file, position, time point.
        objects: Number of its objects.
        median_diameter: Median diameter of the objects, pixels; None without objects.
        median_diameter_um: The same, micrometres; None where the pixel size is unknown.
        mean_flow_error: Mean flow error of the objects; None without objects.
        worst_flow_error: The largest flow error of the objects; None without objects.
        seconds: From sending the image to its result.
        warnings: Kinds of its warnings, such as "nothing_found".
    """

    name: str
    objects: int
    median_diameter: float | None
    median_diameter_um: float | None = None
    mean_flow_error: float | None
    worst_flow_error: float | None
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A picture of an image that is done.

    Attributes:
        name: As in `ImageRow`.
        data: PNG or JPEG file; see `thumbnails.thumbnail`.
        objects: As in `ImageRow`.
        mean_flow_error: As in `ImageRow`.
    """

    name: str
    data: bytes
    objects: int
    mean_flow_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Images that failed for one reason.

    Attributes:
        reason: Name of the reason, such as "IMAGE_UNDECODABLE"; see `cellserve_contract.reasons`.
        count: Number of images.
        message: Message of the first.
        names: Names of the first images; a report lists `MOST_FILES` of them.
    """

    reason: str
    count: int
    message: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """A run and its results.

    Attributes:
        title: The folder of the images, or what else names the run.
        started: When the run began; with a time zone.
        ended: When the run ended.
        work_s: Seconds in which the run worked on images. A run that was stopped and went on has fewer than from
            `started` to `ended`.
        counts: Numbers of images.
        megapixels: Million pixels of the images of `counts.done`.
        parameters: (name, value) of the parameters as used.
        models: The networks that answered.
        client_version: Version of the client.
        server_versions: Versions of the servers.
        warnings: (kind, number of images) of the warnings.
        objects_per_image: Histogram of counts: the numbers of objects of the images.
        diameters: Histogram of sizes: the diameters of all objects, pixels.
        diameters_um: The same, micrometres, of images whose pixel size is known.
        rows: Images that are done. A report shows the `MOST_ROWS` rows of the largest mean flow errors.
        thumbnails: A report shows the `MOST_THUMBNAILS` thumbnails of the largest mean flow errors.
        failures: Images that failed, by reason.
        rest: Name of the file that has the rows of all images; "" if there is none.
        again: A sentence: how the images that failed or are left are tried again; "" leaves it out.
    """

    title: str
    started: datetime
    ended: datetime
    work_s: float
    counts: Counts
    megapixels: float
    parameters: tuple[tuple[str, str], ...] = ()
    models: tuple[ModelUsed, ...] = ()
    client_version: str = ""
    server_versions: tuple[str, ...] = ()
    warnings: tuple[tuple[str, int], ...] = ()
    objects_per_image: Histogram = NO_COUNTS
    diameters: Histogram = NO_SIZES
    diameters_um: Histogram = NO_SIZES
    rows: tuple[ImageRow, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    rest: str = ""
    again: str = ""

    @property
    def images_per_minute(self) -> float | None:
        """Images of `counts.done` in a minute of work; None without work."""
        return 60 * self.counts.done / self.work_s if self.work_s > 0 and self.counts.done else None
