"""Who works on the blocks: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cellserve.engines import Progress


@dataclass(frozen=True, slots=True)
class Runner:
    """Does a stage for every block.

    Attributes:
        executor: Runs the blocks; None: the calling thread.
        progress: Told about blocks that are done.
    """

    executor: Executor | None
    progress: Progress | None

    def each(self, stage: str, function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
        """Call a function with each of some arguments."""
        report = self.progress or (lambda *_: None)
        if self.executor is None:
            for done, some in enumerate(arguments):
                report(stage, done, len(arguments))
                function(*some)
        else:
            futures = [self.executor.submit(function, *some) for some in arguments]
            try:
                for done, future in enumerate(as_completed(futures)):
                    report(stage, done, len(arguments))
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
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

    Raises:
        OSError: The scheduler does not answer.
    """
    if scheduler is None:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            yield pool
        return
    from distributed import Client  # takes a second to import

    with (
        Client(scheduler, set_as_default=False) as client,  # type: ignore[no-untyped-call]
        client.get_executor(pure=False) as executor,
    ):
        yield executor
