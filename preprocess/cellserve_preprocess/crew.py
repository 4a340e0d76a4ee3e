"""Work on one image: shared among threads, and stopped when nobody waits for it any more."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

PART = 1 << 16
"""Pixels of a part of an image: some milliseconds of work, so that threads finish together and a stop is seen soon."""

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """The work was stopped before its end: its result is not wanted any more."""


class Stop:
    """Ends work that runs on other threads. Set once, by whoever no longer wants the result.

    Attributes:
        flag: uint8 [1], not zero once set; kernels that run for long look at it.
    """

    __slots__ = ("flag",)

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, np.uint8)

    def set(self) -> None:
        """Ask the work to end."""
        self.flag[0] = 1

    def check(self) -> None:
        """Raise `StoppedError` once set."""
        if self.flag[0]:
            raise StoppedError


class Crew:
    """The threads that work on one image.

    The caller's thread works with the helpers, and never waits for one that has not begun: where the pool is busy with
    other images it does all parts itself. A call from within a task of the same pool therefore cannot lock up.

    Args:
        pool: runs the helpers; None is the caller's thread alone.
        helpers: most threads of the pool that help.
        stop: ends the work early.
    """

    def __init__(self, pool: Executor | None = None, helpers: int = 0, stop: Stop | None = None) -> None:
        self.stop = stop or Stop()
        self._pool = pool
        self._helpers = helpers if pool else 0

    def each(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """Do a piece of work for every part; kernels without the interpreter lock run side by side.

        Returns:
            The results, in the order of the parts.

        Raises:
            StoppedError: the work was stopped. Whatever a part raises is raised too, and ends the others.
        """
        results: list[Any] = [None] * len(parts)
        todo = deque(range(len(parts)))

        def take() -> None:
            try:
                while True:
                    self.stop.check()
                    try:
                        number = todo.popleft()
                    except IndexError:
                        return
                    results[number] = work(parts[number])
            except BaseException:
                todo.clear()  # the others end, too
                raise

        helpers: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # the pool is closing: no help
            while self._pool and len(helpers) < min(self._helpers, len(parts) - 1):
                helpers.append(self._pool.submit(take))
        try:
            take()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)  # they write into arrays of the caller
        for helper in begun:
            helper.result()
        self.stop.check()
        return results


def bands(shape: tuple[int, ...], pixels: int = PART, multiple: int = 1) -> list[tuple[int, int]]:
    """Rows of an image [Y, X] in parts of about so many pixels, a multiple of some rows: (first, last), half open."""
    rows = max(1, pixels // max(1, shape[1]) // multiple) * multiple
    return [(first, min(first + rows, shape[0])) for first in range(0, shape[0], rows)]
