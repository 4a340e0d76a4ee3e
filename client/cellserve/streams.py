"""Frames of an acquisition, segmented while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .errors import CellServeError, SkippedError, skipped_frame
from .images import ImageLike
from .messages import Keyed
from .results import Segmentation

K = TypeVar("K")


def in_stream(
    segment: Callable[[ImageLike], Segmentation],
    frames: Iterator[tuple[K, ImageLike]],
    concurrency: int,
    newest_only: bool,
    cancel: Callable[[], object],
) -> Iterator[Keyed[K]]:
    """Segments frames, several at a time; see `Client.segment_stream`.

    Args:
        segment: Segments one frame, or raises a `CellServeError`. Any other exception ends the iteration.
        frames: Pairs of a key and a frame; read in a thread of its own.
        concurrency: Frames that may be unanswered at a time.
        newest_only: True: a frame that waits to be sent is replaced by a newer one.
        cancel: Ends the calls under way.

    Yields:
        Pairs of a key and the result, or the `CellServeError` of that frame, as they finish.
    """
    # The reader puts one frame at a time into `waiting`, and at the end None for each worker.
    waiting: queue.SimpleQueue[tuple[K, ImageLike] | None] = queue.SimpleQueue()
    taken = threading.Semaphore(0)
    # What the threads tell the caller: an outcome, an exception to raise, or None from a worker that ends.
    outcomes: queue.SimpleQueue[Keyed[K] | Exception | None] = queue.SimpleQueue()
    places = threading.Semaphore(concurrency)
    ended = threading.Event()

    def read() -> None:
        try:
            for frame in frames:
                if newest_only:
                    with contextlib.suppress(queue.Empty):
                        if replaced := waiting.get_nowait():
                            outcomes.put((replaced[0], skipped_frame()))
                waiting.put(frame)
                if not newest_only:
                    taken.acquire()
                if ended.is_set():
                    return
        except Exception as error:  # the caller's own iterable failed: raised where the caller listens
            outcomes.put(error)
        for _ in range(concurrency):
            waiting.put(None)

    def work() -> None:
        try:
            while places.acquire() and (frame := waiting.get()) and not ended.is_set():
                taken.release()
                key, image = frame
                del frame
                try:
                    outcomes.put((key, segment(image)))
                except CellServeError as error:
                    outcomes.put((key, error))
                del image  # must not outlive the call
            outcomes.put(None)
        except Exception as error:
            outcomes.put(error)

    with ThreadPoolExecutor(concurrency, "cellserve") as pool:
        try:
            threading.Thread(target=read, name="cellserve-frames", daemon=True).start()
            for _ in range(concurrency):
                pool.submit(work)
            for _ in range(concurrency):
                while outcome := outcomes.get():
                    if isinstance(outcome, Exception):
                        raise outcome
                    if not isinstance(outcome[1], SkippedError):
                        places.release()
                    yield outcome
        finally:
            ended.set()
            taken.release()
            for _ in range(concurrency):
                places.release()
                waiting.put(None)
            cancel()


async def in_stream_async(
    segment: Callable[[ImageLike], Awaitable[Segmentation]],
    frames: AsyncIterator[tuple[K, ImageLike]],
    concurrency: int,
    newest_only: bool,
) -> AsyncIterator[Keyed[K]]:
    """`in_stream` for asyncio. Cancelling a task of `segment` ends its call."""
    # The reader puts one frame at a time into `waiting`, and at the end None for each worker.
    waiting: asyncio.Queue[tuple[K, ImageLike] | None] = asyncio.Queue()
    # What the tasks tell the caller: an outcome, an exception to raise, or None from a worker that ends.
    outcomes: asyncio.Queue[Keyed[K] | Exception | None] = asyncio.Queue()
    taken, places = asyncio.Semaphore(0), asyncio.Semaphore(concurrency)

    async def read() -> None:
        try:
            async for frame in frames:
                if newest_only and not waiting.empty() and (replaced := waiting.get_nowait()):
                    outcomes.put_nowait((replaced[0], skipped_frame()))
                waiting.put_nowait(frame)
                if not newest_only:
                    await taken.acquire()
        except Exception as error:  # the caller's own iterable failed: raised where the caller listens
            outcomes.put_nowait(error)
        for _ in range(concurrency):
            waiting.put_nowait(None)

    async def work() -> None:
        try:
            while await places.acquire() and (frame := await waiting.get()):
                taken.release()
                key, image = frame
                del frame
                try:
                    outcomes.put_nowait((key, await segment(image)))
                except CellServeError as error:
                    outcomes.put_nowait((key, error))
                del image  # must not outlive the call
            outcomes.put_nowait(None)
        except Exception as error:
            outcomes.put_nowait(error)

    tasks = [asyncio.create_task(read()), *(asyncio.create_task(work()) for _ in range(concurrency))]
    try:
        for _ in range(concurrency):
            while outcome := await outcomes.get():
                if isinstance(outcome, Exception):
                    raise outcome
                if not isinstance(outcome[1], SkippedError):
                    places.release()
                yield outcome
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
