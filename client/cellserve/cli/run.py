"""A run over many images: prints the outcome of each image, and the counts at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from cellserve.errors import CellServeError
from cellserve.progress import ProgressCallback

from . import report, terminal
from .connection import Access
from .progress import Reporter, progress

INTERRUPTED = 130
"""Exit status of shells for a program that Ctrl-C ended."""


class Run:
    """Prints the outcome of each image, and counts.

    Args:
        images: The images of the run.
        verb: What is done with an image: "segmented".
        access: The options before the command.
        as_json: True: one JSON object per image.
        skipped: Number of images left out because their results are there. None if the command leaves out no image.
        advice: Returns advice for the case that Ctrl-C ends the run, given the images that are not done.

    Attributes:
        output: Standard output, a console.
        errors: Standard error, a console.
    """

    def __init__(
        self,
        images: Collection[Path],
        verb: str,
        access: Access,
        *,
        as_json: bool = False,
        skipped: int | None = None,
        advice: Callable[[Collection[Path]], str] = lambda waiting: "",
    ) -> None:
        self.output, self.errors = terminal.console(), terminal.console(stderr=True)
        self._waiting = dict.fromkeys(images)
        self._images = len(images)
        self._verb = verb
        self._access = access
        self._as_json = as_json
        self._skipped = skipped
        self._advice = advice
        self._failed = 0
        self._progress: Reporter | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Surrounds the work on the images.

        Raises:
            typer.Exit: 1 if an image failed, 130 if Ctrl-C ended the run.
        """
        try:
            with progress(self.errors, self._images) as self._progress:
                yield
        except KeyboardInterrupt:
            self._say_counts("stopped: ", f", {len(self._waiting)} not done")
            if advice := self._advice(self._waiting):
                terminal.say(self.errors, advice)
            raise typer.Exit(INTERRUPTED) from None
        if self._images > 1 or self._skipped or self._failed:
            self._say_counts()
        if self._failed:
            raise typer.Exit(1)

    @property
    def follow(self) -> ProgressCallback | None:
        """Shows the progress of an image. None: the run has several images, and shows how many are done."""
        assert self._progress is not None
        return self._progress.work if self._images == 1 else None

    def blocks(self, stage: str, done: int, all_: int) -> None:
        """Shows how many blocks of a large image are done in a stage of the work."""
        assert self._progress is not None
        self._progress.blocks(stage, done, all_)

    def succeed(self, path: Path, record: dict[str, Any], text: str, table: Table | None = None) -> None:
        """Prints what came of an image: the record as JSON, or the text below the table."""
        if table is not None and not self._as_json:
            self.output.print(table)
        terminal.say(self.output, json.dumps(record) if self._as_json else text)
        self._finish(path, failed=False)

    def fail(self, path: Path, error: CellServeError) -> None:
        """Prints why an image failed."""
        if self._as_json:
            terminal.say(self.output, json.dumps(report.error_record(path, error)))
        else:
            terminal.say(self.errors, report.error_line(path, error))
        if cause := self._access.cause(error):
            terminal.say(self.errors, cause)
        self._failed += 1
        self._finish(path, failed=True)

    def _finish(self, path: Path, *, failed: bool) -> None:
        del self._waiting[path]
        assert self._progress is not None
        self._progress.advance(failed=failed)

    def _say_counts(self, before: str = "", after: str = "") -> None:
        done = self._images - len(self._waiting) - self._failed
        skipped = "" if self._skipped is None else f"{self._skipped} skipped, "
        counts = f"{done} {self._verb}, {skipped}{self._failed} failed"
        terminal.say(self.errors, f"{before}{counts}{after}")
