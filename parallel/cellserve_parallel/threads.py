"""Threads that share the work on one image."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

from .cancellation import CancellationToken

T = TypeVar("T")
R = TypeVar("R")


class ThreadGroup:
    """The threads that work on one image: the calling thread and helpers of a pool.

    The calling thread never waits for a helper that has not begun. If the pool is busy with other images, the calling
    thread does all parts itself. A task of the same pool can therefore use a group without a deadlock.

    Attributes:
        cancellation: cancels the work of the group.

    Args:
        pool: runs the helpers. None: the calling thread works alone.
        helpers: maximum number of helpers.
        cancellation: cancels the work of the group; a token of the group's own if left out.
    """

    def __init__(
        self, pool: Executor | None = None, helpers: int = 0, cancellation: CancellationToken | None = None
    ) -> None:
        self.cancellation = cancellation or CancellationToken()
        self._pool = pool
        self._helpers = helpers if pool else 0

    def each(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """Do a piece of work for every part. Kernels that release the interpreter lock run side by side.

        Returns:
            The results, in the order of the parts.

        Raises:
            WorkCancelledError: the work was cancelled.
            Exception: what a part raised. The other threads then take no further part.
        """
        results: list[Any] = [None] * len(parts)
        todo = deque(range(len(parts)))

        def take() -> None:
            try:
                while True:
                    self.cancellation.raise_if_cancelled()
                    try:
                        number = todo.popleft()
                    except IndexError:
                        return
                    results[number] = work(parts[number])
            except BaseException:
                todo.clear()  # the other threads find no further part
                raise

        helpers: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # the pool is shut down: no help
            while self._pool and len(helpers) < min(self._helpers, len(parts) - 1):
                helpers.append(self._pool.submit(take))
        try:
            take()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)  # helpers write into arrays of the caller
        for helper in begun:
            helper.result()
        self.cancellation.raise_if_cancelled()
        return results
