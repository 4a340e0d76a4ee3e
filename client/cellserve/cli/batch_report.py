"""What `cellserve batch` prints: failures, progress, counts, and how far a batch is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from cellserve.batch.batch import Batch
from cellserve.batch.outcome import Outcome, failure_record
from cellserve.batch.status import Status, batches_below, read_status
from cellserve.batch.stopping import Stop, stopping
from cellserve.errors import CellServeError

from . import report, terminal
from .connection import Access
from .progress import Reporter, duration, progress


class BatchRun:
    """Prints what happens in a batch.

    Args:
        access: The options before the command.
        as_json: True: one JSON object per image, and one for all.

    Attributes:
        output: Standard output, a console.
        errors: Standard error, a console.
        exit_status: Of the program.
    """

    def __init__(self, access: Access, *, as_json: bool) -> None:
        self.output, self.errors = terminal.console(), terminal.console(stderr=True)
        self.exit_status = 0
        self._access = access
        self._as_json = as_json
        self._images = 0
        self._reporter: Reporter | None = None

    def expect(self, images: int) -> None:
        """Takes the number of images to be done, as far as it is known."""
        self._images = images
        if self._reporter is not None:
            self._reporter.expect(images)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Listens for Ctrl-C and SIGTERM."""

        def tell() -> None:
            terminal.say(self.errors, "stopping: the images in work are finished first; Ctrl-C again ends them")

        with stopping(tell) as stop:
            yield stop

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Shows progress while the body runs."""
        with progress(self.errors, self._images) as self._reporter:
            yield
        self._reporter = None

    @contextlib.contextmanager
    def errors_told(self) -> Iterator[None]:
        """Prints an error that ends the run before or after the work, or that a second signal ended the work.

        Raises:
            typer.Exit: Status 1; 130 after the signal.
        """
        try:
            yield
        except KeyboardInterrupt:
            terminal.say(self.errors, "stopped: the images in work were given up. The same command goes on.")
            raise typer.Exit(128 + signal.SIGINT) from None
        except CellServeError as error:
            terminal.say(self.errors, f"error: {error}")
            raise typer.Exit(1) from error
        except OSError as error:
            terminal.say(self.errors, f"error: {error.filename or ''}: {error.strerror or error}")
            raise typer.Exit(1) from error

    def ended(self, outcome: Outcome) -> None:
        """Prints a failure; a line of JSON for any outcome, if asked for."""
        error, row = outcome.error, outcome.row
        if self._as_json:
            facts = {"error": failure_record(error)} if error is not None else outcome.record
            terminal.say(self.output, json.dumps({"image": row.name, "file": str(row.path), **facts}))
        elif error is not None:
            named = report.error_line(row.path, error)
            terminal.say(self.errors, named if row.alone else f"{named} ({row.name})")
        if error is not None and (cause := self._access.cause(error)):
            terminal.say(self.errors, cause)
        if self._reporter is not None:
            self._reporter.advance(failed=error is not None)

    def say(self, record: Mapping[str, object], line: str) -> None:
        """Prints a line, or its facts as JSON."""
        terminal.say(self.output, json.dumps(record) if self._as_json else line)

    def say_failure(self, path: Path, error: CellServeError) -> None:
        """Prints why a file cannot be read."""
        if self._as_json:
            terminal.say(self.output, json.dumps(report.error_record(path, error)))
        else:
            terminal.say(self.errors, report.error_line(path, error))

    def close(self, batch: Batch, stop: Stop) -> Status:
        """Prints the counts, and what to do next. Returns how far the batch is."""
        status = batch.status("ended")
        if stop:
            self.exit_status = 128 + (stop.signal or signal.SIGINT)
            status = batch.status("stopped", f"stopped by {signal.Signals(stop.signal or signal.SIGINT).name}")
        elif batch.stopped is not None:
            self.exit_status = 1
            status = batch.status("stopped", str(batch.stopped))
            terminal.say(self.errors, f"error: {batch.stopped}")
        elif status.failed:
            self.exit_status = 1
        found = batch.listing.found
        done = status.done - found.skipped
        counts = f"{done:,} segmented, {found.skipped:,} skipped, {status.failed:,} failed"
        if status.left:
            counts += f", {status.left:,} not done"
        terminal.say(self.errors, counts)
        if found.changed:
            terminal.say(
                self.errors,
                f"{found.changed:,} of them had results of another image, parameter or network, which were replaced",
            )
        if status.left:
            terminal.say(self.errors, "The same command goes on.")
        return status


def say_status(out: Path, *, as_json: bool) -> None:
    """Prints how far the batches are whose results are in a folder.

    Raises:
        typer.BadParameter: There is none.
    """
    console = terminal.console()
    found = {folder: status for folder in batches_below(out) if (status := read_status(folder)) is not None}
    if not found:
        raise typer.BadParameter(f"'{out}' has no journal of a batch", param_hint="'--status'")
    if as_json:
        for folder, status in found.items():
            terminal.say(console, json.dumps({"folder": str(folder), **dataclasses.asdict(status)}))
        return
    for folder, status in found.items():
        if len(found) > 1:
            terminal.say(console, f"{folder.name}: {_described(status)}")
    total = Status(
        "ended",
        *(sum(getattr(status, name) for status in found.values()) for name in ("done", "failed", "left")),
    )
    if len(found) > 1:
        terminal.say(console, f"all: {_counts(total)}")
    else:
        terminal.say(console, _described(next(iter(found.values()))))


def _described(status: Status) -> str:
    words = {
        "running": f"running, {status.in_work} in work",
        "stopped": "stopped",
        "ended": "ended",
    }
    text = f"{_counts(status)}; {words[status.stage]}"
    if status.message:
        text += f": {status.message}"
    if status.stage == "running":
        if status.images_per_s:
            text += f", {status.images_per_s * 60:,.0f} per minute"
            if status.left:
                text += f", about {duration(status.left / status.images_per_s)} left"
        text += f"; told {duration(max(0.0, time.time() - status.updated))} ago"
    return text


def _counts(status: Status) -> str:
    return f"{status.done:,} done, {status.failed:,} failed, {status.left:,} left"
