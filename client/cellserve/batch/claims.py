"""Which result files are those of a batch: a file that the journal does not know is never replaced, and never deleted.

A row claims its result files before any work on it, and the claims are durable. What a kill leaves behind is therefore
known. When the row is done, the journal keeps size and time of change of each file: a file that somebody changed since
is theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cellserve.errors import CellServeError, refusal

from .rows import Key

Stamp = tuple[int, int]
"""Size and time of change, nanoseconds, of a file or folder."""

SCHEMA = """
CREATE TABLE files (
  folded BLOB PRIMARY KEY,
  path BLOB NOT NULL,
  image INTEGER NOT NULL,
  position INTEGER NOT NULL,
  time_point INTEGER NOT NULL,
  size INTEGER,
  modified_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX files_by_row ON files (image, position, time_point);
"""
_OF_ROW = "image = ? AND position = ? AND time_point = ?"


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a journal.

    Attributes:
        connection: The journal.
        folds: Whether names that differ in upper and lower case alone are one file there.
    """

    connection: sqlite3.Connection
    folds: bool = False

    def claim(self, key: Key, paths: Iterable[Path], run: int) -> None:
        """Claims the result files of a row; those of images that are no longer in the batch are taken over.

        Raises:
            InvalidRequestError: FILE_UNWRITABLE: another image has a file, or the file is not of this batch.
        """
        new = []
        for path in paths:
            found = self.connection.execute(
                "SELECT image, position, time_point, size, modified_ns FROM files WHERE folded = ?",
                (self._folded(path),),
            ).fetchone()
            now = stamp(path)
            if found is None:
                if now is not None:
                    raise _foreign(path, "is there and is not of this batch")
            elif now is not None and found[3] is not None and now != found[3:]:
                raise _foreign(path, "was changed after the batch wrote it")
            elif found[:3] != key and self._lives(found[0], run):
                raise _foreign(path, "is the result of another image of the batch")
            if found is None or found[:3] != key:
                new.append((self._folded(path), os.fsencode(path), *key))
        self.connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, NULL, NULL)", new)

    def finish(self, key: Key, paths: Iterable[Path]) -> None:
        """Notes the files of a row that is done, and deletes its other files: results of another request."""
        kept = {self._folded(path): stamp(path) for path in paths}
        self.connection.executemany(
            "UPDATE files SET size = ?, modified_ns = ? WHERE folded = ?",
            [(*(now or (None, None)), folded) for folded, now in kept.items()],
        )
        self._delete(key, {folded for folded, _ in self._of(key)} - kept.keys())

    def release(self, key: Key) -> None:
        """Deletes all files of a row that is no longer there."""
        self._delete(key, {folded for folded, _ in self._of(key)})

    def are_untouched(self, key: Key) -> bool:
        """Tells whether all files of a row are as the batch wrote them."""
        found = self.connection.execute(f"SELECT path, size, modified_ns FROM files WHERE {_OF_ROW}", key).fetchall()
        return all(stamp(Path(os.fsdecode(path))) == (size, changed) for path, size, changed in found)

    def _delete(self, key: Key, folded: Iterable[bytes]) -> None:
        for each in folded:
            path, *written = self.connection.execute(
                "SELECT path, size, modified_ns FROM files WHERE folded = ?", (each,)
            ).fetchone()
            place = Path(os.fsdecode(path))
            now = stamp(place)
            if now is None or written[0] is None or now == tuple(written):
                with contextlib.suppress(OSError):
                    _remove(place)
            if not os.path.lexists(place):
                self.connection.execute("DELETE FROM files WHERE folded = ?", (each,))

    def _of(self, key: Key) -> list[tuple[bytes, bytes]]:
        return self.connection.execute(f"SELECT folded, path FROM files WHERE {_OF_ROW}", key).fetchall()

    def _lives(self, image: int, run: int) -> bool:
        """Tells whether an image is in the run, or its file is still there."""
        found = self.connection.execute("SELECT path, run FROM images WHERE image = ?", (image,)).fetchone()
        return found is not None and (found[1] == run or os.path.lexists(os.fsdecode(found[0])))

    def _folded(self, path: Path) -> bytes:
        return os.fsencode(str(path).casefold() if self.folds else path)


def stamp(path: Path) -> Stamp | None:
    """Returns size and time of change of a file; of a folder, such as a Zarr store, the size is 0. None: not there."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return (0 if path.is_dir() else status.st_size), status.st_mtime_ns


def folds_case(folder: Path) -> bool:
    """Tells whether a folder, which is there, takes names in upper and lower case for one."""
    probe = folder / "probe"
    probe.touch()
    try:
        return (folder / "PROBE").exists()
    finally:
        probe.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Deletes a file, or a Zarr store. Labels in an OME-Zarr image stay: its list of labels names them."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif path.suffix == ".zarr":
        shutil.rmtree(path)


def _foreign(path: Path, why: str) -> CellServeError:
    return refusal(
        f"{path} {why}: move the file away, or choose another folder with --out", "FILE_UNWRITABLE", path=str(path)
    )
