"""Tasks that nobody waits for, and what cancelled tasks keep."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from cellserve_gateway.app.tasks import leaves, run_together, start_task


@pytest.fixture
async def complaints() -> list[dict[str, object]]:
    """What asyncio would log."""
    found: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def fail_after(gate: asyncio.Event) -> None:
    await gate.wait()
    raise RuntimeError("the connection is gone")


async def test_a_failure_that_nobody_waits_for_is_no_complaint(complaints):
    gate = asyncio.Event()
    task = start_task(fail_after(gate))
    gate.set()
    await asyncio.wait({task})
    del task
    gc.collect()
    assert not complaints


async def test_the_first_failure_ends_the_others():
    ended = []

    async def other() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    gate = asyncio.Event()
    gate.set()
    with pytest.raises(RuntimeError, match="the connection is gone") as caught:
        await run_together([other(), fail_after(gate), other()])
    assert caught.value.__context__ is None
    assert ended == [True, True]


class Pixels:
    """Stands for an array."""


async def test_cancelled_work_keeps_nothing():
    async def work(pixels: Pixels) -> None:
        await run_together([asyncio.sleep(60)])

    pixels = Pixels()
    freed = weakref.ref(pixels)
    gc.disable()
    try:
        task = asyncio.create_task(work(pixels))
        del pixels
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        del task
        assert freed() is None
    finally:
        gc.enable()


async def test_work_that_failed_keeps_nothing():
    async def work(pixels: Pixels) -> None:
        raise RuntimeError("no answer")

    pixels = Pixels()
    freed = weakref.ref(pixels)
    gc.disable()
    try:
        with pytest.raises(RuntimeError):
            await run_together([work(pixels)])
        del pixels
        assert freed() is None
    finally:
        gc.enable()


async def test_who_leaves():
    seen = []

    async def waits(other: asyncio.Task[None]) -> None:
        try:
            await other
        except asyncio.CancelledError:
            seen.append(leaves())

    for cancel_own in (True, False):
        other = asyncio.create_task(asyncio.sleep(60))
        own = asyncio.create_task(waits(other))
        await asyncio.sleep(0.01)
        (own if cancel_own else other).cancel()
        await asyncio.wait({own, other})
    assert seen == [True, False]
