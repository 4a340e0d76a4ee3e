"""What is left to do: the rows that have no result of the same input, request and network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellserve_formats.contents import ImageFile

from cellserve.errors import CellServeError, one_image, refusal
from cellserve.files import reading
from cellserve.saving import claim_of, result_stem

from .journal import Entry, Journal, Listed
from .rows import Row, files_identity, files_of, is_unchanged, open_input, rows_of
from .shard import Shard
from .work import Worker


@dataclass(slots=True)
class Found:
    """How many rows were found so far.

    Attributes:
        skipped: Rows whose results are there.
        changed: Rows whose results were of another input, request or network.
        known: Rows of the images that were opened or skipped.
        unopened: Images that were not yet opened.
    """

    skipped: int = 0
    changed: int = 0
    known: int = 0
    unopened: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """Finds the rows that are left.

    Attributes:
        journal: The journal of the run.
        worker: Says which results are valid.
        fail: Takes a row that cannot be read at all, and why.
        found: Counts.
    """

    journal: Journal
    worker: Worker
    fail: Callable[[Row, CellServeError], None]
    found: Found = field(default_factory=Found)
    _parts: set[Path] = field(default_factory=set)  # files of sets whose first file was seen

    def left(self) -> Iterator[Row]:
        """Yields the rows that are left. Results that are not valid any more are deleted."""
        self.found.unopened = self.journal.image_count()
        for image in self.journal.images():
            yield from self._left_of(image)

    def _left_of(self, image: Listed) -> Iterator[Row]:
        if image.path in self._parts:
            self._list(image, None, [])
            return
        if (done := self._all_done(image)) is not None:
            self._count(done, done)
            return
        try:
            rows = self._rows(image)
        except CellServeError as error:
            row = Row(image.image, 0, 0, image.name, image.path, image.stem, "", 0, 0)
            self._list(image, None, [row])
            self.fail(row, error)
            return
        for row in rows:
            entry = self.journal.entry(row.key)
            if entry is not None and self.worker.has_result(entry, row.identity):
                self.found.skipped += 1
                continue
            if entry is not None:
                self._drop(entry)
            yield row

    def _all_done(self, image: Listed) -> int | None:
        """Returns the number of rows if all are done and the files are unchanged; None if the image must be opened."""
        if image.identity is None or not is_unchanged(image.path, image.identity):
            return None
        self._parts.update(files_of(image.path, image.identity)[1:])
        entries = self.journal.entries_of(image.image)
        valid = len(entries) == image.rows and all(self.worker.has_result(entry, image.identity) for entry in entries)
        return image.rows if valid else None

    def _rows(self, image: Listed) -> list[Row]:
        """Opens an image; returns its rows. Files of a set have none, but for the first of them.

        Raises:
            CellServeError: The image cannot be read, or its results would have the names of those of another image.
        """
        with one_image(), reading(image.path), open_input(image.path, self.worker.request.axes) as file:
            if self._is_part(file, image.path):
                self._list(image, None, [])
                return []
            identity = files_identity(file.files) if image.path.is_file() else None
            self._parts.update(image.path.with_name(part.name) for part in file.files[1:])
            rows = list(rows_of(file, image.image, image.name, image.path, image.stem, identity or ""))
            for row in rows:
                claim = claim_of(row.stem, self.worker.request.save)
                if row.stem != image.stem and (other := self.journal.owner(claim)):
                    raise refusal(
                        f"{image.path}: the results of {row.name} would have the names of those of {other}; rename one "
                        "of the files, or leave one out with --exclude",
                        "FILE_UNWRITABLE",
                    )
        self._list(image, identity, rows)
        return rows

    def _is_part(self, file: ImageFile, path: Path) -> bool:
        """Tells whether the planes of a file belong to an image that another file of the run stands for.

        The first file of a set stands for it; all shards know the same files of the run.
        """
        files = (path.with_name(part.name) for part in file.files)
        return next((part for part in files if self.journal.has(part)), path) != path

    def _list(self, image: Listed, identity: str | None, rows: list[Row]) -> None:
        for entry in self.journal.list_rows(image.image, identity, [row.key for row in rows]):
            self._delete(entry)
        self._count(len(rows), 0)

    def _drop(self, entry: Entry) -> None:
        self.found.changed += entry.state == "done"
        self._delete(entry)
        self.journal.drop(entry.key)

    def _delete(self, entry: Entry) -> None:
        """Deletes results of another input, request or network: files of two must not stand beside each other.

        Labels in an OME-Zarr image, whose paths are absolute, are only replaced: the image is not that of the batch.
        """
        for file in entry.record.get("files", ()):
            path = self.worker.out / file
            if path.is_file():
                path.unlink(missing_ok=True)
            elif not Path(file).is_absolute():
                shutil.rmtree(path, ignore_errors=True)

    def _count(self, rows: int, skipped: int) -> None:
        self.found.unopened -= 1
        self.found.known += rows
        self.found.skipped += skipped


def enlist(journal: Journal, images: Iterable[Path], base: Path, save: Sequence[str], part: Shard | None) -> int:
    """Lists the images of a run in its journal.

    Args:
        journal: The journal, in which the run has begun.
        images: The images, below `base`.
        base: Folder below which results keep the folders of their images.
        save: Words of the result files.
        part: The shard of this run; None: all images.

    Returns:
        Number of images of this run.

    Raises:
        InvalidRequestError: RUN_STOPPED: two images have the same result files, or no image was found.
    """
    count = others = 0
    for path in images:
        below = path.relative_to(base)
        name, stem = below.as_posix(), (below.parent / result_stem(path)).as_posix()
        own = part is None or part.holds(name)
        if journal.enlist(name, path, stem, claim=claim_of(stem, save), own=own):
            count, others = count + own, others + (not own)
            journal.commit(now=False)
    if not count and not others:
        raise refusal("no image was found: all are left out by --include and --exclude, or are results", "RUN_STOPPED")
    journal.commit()
    return count
