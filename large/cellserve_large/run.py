"""The file that describes a run: a run folder serves one image and one set of parameters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from cellserve_contract.params import RecoveryParams
from filelock import FileLock, Timeout

from .errors import FolderBusyError, ForeignFolderError, OtherRunError
from .store import Store

FORMAT = 1
"""Of the files in a run folder. Another number means that older results are of no use."""
NAME = "run"
LOCK = "run.lock"
"""File that a run locks. The system unlocks the file when the process ends, however it ends."""
RESULTS_LOCK = "results.lock"
"""File that is locked, likewise, until the results of a run are written and its folder is deleted."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the results in a run folder depend on.

    Attributes:
        image: identity of the image, and of how its maps were made: anything that JSON can hold.
        shape: of the maps.
        label_shape: of the label image.
        params: of the recovery.
        side: of the blocks, in pixels.
    """

    image: Any
    shape: tuple[int, ...]
    label_shape: tuple[int, ...]
    params: RecoveryParams
    side: int

    @contextmanager
    def opened(self, store: Store) -> Iterator[Store]:
        """Begin a run in a folder, or go on with one. Nobody else runs in the folder meanwhile.

        Raises:
            FolderBusyError: Another run works in the folder.
            OtherRunError: The folder holds a run of something else.
            DiskFullError: The folder has no room.
        """
        with _locked(store, LOCK):
            self._begin(store)
            yield store

    def _begin(self, store: Store) -> None:
        own = json.loads(json.dumps({"format": FORMAT, "version": version("cellserve"), **asdict(self)}))
        other = store.noted(NAME)
        if other is None:
            store.note(NAME, own)
        elif differences := _differences(own, other):
            raise OtherRunError(store.folder, differences)


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Keep others out of a run folder until the results are written; delete the folder if nothing was begun in it.

    Raises:
        FolderBusyError: Another run works in the folder.
        ForeignFolderError: The folder holds files of others.
        OSError: The folder cannot be written.
    """
    own = (RESULTS_LOCK, f"{NAME}.json")
    if (
        store.folder.exists()
        and any(store.folder.iterdir())
        and not any((store.folder / name).exists() for name in own)
    ):
        raise ForeignFolderError(store.folder)
    with _locked(store, RESULTS_LOCK):
        try:
            yield
        finally:
            if store.folder.exists() and {entry.name for entry in store.folder.iterdir()} <= {RESULTS_LOCK}:
                shutil.rmtree(store.folder, ignore_errors=True)


@contextmanager
def _locked(store: Store, name: str) -> Iterator[None]:
    store.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.folder / name, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FolderBusyError(store.folder) from None
    try:
        yield
    finally:
        lock.release()


def _differences(own: dict[str, Any], other: dict[str, Any]) -> list[str]:
    found = []
    for name in sorted({*own, *other}):
        mine, theirs = own.get(name), other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += _differences(mine, theirs)
        elif mine != theirs:
            found.append(f"{name} is {theirs} there and {mine} here")
    return found
