"""Dask clusters of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Runs a scheduler and workers of one thread each; yields the scheduler's address and the workers, to be killed."""
    from distributed import Client

    place = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(place), "--nthreads", "1"]
    scheduler = subprocess.Popen([*dask, "--no-dashboard", "--scheduler-file", str(place)], **quiet)
    running = [subprocess.Popen([*worker, "--no-nanny", "--no-dashboard"], **quiet) for _ in range(workers)]
    try:
        with Client(scheduler_file=str(place), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            address = client.scheduler.address
        yield address, running
    finally:
        for process in (*running, scheduler):
            process.kill()
            process.wait()
