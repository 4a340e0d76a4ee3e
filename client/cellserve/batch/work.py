"""The work on one image: read, segment, measure, write. Runs in a thread, or in the worker of a cluster."""

from __future__ import annotations

import contextlib
import errno
import functools
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cellserve_formats import Image, ImageError
from cellserve_formats.contents import ImageFile
from cellserve_formats.label_numbers import scale_for_numbers
from cellserve_formats.overlay import OverlayOptions

from cellserve.client import Client
from cellserve.connection import Connection
from cellserve.errors import CellServeError, one_image, refusal
from cellserve.files import reading
from cellserve.makers import Write
from cellserve.pictures import channels
from cellserve.results import Segmentation
from cellserve.saving import check_axes, make_files, outputs_of, result_paths

from .journal import Entry
from .outcome import Outcome, result_record
from .report import thumbnail
from .request import Request
from .rows import Row, open_input

RUNS = "runs"
"""File in the folder of parts while its run is the last one."""
OPEN = 4
"""Files with several rows that a process keeps open."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Works on the rows of a batch. Can be pickled.

    Attributes:
        connection: How the servers are reached.
        request: What is asked for.
        out: Folder of all results.
        networks: Checksums of the networks that may answer.
        parts: Folder of files that are not yet whole. Each run has one of its own.
    """

    connection: Connection
    request: Request
    out: Path
    networks: frozenset[str]
    parts: Path

    def __call__(self, row: Row, picture_above: float) -> Outcome:
        """Makes the results of a row; an error becomes its outcome.

        Args:
            row: The row.
            picture_above: A picture is made if the mean flow error is above.
        """
        began, refusals = time.monotonic(), 0
        try:
            with one_image():
                client = self.connection.client()
                try:
                    return self._made(row, picture_above, began, client)
                finally:
                    refusals = client.take_refusals()
        except CellServeError as error:
            return Outcome(row, time.monotonic() - began, refusals, error=error)

    def files_of(self, row: Row) -> list[Path]:
        """Returns the result files of a row, in the order in which they are written: label images last."""
        paths = result_paths(self.out / row.stem, self.request.save, row.store)
        return [path for places in paths.values() for path in places]

    def has_result(self, entry: Entry, identity: str) -> bool:
        """Tells whether a row has results of the same input, request and network, and all of its files are there.

        Args:
            entry: What the journal knows of the row.
            identity: Identity of the input now.
        """
        if entry.state != "done" or self.is_other(entry, identity):
            return False
        return all((self.out / file).exists() for file in entry.record["files"])

    def is_other(self, entry: Entry, identity: str) -> bool:
        """Tells whether a result is of another input, request or network; arguments as in `has_result`."""
        other = entry.request != self.request.fingerprint or entry.identity != identity
        return other or entry.sha256 not in self.networks

    def _made(self, row: Row, picture_above: float, began: float, client: Client) -> Outcome:
        request = self.request
        image = read(row, request.axes)
        check_axes(request.save, image.axes)
        result = client.segment(
            image,
            request.channels.resolved(request.params, image.channels),
            priority=request.priority,
            compression=request.compression,
            work_budget_s=request.work_budget_s,
            deadline_s=request.deadline_s,
            outputs=outputs_of(request.save),
        )
        self._check_network(result)
        if request.measure:
            result = result.measure(image, request.measure)
        scale = scale_for_numbers(result.labels) if request.numbers and result.axes == "YX" else 1
        made = make_files(
            result,
            self.out / row.stem,
            request.save,
            image,
            path=row.path,
            store=row.store,
            options=OverlayOptions(numbers=request.numbers, filled=request.filled, scale=scale),
        )
        self._write(made)
        record = result_record(row, result, [_relative(path, self.out) for path in made])
        error = record["mean_flow_error"]
        flow_error = -1.0 if error is None else error
        shown = None
        if flow_error > picture_above:
            with contextlib.suppress(ImageError, ValueError):  # the results are there: a picture less
                shown = thumbnail(image, result.labels, *channels(result))
        seconds = time.monotonic() - began
        return Outcome(row, seconds, client.take_refusals(), record, result.model.sha256, flow_error, shown)

    def _write(self, made: Mapping[Path, Write]) -> None:
        """Writes result files, each first in the folder of parts: what a kill leaves there, the next run deletes.

        Raises:
            CellServeError: FILE_UNWRITABLE, with the name of the system's error. RUN_STOPPED: this run was killed, and
                another one has begun; its cluster still had the task.
        """
        for path, write in made.items():
            try:
                self._check_run()
                if path.suffix == ".zarr" or not path.is_relative_to(self.out):
                    write(path)  # a Zarr store takes its place in one step itself
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                part = self.parts / secrets.token_hex(8)
                write(part)
                self._check_run()
                part.replace(path)
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "")
                message = f"cannot write {path}: {error.strerror or error}"
                raise refusal(message, "FILE_UNWRITABLE", errno=name) from error

    def _check_run(self) -> None:
        if not (self.parts / RUNS).exists():
            raise refusal("another run has begun in the folder of the results", "RUN_STOPPED")

    def _check_network(self, result: Segmentation) -> None:
        if result.model.sha256 not in self.networks:
            raise refusal(
                f"another network answered than at the start of the run: {result.model.name} version "
                f"{result.model.version}, sha256 {result.model.sha256[:12]}. Run the same command again when all "
                "servers have the same networks. Images of the other network are then made again",
                "RUN_STOPPED",
            )


def read(row: Row, axes: str | None) -> Image:
    """Reads the pixels of a row. Files with several rows stay open; of a plate only the image is opened.

    Raises:
        InvalidRequestError: The file cannot be read.
    """
    with reading(row.path):
        if row.alone:
            with open_input(row.path, axes) as file:
                return file.read(row.position, row.time_point)
        path, position = (row.path, row.position) if row.folder is None else (row.folder, 0)
        file, lock = _open(path, row.identity, axes)
        with lock:
            return file.read(position, row.time_point)


@functools.lru_cache(OPEN)
def _open(path: Path, identity: str, axes: str | None) -> tuple[ImageFile, threading.Lock]:
    """Returns an open file, and the lock of the thread that reads; another identity is another file."""
    return open_input(path, axes), threading.Lock()


def _relative(path: Path, out: Path) -> str:
    """Returns a path relative to the folder of all results; labels in an OME-Zarr image are elsewhere."""
    return str(path.relative_to(out)) if path.is_relative_to(out) else str(path.absolute())
