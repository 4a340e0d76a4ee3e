"""The run folder: results of every stage and block, each written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import DiskFullError
from .geometry import Box, Grid

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Store:
    """Arrays of a run, by stage and block.

    A result is one file: a line of JSON that states name, type, shape and place of each array, then the arrays. A file
    that exists is complete, because a file is written beside its place and then moved to its place in one step. Workers
    on other machines may share the folder.
    """

    folder: Path

    def has(self, stage: str, name: int | str) -> bool:
        """Returns whether a result is there."""
        return self._path(stage, name).exists()

    def save(self, stage: str, name: int | str, **arrays: NDArray[Any]) -> None:
        """Write a result: arrays by name.

        Raises:
            DiskFullError: The folder has no room.
        """
        arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        entries, place = {}, 0
        for key, array in arrays.items():
            entries[key] = (array.dtype.str, array.shape, place)
            place += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        header = json.dumps(entries).encode()
        header += b" " * (-(len(header) + 1) % _ALIGNMENT) + b"\n"
        with self.written(self._path(stage, name), len(header) + place) as file:
            file.write(header)
            for array in arrays.values():
                file.write(array.reshape(-1).view(np.uint8).data)
                file.write(bytes(-array.nbytes % _ALIGNMENT))

    def load(self, stage: str, name: int | str, *keys: str) -> list[NDArray[Any]]:
        """Returns arrays of a result."""
        with self._path(stage, name).open("rb") as file:
            entries = json.loads(file.readline())
            first = file.tell()
            arrays = []
            for key in keys:
                dtype, shape, place = entries[key]
                file.seek(first + place)
                arrays.append(np.fromfile(file, dtype, math.prod(shape)).reshape(shape))
        return arrays

    def map(self, stage: str, name: int | str, key: str) -> NDArray[Any]:
        """Returns an array of a result, mapped from its file: only what is used of it is read."""
        with self._path(stage, name).open("rb") as file:
            dtype, shape, place = json.loads(file.readline())[key]
            place += file.tell()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(content, dtype, math.prod(shape), place).reshape(shape)

    def read(
        self, stage: str, key: str, grid: Grid, box: Box, dtype: Any, components: tuple[int, ...] = ()
    ) -> NDArray[Any]:
        """Returns the pixels of a box, put together from blocks; `components` are the lengths of axes before theirs."""
        result = np.empty((*components, *box.shape), dtype)
        for block in grid.overlapping(box):
            own = grid.box(block)
            part = own.common(box)
            place: Any = (..., *part.within(box))
            source: Any = (..., *part.within(own))
            result[place] = self.map(stage, block, key)[source]
        return result

    def note(self, name: str, value: Any) -> None:
        """Write a small result, anything that JSON can hold.

        Raises:
            DiskFullError: The folder has no room.
        """
        text = (json.dumps(value, indent=2) + "\n").encode()
        with self.written(self.folder / f"{name}.json", len(text)) as file:
            file.write(text)

    def noted(self, name: str) -> Any:
        """Returns a small result; None if it is not there."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def stages(self, name: str) -> list[str]:
        """Returns the stages with results whose names begin so."""
        return sorted(path.name for path in self.folder.glob(f"{name}*") if path.is_dir())

    def drop(self, stage: str) -> None:
        """Delete the results of a stage."""
        shutil.rmtree(self.folder / stage, ignore_errors=True)

    def sweep(self, stage: str) -> None:
        """Delete what writers left behind that were killed. Nobody may write to the stage any more."""
        for part in (self.folder / stage).glob(".*"):
            part.unlink(missing_ok=True)

    def _path(self, stage: str, name: int | str) -> Path:
        return self.folder / stage / f"{name}.arrays"

    @contextlib.contextmanager
    def written(self, path: Path, size: int) -> Iterator[BinaryIO]:
        """Write a file that is there as a whole afterwards, or not at all.

        Args:
            path: of the file.
            size: about how many bytes it takes; part of the message if there is no room.

        Raises:
            DiskFullError: The folder has no room.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with part.open("wb") as file:
                yield file
            part.replace(path)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(self.folder, size, os.strerror(error.errno or 0)) from error
            raise
        finally:
            part.unlink(missing_ok=True)
