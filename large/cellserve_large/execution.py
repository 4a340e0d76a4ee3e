"""Who works on the blocks: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from cellserve.engines import Progress

Call = tuple[Callable[..., None], Any, int]
"""A function, its job, and a block."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Does a stage for every block.

    Attributes:
        executor: Runs the blocks; None: the calling thread.
        progress: Told about blocks that are done.
    """

    executor: Executor | None
    progress: Progress | None

    def each(
        self,
        stage: str,
        function: Callable[..., None],
        arguments: Sequence[tuple[Any, ...]],
        *,
        waits: bool = False,
        then: Callable[[int], Iterable[Call]] | None = None,
    ) -> None:
        """Call a function with each of some arguments.

        Threads make as many calls at a time as there are processors: more would take memory, and drive each other out
        of the caches. Calls that wait for a server are made by all threads of the executor, and leave processors idle.
        Threads then begin a later stage early. Its failures, and what is left of it, are that stage's.

        Args:
            stage: For the progress.
            function: The function.
            arguments: Of each call.
            waits: Whether a call waits for a server most of the time.
            then: Takes the number of a call that has ended; returns the calls of a later stage that can begin now.
        """
        report = self.progress or (lambda *_: None)
        if self.executor is None:
            for done, some in enumerate(arguments):
                report(stage, done, len(arguments))
                function(*some)
        else:
            threads = isinstance(self.executor, ThreadPoolExecutor)
            with ThreadPoolExecutor(os.cpu_count()) if threads else nullcontext(self.executor) as processors:
                calls = self.executor if waits else processors
                numbers = {calls.submit(function, *some): number for number, some in enumerate(arguments)}
                early: list[Future[None]] = []
                try:
                    for done, future in enumerate(as_completed(numbers)):
                        report(stage, done, len(arguments))
                        future.result()
                        if then and threads:
                            early += [processors.submit(do, job, block) for do, job, block in then(numbers[future])]
                finally:
                    for future in (*numbers, *early):
                        future.cancel()
        report(stage, len(arguments), len(arguments))


@contextmanager
def workers(scheduler: str | None = None, threads: int | None = None) -> Iterator[Executor]:
    """Open what runs the blocks of `recover`.

    Threads share the processors of this machine, because the kernels release the interpreter lock. With a scheduler,
    the blocks go to the workers of its cluster, which must reach the run folder under the same path. Dask gives the
    blocks of a worker that died to others. A block that was written twice was written with the same bytes.

    Args:
        scheduler: address of a Dask scheduler, such as tcp://host:8786; None: threads.
        threads: number of threads; that of the processors if left out.

    Yields:
        The executor. That of a cluster has a function `worker_count`, which tells how many workers there are.

    Raises:
        OSError: The scheduler does not answer.
    """
    if scheduler is None:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            yield pool
        return
    from distributed import Client  # takes a second to import

    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        executor = client.get_executor(pure=False)
        executor.worker_count = functools.partial(_worker_count, client)
        try:
            yield executor
        finally:
            if client.status == "running":  # a scheduler that has ended never answers
                executor.shutdown(wait=False)


def _worker_count(client: Any) -> int:
    """Returns how many workers a cluster has; 0 if its scheduler does not answer."""
    return len(client.scheduler_info()["workers"]) if client.status == "running" else 0
