"""The worker threads that numerics run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from cellserve_parallel import ThreadGroup

from .context import Priority, RequestContext

P = ParamSpec("P")
R = TypeVar("R")


class WorkerThreads:
    """Worker threads of each priority class.

    Each image has a thread of its own, so that a short image does not wait until a long one ends. Helper threads take
    parts of the images in work. One image alone therefore uses all processors, and many images share them.

    Args:
        threads: Images of each priority class in work at the same time. As many threads, less one, help them.
        decoding: Images of each priority class decoded at the same time. Their threads mostly wait, so that files which
            take long to decode do not keep others from their threads.
    """

    def __init__(self, threads: int, decoding: int) -> None:
        self._most_helpers = threads - 1
        self._images = {priority: _pool("images", priority, threads) for priority in Priority}
        self._decoding = {priority: _pool("decoding", priority, decoding) for priority in Priority}
        self._helpers = {priority: _pool("helpers", priority, max(1, threads - 1)) for priority in Priority}

    async def run(self, context: RequestContext, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a synchronous function on a thread of the request's priority class.

        A call that is cancelled meanwhile cancels the work of its thread group, too.
        """
        return await self._run_on(self._images[context.priority], context, lambda: function(*args, **kwargs))

    async def decode(self, context: RequestContext, decode: Callable[[], R]) -> R:
        """Decodes an image, likewise."""
        return await self._run_on(self._decoding[context.priority], context, decode)

    def group(self, context: RequestContext) -> ThreadGroup:
        """Returns the threads for one image: the calling thread, and helpers."""
        return ThreadGroup(self._helpers[context.priority], self._most_helpers, context.cancellation)

    def close(self) -> None:
        """Takes no more work, and drops work that has not begun."""
        for pool in [*self._images.values(), *self._decoding.values(), *self._helpers.values()]:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _run_on(self, pool: ThreadPoolExecutor, context: RequestContext, function: Callable[[], R]) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function)
        except asyncio.CancelledError:
            context.cancellation.cancel()
            raise


def _pool(kind: str, priority: Priority, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix=f"{kind}-{priority.name.lower()}")
