"""The run of a batch: rows go to workers, outcomes to the journal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from cellserve.errors import CellServeError

from .journal import Counts, Journal
from .listing import Listing
from .outcome import MOST_LATE, Outcome, failure_record
from .rows import Key, Row
from .status import EVERY_S, Stage, Status
from .stopping import Stop
from .window import Window
from .work import Worker

PICTURES = 60
"""Pictures that the journal keeps: those of the images with the worst flow errors."""
MOST_BYTES = 1 << 30
"""Bytes of the pixels of all images in work. One larger image is worked on alone."""
MOST_LOST = 3
"""How often a row is tried again whose worker in a cluster died."""
_LOOK_S = 0.5


@dataclass(slots=True)
class Batch:
    """One run over the rows that are left.

    Attributes:
        journal: The journal.
        folder: Folder of the journal and the status.
        worker: Works on a row.
        executor: Calls the worker: threads, or the workers of a cluster.
        window: Limits the images in work.
        ended: Told each outcome, after the journal.
        counted: Told the number of rows to be done, as far as it is known.
        most_bytes: Bytes of the pixels of all images in work.
    """

    journal: Journal
    folder: Path
    worker: Worker
    executor: Executor
    window: Window
    ended: Callable[[Outcome], None]
    counted: Callable[[int], None] = lambda rows: None
    most_bytes: int = MOST_BYTES
    stopped: CellServeError | None = None
    listing: Listing = field(init=False)
    _done: int = 0
    _failed: int = 0
    _running: dict[Future[Outcome], Row] = field(default_factory=dict)
    _again: deque[Row] = field(default_factory=deque)
    _late: dict[Key, int] = field(default_factory=dict)
    _lost: dict[Key, int] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def __post_init__(self) -> None:
        self.listing = Listing(self.journal, self.worker, self._fail)

    def run(self, stop: Stop) -> None:
        """Works until no row is left, a signal comes, or an error ends the run. The journal then has all outcomes.

        Args:
            stop: Whether a signal asked for the end. Rows in work are then finished.

        Raises:
            KeyboardInterrupt: A second signal came. Rows in work are given up.
        """
        left = self.listing.left()
        row: Row | None = None
        try:
            while True:
                while not (stop or self.stopped):
                    row = row or self._next(left)
                    if row is None or not self._has_room(row):
                        break
                    self._submit(row)
                    row = None
                if not self._running:
                    break
                full = len(self._running) >= self.window.limit
                for future in wait(self._running, _LOOK_S, FIRST_COMPLETED).done:
                    self._take(self._running.pop(future), future, full=full)
                self.journal.commit(now=False)
                self._tell("running")
        except BaseException:
            self.worker.connection.close()  # the calls under way fail, so that nobody waits for them
            raise
        finally:
            for future in self._running:
                future.cancel()
            self.journal.commit()

    @property
    def seconds(self) -> float:
        """Seconds since the run began to work."""
        return time.monotonic() - self._began

    def status(self, stage: Stage, message: str = "") -> Status:
        """Returns how far the run is."""
        found = self.listing.found
        done = found.skipped + self._done
        counts = Counts(done, self._failed, max(0, found.known + found.unopened - done - self._failed))
        speed = self._done / self.seconds if self._done else None
        return Status.of(stage, counts, images_per_s=speed, in_work=len(self._running), message=message)

    def _next(self, left: Iterator[Row]) -> Row | None:
        """Returns the next row. Late rows come first: they have waited longest."""
        row = self._again.popleft() if self._again else next(left, None)
        found = self.listing.found
        self.counted(found.known + found.unopened - found.skipped)
        return row

    def _has_room(self, row: Row) -> bool:
        in_work = sum(running.bytes for running in self._running.values())
        return not self._running or (len(self._running) < self.window.limit and in_work + row.bytes <= self.most_bytes)

    def _submit(self, row: Row) -> None:
        above = self.journal.least_error_kept(PICTURES)
        self._running[self.executor.submit(self.worker, row, above)] = row

    def _take(self, row: Row, future: Future[Outcome], *, full: bool) -> None:
        try:
            outcome = future.result()
        except Exception as error:  # of the cluster: the worker itself returns its errors
            lost = self._of_lost(row, error)
            if lost is None:
                return
            outcome = lost
        self.window.add(row.pixels, outcome.seconds, refusals=outcome.refusals, late=outcome.is_late, full=full)
        if outcome.is_late and self._late.setdefault(row.key, 0) < MOST_LATE:
            self._late[row.key] += 1
            self._again.append(row)
        elif outcome.ends_run:
            self.stopped = self.stopped or outcome.error
        elif outcome.error is not None:
            self._fail(row, outcome.error, outcome)
        else:
            self._succeed(outcome)

    def _of_lost(self, row: Row, error: Exception) -> Outcome | None:
        """Returns the outcome of a row whose worker died; None if the row is tried again."""
        self._lost[row.key] = self._lost.get(row.key, 0) + 1
        if self._lost[row.key] < MOST_LOST:
            self._again.append(row)
            return None
        message = f"the workers of the cluster died over this image: {type(error).__name__}: {error}"
        return Outcome(row, 0.0, error=CellServeError(message, grpc.StatusCode.INTERNAL, "CLIENT_FAILED"))

    def _succeed(self, outcome: Outcome) -> None:
        row = outcome.row
        self._forget(row)
        fingerprint = self.worker.request.fingerprint
        self.journal.add(row, "done", fingerprint, outcome.sha256, outcome.record)
        if outcome.picture is not None:
            self.journal.keep_picture(row.key, outcome.flow_error, outcome.picture, PICTURES)
        self._done += 1
        self.ended(outcome)

    def _fail(self, row: Row, error: CellServeError, outcome: Outcome | None = None) -> None:
        self._forget(row)
        self.journal.add(row, "failed", self.worker.request.fingerprint, "", failure_record(error))
        self._failed += 1
        self.ended(outcome or Outcome(row, 0.0, error=error))

    def _forget(self, row: Row) -> None:
        self._late.pop(row.key, None)
        self._lost.pop(row.key, None)

    def _tell(self, stage: Stage) -> None:
        now = time.monotonic()
        if now - self._told >= EVERY_S:
            self._told = now
            self.status(stage).write(self.folder)
