"""Work on many images, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from .errors import CellServeError

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R],
    items: Iterable[tuple[K, T]],
    concurrency: int,
    cancel: Callable[[], object],
    *,
    in_order: bool = False,
) -> Generator[tuple[K, R | CellServeError], None, None]:
    """Works on items, several at a time, each on a thread of its own.

    Args:
        work: Returns the result of one item, or raises a `CellServeError`. Any other exception ends the iteration.
        items: Pairs of a key and an item; read in the caller's thread, only as far as needed.
        concurrency: Items in work at a time; no more than that are held in memory, results included.
        cancel: Ends the calls under way.
        in_order: True: results come in the order of the items. One that is ready early waits.

    Yields:
        Pairs of a key and the result, or the `CellServeError` of that item, as they finish or in order. Ending the
        iteration early cancels what is under way.
    """
    keys: dict[Future[R], K] = {}
    remaining = iter(items)
    with ThreadPoolExecutor(concurrency, "cellserve") as pool:
        try:
            while True:
                while len(keys) < concurrency and (item := next(remaining, None)) is not None:
                    keys[pool.submit(work, item[1])] = item[0]
                    del item  # the image belongs to its worker: it must not outlive the call
                if not keys:
                    return
                future = next(iter(keys)) if in_order else wait(keys, return_when=FIRST_COMPLETED).done.pop()
                key = keys.pop(future)
                try:
                    result: R | CellServeError = future.result()
                except CellServeError as error:
                    result = error
                del future
                yield key, result
                del result
        finally:
            for future in keys:
                future.cancel()
            cancel()
