"""A batch as a whole: its folder, its journal, its workers, and what it leaves behind."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cellserve.engines import find_cluster
from cellserve.errors import refusal
from cellserve.models import Model

from .journal import Journal
from .shard import Shard
from .status import FOLDER
from .work import RUNS, Worker


def folder_of(out: Path, shard: Shard | None) -> Path:
    """Returns the folder of the journal of a batch, below that of all results."""
    return out / FOLDER if shard is None else out / FOLDER / shard.folder


def networks_of(family: Model) -> frozenset[str]:
    """Returns the checksums of the networks of a family, which may answer for each other: ensemble and single ones."""
    return frozenset(version.sha256 for version in family.versions)


def begin(journal: Journal, folder: Path, worker: Worker) -> Worker:
    """Begins the work of a run: notes the time of the first, and deletes what a killed run left half written.

    Args:
        journal: The journal, in which the run's images are listed.
        folder: Its folder.
        worker: Works on the images.

    Returns:
        The worker, with a folder of parts for this run alone.

    Raises:
        OSError: The folder cannot be written.
    """
    if journal.fact("began") is None:
        journal.note(began=f"{time.time():.3f}")
    shutil.rmtree(worker.parts, ignore_errors=True)
    for part in folder.glob(".*.part"):  # of the status
        part.unlink(missing_ok=True)
    parts = worker.parts / str(journal.run)
    parts.mkdir(parents=True, exist_ok=True)
    (parts / RUNS).touch()
    return replace(worker, parts=parts)


def end(journal: Journal, seconds: float) -> None:
    """Ends the work of a run, and adds its seconds to those before."""
    journal.note(work_s=f"{float(journal.fact('work_s') or 0) + seconds:.3f}")


def clear(worker: Worker) -> None:
    """Deletes the folder of parts. Tasks that a cluster still has write nothing from now on."""
    shutil.rmtree(worker.parts, ignore_errors=True)


@contextlib.contextmanager
def executor(scheduler: str | None, most: int) -> Iterator[Executor]:
    """Opens what works on the images: threads, or the workers of a Dask cluster.

    Args:
        scheduler: Address of a Dask scheduler; None: threads.
        most: Most images in work.

    Raises:
        InvalidRequestError: EXTRA_MISSING, or RUN_STOPPED if the scheduler does not answer.
    """
    if scheduler is None:
        pool = ThreadPoolExecutor(most, "cellserve-batch")
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return
    try:
        with find_cluster("--scheduler")(scheduler) as workers:
            yield workers
    except OSError as error:
        raise refusal(f"the scheduler {scheduler} does not answer: {error}", "RUN_STOPPED") from error
