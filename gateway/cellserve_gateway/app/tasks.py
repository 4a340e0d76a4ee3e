"""Tasks that somebody may stop waiting for.

A task that failed or was cancelled keeps its exception. The exception keeps the frames that it passed. If one of these
frames keeps the task, all of them form a cycle. The pixels in the frames then stay until Python collects garbage, which
can take thousands of calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from traceback import clear_frames
from typing import Any, TypeVar

R = TypeVar("R")


def start_task(work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """Starts a task that perhaps nobody waits for: asyncio does not log that its failure "was never retrieved"."""
    task = asyncio.create_task(work)
    task.add_done_callback(_witness)
    return task


async def run_together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs coroutines side by side. The first failure cancels the others.

    Raises:
        Exception: The first failure.
    """
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
        clear_frames(failures.__traceback__)  # of the group's end, which keep the failures
    except BaseException as error:
        error.__traceback__ = None  # leads to the group, which keeps the task that runs this
        raise
    finally:
        del tasks
    try:
        if failure:
            raise failure  # here, because the failure would keep the group that it was raised in
    finally:
        del failure


def leaves() -> bool:
    """Returns whether the running task is being cancelled, rather than one that the running task waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _witness(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
