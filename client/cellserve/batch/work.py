"""The work on one image: read, segment, measure, write. Runs in a thread, or in the worker of a cluster."""

from __future__ import annotations

import errno
import functools
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cellserve_formats import Image
from cellserve_formats.contents import ImageFile
from cellserve_formats.overlay import OverlayOptions

from cellserve.connection import Connection
from cellserve.errors import CellServeError, one_image, refusal
from cellserve.files import reading
from cellserve.makers import Write
from cellserve.pictures import channels
from cellserve.results import Segmentation
from cellserve.saving import check_image, make_files, outputs_of

from .journal import Entry
from .outcome import Outcome, result_record
from .report import thumbnail
from .request import Request
from .rows import Row, open_input

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
        parts: Folder of files that are not yet whole.
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
        began = time.monotonic()
        try:
            with one_image():
                outcome = self._made(row, picture_above, began)
        except CellServeError as error:
            outcome = Outcome(row, time.monotonic() - began, self.connection.client().take_refusals(), error=error)
        return outcome

    def has_result(self, entry: Entry, identity: str) -> bool:
        """Tells whether a row has results of the same input, request and network, and all of its files are there.

        Args:
            entry: What the journal knows of the row.
            identity: Identity of the input now.
        """
        return (
            entry.state == "done"
            and entry.request == self.request.fingerprint
            and entry.sha256 in self.networks
            and entry.identity == identity
            and all((self.out / file).exists() for file in entry.record["files"])
        )

    def _made(self, row: Row, picture_above: float, began: float) -> Outcome:
        request = self.request
        image = read(row, request.axes)
        check_image(request.save, image.axes)
        result = self.connection.client().segment(
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
        made = make_files(
            result,
            self.out / row.stem,
            request.save,
            image,
            path=row.path,
            store=row.store,
            options=OverlayOptions(numbers=request.numbers, filled=request.filled),
        )
        self._write(made)
        files = [_relative(path, self.out) for path in made]
        record = result_record(row, result, files)
        error = record["mean_flow_error"]
        flow_error = -1.0 if error is None else error
        shown = thumbnail(image, result.labels, *channels(result)) if flow_error > picture_above else None
        refusals = self.connection.client().take_refusals()
        seconds = time.monotonic() - began
        return Outcome(row, seconds, refusals, record, result.model.sha256, flow_error, shown)

    def _write(self, made: Mapping[Path, Write]) -> None:
        """Writes result files, each first in the folder of parts: what a kill leaves there, the next run deletes.

        Raises:
            CellServeError: FILE_UNWRITABLE, with the name of the system's error.
        """
        for path, write in made.items():
            try:
                if path.suffix == ".zarr" or not path.is_relative_to(
                    self.out
                ):  # replaces its folder in one step itself
                    write(path)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                part = self.parts / secrets.token_hex(8)
                write(part)
                part.replace(path)
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "")
                message = f"cannot write {path}: {error.strerror or error}"
                raise refusal(message, "FILE_UNWRITABLE", errno=name) from error

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
