"""The run of a batch: rows go to workers, outcomes to the journal."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from cellserve.errors import CellServeError, refusal

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
CLAIMED = 16
"""Rows, at least, whose result files are claimed together: each claim alone would wait for the disk."""
NO_WORKER_S = 60.0
"""Longest time without any worker of a cluster."""
_LOOK_S = 0.5
_DIED = ("KilledWorker", "CancelledError", "FutureCancelledError", "CommClosedError")


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
        stopped: Why the run ended early; None: it did not, or a signal asked for it.
    """

    journal: Journal
    folder: Path
    worker: Worker
    executor: Executor
    window: Window
    ended: Callable[[Outcome], None]
    counted: Callable[[int], None] = lambda rows: None
    stopped: CellServeError | None = None
    listing: Listing = field(init=False)
    _left: Iterator[Row | None] = field(init=False)
    _done: int = 0
    _failed: int = 0
    _listed: bool = False
    _ready: deque[Row] = field(default_factory=deque)
    _running: dict[Future[Outcome], Row] = field(default_factory=dict)
    _sent: dict[Key, int] = field(default_factory=dict)  # images that were done when a row was first sent
    _late: Counter[Key] = field(default_factory=Counter)
    _lost: Counter[Key] = field(default_factory=Counter)
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0
    _worked: float = field(default_factory=time.monotonic)  # when the cluster last had a worker

    def __post_init__(self) -> None:
        self.listing = Listing(self.journal, self.worker, self._fail)
        self._left = self.listing.left()

    def run(self, stop: Stop) -> None:
        """Works until no row is left, a signal comes, or an error ends the run. The journal then has all outcomes.

        Args:
            stop: Whether a signal asked for the end. Rows in work are then finished.

        Raises:
            KeyboardInterrupt: A second signal came. Rows in work are given up.
        """
        self._tell()
        try:
            while True:
                if not (stop or self.stopped):
                    self._claim_more(stop)
                    while self._ready and self._has_room(self._ready[0]):
                        self._submit(self._ready.popleft())
                if self._running:
                    self._wait()
                elif stop or self.stopped or (self._listed and not self._ready):
                    break
                self.journal.commit(now=False)
                self._tell()
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

    def _claim_more(self, stop: Stop) -> None:
        """Claims the result files of the next rows, durably, before any work on them."""
        if self._listed or len(self._ready) >= max(1, self.window.limit // 2):
            return
        end, claimed = time.monotonic() + _LOOK_S, 0
        while claimed < max(CLAIMED, self.window.limit) and not stop and time.monotonic() < end:
            try:
                row = next(self._left)
            except StopIteration:
                self._listed = True
                break
            if row is None:
                continue
            try:
                self.journal.claim(row, self.worker.files_of(row))
            except CellServeError as error:
                self._fail(row, error)
            else:
                self._ready.append(row)
                claimed += 1
        if claimed:
            self.journal.commit()
        found = self.listing.found
        self.counted(found.known + found.unopened - found.skipped)

    def _has_room(self, row: Row) -> bool:
        in_work = sum(running.bytes for running in self._running.values())
        return not self._running or (len(self._running) < self.window.limit and in_work + row.bytes <= MOST_BYTES)

    def _submit(self, row: Row) -> None:
        above = self.journal.least_error_kept(PICTURES)
        self._sent.setdefault(row.key, self._done)
        self._running[self.executor.submit(self.worker, row, above)] = row

    def _wait(self) -> None:
        full = len(self._running) >= self.window.limit
        for future in wait(self._running, _LOOK_S, FIRST_COMPLETED).done:
            self._take(self._running.pop(future), future, full=full)
        workers = getattr(self.executor, "worker_count", None)
        if workers is None or workers():
            self._worked = time.monotonic()
        elif time.monotonic() - self._worked > NO_WORKER_S:
            self.stopped = refusal("the cluster has no worker any more, or its scheduler has ended", "RUN_STOPPED")
            self._running.clear()

    def _take(self, row: Row, future: Future[Outcome], *, full: bool) -> None:
        try:
            outcome = future.result()
        except Exception as error:  # of the cluster: the worker itself returns its errors
            lost = self._of_lost(row, error)
            if lost is None:
                return
            outcome = lost
        self.window.add(row.pixels, outcome.seconds, refusals=outcome.refusals, late=outcome.is_late, full=full)
        others_are_served = outcome.is_unserved and self._done > self._sent[row.key]
        if (outcome.is_late or others_are_served) and self._late[row.key] < MOST_LATE:
            self._late[row.key] += 1
            self._ready.appendleft(row)
        elif outcome.ends_run or (outcome.is_unserved and not others_are_served):
            self.stopped = self.stopped or outcome.error
        elif outcome.error is not None:
            self._fail(row, outcome.error, outcome)
        else:
            self._succeed(outcome)

    def _of_lost(self, row: Row, error: Exception) -> Outcome | None:
        """Returns the outcome of a row whose worker died; None if the row is tried again."""
        named = f"{type(error).__name__}: {error}"
        if type(error).__name__ not in _DIED:
            return Outcome(row, 0.0, error=refusal(f"the workers of the cluster cannot work: {named}", "RUN_STOPPED"))
        self._lost[row.key] += 1
        if self._lost[row.key] < MOST_LOST:
            self._ready.append(row)
            return None
        message = f"the workers of the cluster died over this image: {named}"
        return Outcome(row, 0.0, error=CellServeError(message, grpc.StatusCode.INTERNAL, "CLIENT_FAILED"))

    def _succeed(self, outcome: Outcome) -> None:
        row, record = outcome.row, outcome.record
        self._forget(row)
        files = [self.worker.out / file for file in record["files"]]
        self.journal.succeed(row, self.worker.request.fingerprint, outcome.sha256, record, files)
        if outcome.picture is not None:
            self.journal.keep_picture(row.key, outcome.flow_error, outcome.picture, PICTURES)
        self._done += 1
        self.ended(outcome)

    def _fail(self, row: Row, error: CellServeError, outcome: Outcome | None = None) -> None:
        self._forget(row)
        self.journal.fail(row, self.worker.request.fingerprint, failure_record(error))
        self._failed += 1
        self.ended(outcome or Outcome(row, 0.0, error=error))

    def _forget(self, row: Row) -> None:
        for known in (self._sent, self._late, self._lost):
            known.pop(row.key, None)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= EVERY_S:
            self._told = now
            with contextlib.suppress(OSError):  # the next time
                self.status("running").write(self.folder)
