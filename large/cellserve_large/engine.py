"""Segments an image of any size: what `cellserve segment` does with images that no call can hold."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cellserve import CellServeError, Image, InvalidRequestError, SegmentParams, check_limits
from cellserve.channel import DEFAULT_ADDRESS, addresses
from cellserve.connection import Connection, Tls
from cellserve.engines import LargeSegmentation, Progress
from cellserve.errors import from_image_error, refusal
from cellserve.models import Model
from cellserve.params import Priority
from cellserve_contract.extras import MissingExtraError
from cellserve_contract.params import ParameterError
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_contract.warnings import Warnings
from cellserve_formats import ImageError, PixelSize
from cellserve_formats.lazy import LazyImage, open_image

from .crops import fingerprint
from .diameter import with_diameter
from .errors import DiskFullError, ForeignFolderError, LargeError
from .execution import workers
from .found import Found, result_warnings
from .gateways import Gateways, family_of
from .parameters import resolve
from .results import Results
from .run import held
from .segmentation import segment
from .store import Store


def segment_image(
    source: Any,
    out: str | os.PathLike[str] | None = None,
    params: SegmentParams | None = None,
    *,
    address: str | Sequence[str] = DEFAULT_ADDRESS,
    token: str | None = None,
    tls: Tls | None = None,
    priority: Priority = "batch",
    deadline_s: float = 300.0,
    axes: str | None = None,
    series: int | None = None,
    pixel_size: PixelSize | None = None,
    csv: bool = True,
    overlay: bool = True,
    concurrency: int = 8,
    scheduler: str | None = None,
    run_folder: str | os.PathLike[str] | None = None,
    block_size: int | None = None,
    note: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
    **options: Any,
) -> LargeSegmentation:
    """Segments an image of any size on CellServe servers, in bounded memory.

    The result is that of one request with the same parameters. A run that was ended, at any moment, goes on where it
    was when it is started again.

    Args:
        source: Path of an OME-Zarr image, a TIFF file or a slide, or an array of NumPy, Dask or Zarr.
        out: What the names of the results begin with. None: beside the image; the labels of an OME-Zarr image go into
            its folder.
        params: Parameters; None: the defaults.
        address: "host:port" of a server, or of several.
        token: Sent to the servers with every call.
        tls: Encrypts the connections: arguments of `grpc.ssl_channel_credentials`. None: no encryption.
        priority: "batch" lets the images of others go first.
        deadline_s: Seconds that a call about some tiles may take, retries included.
        axes: Axes of an array, or of a file that does not name them itself.
        series: Number of the image in a file that holds several, from 0.
        pixel_size: Micrometres; used instead of what the file states.
        csv: Whether to write the table as CSV, too, while it has fewer than a million rows.
        overlay: Whether to write a picture.
        concurrency: Calls to the servers at a time. Other work takes one thread for each processor.
        scheduler: Address of a Dask scheduler. Its workers do the work. They need the extra `large`, the image and the
            run folder under the same paths, and reach the servers under the same addresses.
        run_folder: Folder of what is half done; None: `.NAME.cellserve` beside the results. New, empty,
            or that of a run that was ended. Deleted at the end.
        block_size: Side of a block, pixels. Smaller blocks take less memory.
        note: Called with a line that the user should see at once.
        progress: Told the name of a stage, the blocks done, and all blocks.
        **options: The fields of `SegmentParams`, such as diameter=30.

    Returns:
        Where the results are, and how they came about.

    Raises:
        CellServeError: See `cellserve.errors`. RUN_STOPPED: the run cannot go on; FILE_UNWRITABLE: a disk is full or a
            folder cannot be written.
        ValueError: An array without `out`.
    """
    begun = time.monotonic()
    params = replace(params or SegmentParams(), **options)
    connection = Connection(tuple(addresses(address)), token, tls)
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    if scheduler is not None and isinstance(source, np.ndarray):
        raise refusal(
            "the workers of a cluster cannot read an array of NumPy. Save it as OME-Zarr and give its path, or leave "
            "the scheduler out",
            "RUN_STOPPED",
        )
    with _translated(path), open_image(source, axes=axes, series=series, pixel_size=pixel_size) as image:
        results = Results.of(image, path, Path(out) if out is not None else None, csv=csv, overlay=overlay)
        store = Store(Path(run_folder) if run_folder is not None else results.run_folder)
        run = _Run(
            image=image,
            path=path,
            params=params,
            connection=connection,
            priority=priority,
            deadline_s=deadline_s,
            store=store,
            concurrency=concurrency,
            scheduler=scheduler,
            block_size=block_size,
            note=note,
            progress=progress,
        )
        with _held(store, results):
            try:
                found = run.found()
            finally:
                connection.close()
            with _writing():
                csv_path = results.write(image, found, concurrency, progress)
            shutil.rmtree(store.folder, ignore_errors=True)
        diameters = found.objects.equivalent_diameter_area
        return LargeSegmentation(
            labels=results.labels,
            table=results.table,
            csv=csv_path,
            overlay=results.overlay,
            objects=len(found.objects),
            median_diameter=float(np.median(diameters)) if diameters.size else None,
            axes=found.axes,
            shape=found.shape,
            params=found.params,
            diameter_source=found.diameter_source,
            model=found.model,
            seconds=time.monotonic() - begun,
            pixel_size=image.pixel_size,
            warnings=(*result_warnings(image.warnings), *found.warnings),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Finds the objects of an image; attributes as the arguments of `segment_image`. `path` is that of the image."""

    image: LazyImage
    path: Path | None
    params: SegmentParams
    connection: Connection
    priority: Priority
    deadline_s: float
    store: Store
    concurrency: int
    scheduler: str | None
    block_size: int | None
    note: Callable[[str], None]
    progress: Progress | None

    def found(self) -> Found:
        family = family_of(self.connection, self.params.model)
        params, warnings = resolve(self.image, self.params, family)
        if params.stack_mode in ("stitch", "planes"):
            return self._at_once(params, warnings)
        return self._in_parts(params, family, warnings)

    def _in_parts(self, params: SegmentParams, family: Model, warnings: Warnings) -> Found:
        gateways = Gateways.meet(self.connection, family.name, params.ensemble, self.priority, self.deadline_s)
        identity = {"image": fingerprint(self.image, self.path), "networks": gateways.identity}
        params, source, more = with_diameter(self.image, params, family, gateways, self.store, identity, self.note)
        params = with_recovery_defaults(params, family.working_diameter)
        with _workers(self.scheduler, self.concurrency) as executor:
            try:
                recovery = segment(
                    self.image,
                    params,
                    gateways,
                    self.store.folder,
                    working_diameter=family.working_diameter,
                    side=self.block_size,
                    executor=executor,
                    progress=self.progress,
                    identity=identity,
                )
            except BaseException:
                self.connection.close()  # the blocks in work end now: their threads are waited for
                raise
        known = result_warnings((*warnings, *more, *recovery.warnings))
        return Found.in_parts(recovery, params, source, gateways.network, known)

    def _at_once(self, params: SegmentParams, warnings: Warnings) -> Found:
        """Segments a stack plane by plane, which one request does."""
        image, client = self.image, self.connection.client()
        empty = np.broadcast_to(np.zeros((), image.dtype), image.shape)
        try:
            check_limits(Image(empty, image.axes), client.limits())
        except InvalidRequestError as error:
            raise LargeError(
                f"{error.message}. A stack beyond this limit is segmented as a volume (stack_mode volume), not with "
                f"{params.stack_mode}: save each plane as an image of its own, or cut the stack into parts"
            ) from error
        pixels = Image(image.read([slice(None)] * len(image.axes)), image.axes, image.pixel_size)
        result = client.segment(pixels, params, priority=self.priority, deadline_s=self.deadline_s)
        return Found.at_once(result)


