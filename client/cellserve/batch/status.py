"""How far a batch is, for `cellserve batch --status`: a small file that the run writes now and then."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from cellserve_formats.files import write_json

from cellserve.errors import CellServeError

from .journal import Counts
from .journal_file import NAME as JOURNAL
from .journal_file import read

FOLDER = ".cellserve"
"""Folder in that of all results: the journal, and how far the run is. A shard has a folder of its own in it."""
NAME = "status.json"
EVERY_S = 2.0
"""Longest time between two writings."""

Stage = Literal["running", "stopped", "ended"]


@dataclass(frozen=True, slots=True)
class Status:
    """How far a batch is.

    Attributes:
        stage: "running", "stopped" before the end, or "ended".
        done: Images that are done, those of earlier runs included.
        failed: Images that failed.
        left: Images that are not done yet. A file whose positions were not yet counted is one image.
        images_per_s: Speed of the run; None while unknown.
        in_work: Images in work.
        updated: Time of these figures, seconds since 1970.
        message: Why the run stopped; "" otherwise.
    """

    stage: Stage
    done: int = 0
    failed: int = 0
    left: int = 0
    images_per_s: float | None = None
    in_work: int = 0
    updated: float = dataclasses.field(default_factory=time.time)
    message: str = ""

    @classmethod
    def of(cls, stage: Stage, counts: Counts, **more: float | int | str | None) -> Self:
        """Returns the status that follows from the counts of a journal."""
        return cls(stage, counts.done, counts.failed, counts.left, **more)  # type: ignore[arg-type]

    def write(self, folder: Path) -> None:
        """Writes the file. Raises OSError."""
        write_json(folder / NAME, dataclasses.asdict(self))


def read_status(folder: Path) -> Status | None:
    """Returns how far the batch of a folder is; None if the folder has none.

    The counts are those of the journal. While a run has the journal open, they are what the run wrote last.
    """
    try:
        told = Status(**json.loads((folder / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        told = None
    try:
        with read(folder) as opened:
            if opened is None:
                return told
            counts = opened.counts()
    except CellServeError:  # a run began
        return told
    if told is None:
        return Status.of("stopped", counts)
    if told.stage == "running":  # nobody runs: the run was killed
        told = dataclasses.replace(told, stage="stopped", message="the run was killed")
    return dataclasses.replace(told, done=counts.done, failed=counts.failed, left=counts.left, in_work=0)


def batches_below(out: Path) -> Iterator[Path]:
    """Yields the folders of the batches whose results are in a folder: one, or one for each shard."""
    folder = out / FOLDER
    if (folder / JOURNAL).is_file():
        yield folder
    yield from sorted(path.parent for path in folder.glob(f"*/{JOURNAL}"))
