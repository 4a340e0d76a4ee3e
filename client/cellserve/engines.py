"""Engines: what segments images that no call can hold.

An engine is a function that another package offers under the entry point group `GROUP`. The engine of CellServe needs
the extra `large`; the client itself stays light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypedDict, Unpack

from cellserve_contract.extras import MissingExtraError, naming_extra
from cellserve_formats import PixelSize

from .connection import Tls
from .errors import refusal
from .models import ModelVersion
from .params import DiameterSource, Priority, SegmentParams
from .results import ResultWarning

GROUP = "cellserve.engines"
CLUSTERS = "cellserve.clusters"
"""Entry point group of what opens the workers of a cluster, a `Cluster`."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the blocks done, and all blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeSegmentation:
    """The objects of an image of any size: where they are, and how they came about.

    Attributes:
        labels: Folder of the label image, OME-Zarr.
        table: Table of the objects, Parquet.
        csv: The same table as CSV; None if it was not asked for, or has a million rows or more.
        overlay: Picture of the objects; None if it was not asked for.
        objects: Number of objects.
        median_diameter: Median of the diameters of disks, in volumes balls, of equal size, pixels. None: no object.
        axes: Axes of the label image: "YX" or "ZYX".
        shape: Length of each axis.
        params: All parameters as used, none left out.
        diameter_source: Where `params.diameter` came from.
        model: The network that answered, the same for all blocks.
        seconds: Time of this run. A run that went on where an earlier one was does not count the time of the earlier.
        pixel_size: Pixel size of the image; None where unknown.
        warnings: What to know about the result.
    """

    labels: Path
    table: Path
    csv: Path | None
    overlay: Path | None
    objects: int
    median_diameter: float | None
    axes: str
    shape: tuple[int, ...]
    params: SegmentParams
    diameter_source: DiameterSource
    model: ModelVersion
    seconds: float
    pixel_size: PixelSize | None = None
    warnings: tuple[ResultWarning, ...] = ()

    @property
    def megapixels_per_s(self) -> float:
        """Million pixels or voxels per second of this run."""
        return math.prod(self.shape) / 1e6 / max(self.seconds, 1e-9)


class EngineOptions(TypedDict, total=False):
    """Keywords of an engine.

    Attributes:
        address: "host:port", or several of them.
        token: Sent to the servers with every call.
        tls: Encrypts the connections. Default: no encryption.
        priority: As in `SegmentOptions`.
        deadline_s: Seconds a call may take, retries included.
        axes: As in `SegmentOptions`.
        series: As in `SegmentOptions`.
        csv: Whether to write the table as CSV, too.
        overlay: Whether to write the picture.
        concurrency: Calls to the servers at a time. Other work takes one thread for each processor.
        scheduler: Address of a Dask scheduler, whose workers do the work instead.
        run_folder: Folder of what is half done. Default: `.IMAGE.cellserve` beside the results.
        block_size: Side of a block, pixels.
        note: Called with a line that the user should see at once.
        progress: Told about blocks that are done.
    """

    address: str | Sequence[str]
    token: str | None
    tls: Tls | None
    priority: Priority
    deadline_s: float
    axes: str | None
    series: int | None
    csv: bool
    overlay: bool
    concurrency: int
    scheduler: str | None
    run_folder: Path | None
    block_size: int | None
    note: Callable[[str], None]
    progress: Progress | None


class Cluster(Protocol):
    """Opens the workers of a cluster."""

    def __call__(self, scheduler: str) -> AbstractContextManager[Executor]:
        """Connects to a scheduler; raises OSError if the scheduler does not answer.

        The executor has a function `worker_count`, which tells how many workers there are.
        """


class Engine(Protocol):
    """Segments an image of any size."""

    def __call__(
        self, source: Any, out: Path | None, params: SegmentParams, **options: Unpack[EngineOptions]
    ) -> LargeSegmentation:
        """Segments an image.

        Args:
            source: The image.
            out: What the names of the results begin with; None: beside the image, the labels of an OME-Zarr image in
                its folder.
            params: Parameters.
            **options: Keywords.

        Raises:
            CellServeError: See `cellserve.errors`.
        """


def find_engine(image: str) -> Engine:
    """Returns the engine that is installed.

    Args:
        image: What the engine is needed for, the first words of the message.

    Raises:
        InvalidRequestError: EXTRA_MISSING: the engine or its libraries are not installed.
    """
    engine: Engine = _found(GROUP, image)
    return engine


def find_cluster(user: str) -> Cluster:
    """Returns what opens the workers of a cluster.

    Args:
        user: What the workers are needed for, the first words of the message.

    Raises:
        InvalidRequestError: EXTRA_MISSING: the package or its libraries are not installed.
    """
    cluster: Cluster = _found(CLUSTERS, user)
    return cluster


def _found(group: str, user: str) -> Any:
    for entry in metadata.entry_points(group=group):
        try:
            with naming_extra(user, "large"):
                return entry.load()
        except MissingExtraError as error:
            raise refusal(str(error), "EXTRA_MISSING") from error
    raise refusal(f"{user} needs the part 'large' of CellServe: pip install 'cellserve[large]'", "EXTRA_MISSING")