@contextmanager
def _translated(path: Path | None) -> Iterator[None]:
    """Turns the errors of images, parameters, runs and disks into those of the client."""
    try:
        yield
    except CellServeError:
        raise
    except ImageError as error:
        raise from_image_error(error, path) from error
    except ParameterError as error:
        facts = {"parameter": error.parameter, "allowed": error.allowed}
        raise refusal(
            f"{error.parameter} is {error.value}; allowed: {error.allowed}", "PARAMETER_OUT_OF_RANGE", **facts
        ) from error
    except DiskFullError as error:
        raise refusal(str(error), "FILE_UNWRITABLE") from error
    except LargeError as error:
        raise refusal(str(error), "RUN_STOPPED") from error
    except MissingExtraError as error:
        raise refusal(str(error), "EXTRA_MISSING") from error
    except OSError as error:
        raise refusal(f"{error.filename or path}: {error.strerror or error}", "FILE_UNREADABLE") from error


@contextmanager
def _held(store: Store, results: Results) -> Iterator[None]:
    """`held`, with the errors of results that cannot be written, and of a folder that cannot be the run folder."""
    try:
        results.check()
    except OSError as error:
        message = f"cannot write the results, {results.table} and {results.labels}: {error.strerror or error}"
        raise refusal(f"{message}; choose another place (--out)", "FILE_UNWRITABLE") from error
    if results.stem.resolve().is_relative_to(store.folder.resolve()):
        raise ForeignFolderError(store.folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(held(store))
        except OSError as error:
            message = f"cannot write the run folder {store.folder}: {error.strerror or error}"
            raise refusal(f"{message}; choose another one (--run-folder)", "FILE_UNWRITABLE") from error
        yield


@contextmanager
def _writing() -> Iterator[None]:
    """Says of an error of the disk that the results could not be written."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {error.filename or 'the results'}: {error.strerror or error}"
        raise refusal(
            f"{message}. What was segmented is kept: the same command writes the results", "FILE_UNWRITABLE"
        ) from error


@contextmanager
def _workers(scheduler: str | None, threads: int) -> Iterator[Executor]:
    """`workers`, with the error of a scheduler that does not answer."""
    with ExitStack() as stack:
        try:
            executor = stack.enter_context(workers(scheduler, threads))
        except (OSError, ValueError) as error:
            raise LargeError(f"the Dask scheduler {scheduler} does not answer: {error}") from error
        yield executor
