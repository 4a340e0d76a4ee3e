"""The feed of tiles: order, limits, the tile kept back, and nothing ever stuck."""

from __future__ import annotations

import asyncio
import random

import pytest
from cellserve_gateway.feed import BATCHES_AHEAD, Feed

BATCH = 8
FORMING_S = 0.02


class Triton:
    """Counts what is at Triton; `answer` ends requests, oldest first."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.feed.expect(BATCH, FORMING_S)
        self.sent: list[int] = []
        self._ends: dict[int, asyncio.Event] = {}

    async def request(self, number: int) -> None:
        with await self.feed.turn():
            self.sent.append(number)
            self._ends[number] = asyncio.Event()
            await self._ends[number].wait()

    def submit(self, numbers: range) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.request(number)) for number in numbers]

    async def answer(self, count: int) -> None:
        for number in list(self._ends)[:count]:
            self._ends.pop(number).set()
        await settle()

    @property
    def there(self) -> int:
        return len(self._ends)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("tiles", range(1, BATCH + 1))
async def test_what_fits_a_batch_goes_at_once(tiles):
    triton = Triton()
    tasks = triton.submit(range(tiles))
    await settle()
    assert triton.sent == list(range(tiles))
    await triton.answer(tiles)
    await asyncio.gather(*tasks)


async def test_two_batches_ahead_and_one_kept_back():
    triton = Triton()
    tasks = triton.submit(range(36))
    await settle()
    assert triton.there == BATCHES_AHEAD * BATCH
    await triton.answer(BATCH)
    await triton.answer(BATCH)
    assert triton.there == BATCHES_AHEAD * BATCH
    await triton.answer(BATCH)
    assert len(triton.sent) == 35, "the last one waits while more than a batch is there"
    await triton.answer(BATCH)
    assert len(triton.sent) == 36, "and goes with the answers of the batch that ran"
    await triton.answer(BATCH)
    await asyncio.gather(*tasks)
    assert triton.sent == list(range(36)), "in order"


async def test_a_late_single_tile_waits_for_the_running_batch():
    triton = Triton()
    first = triton.submit(range(5))
    await settle()
    await asyncio.sleep(2 * FORMING_S)
    second = triton.submit(range(5, 8))
    await settle()
    assert triton.sent == [0, 1, 2, 3, 4, 5, 6]
    await triton.answer(1)
    assert triton.sent == list(range(8))
    await triton.answer(7)
    await asyncio.gather(*first, *second)


async def test_a_turn_that_comes_up_while_its_task_is_being_cancelled():
    """A cancelled task has not run yet when an answer releases the next turn: nobody else may be hurt."""
    triton = Triton()
    tasks = triton.submit(range(40))
    await settle()
    ends = [triton._ends.pop(number) for number in range(4)]
    for end in ends:
        end.set()  # these tasks run first in the next step of the loop, and release the next turns
    for task in tasks[BATCHES_AHEAD * BATCH : BATCHES_AHEAD * BATCH + 4]:
        task.cancel()
    for _ in range(100):
        if all(task.done() for task in tasks):
            break
        await triton.answer(BATCH)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [asyncio.CancelledError] * 4
    assert triton.feed._at_triton == 0


async def test_cancelled_ones_leave_no_trace():
    """Random cancels at every stage: what is left always gets through, and the count returns to zero."""
    rng = random.Random(0)
    triton = Triton()
    tasks = triton.submit(range(500))
    done = 0
    while pending := [task for task in tasks if not task.done()]:
        await settle()
        rng.choice(pending).cancel()
        await settle()
        assert triton.feed._at_triton <= BATCHES_AHEAD * BATCH
        await triton.answer(rng.randint(1, BATCH))
        done += 1
        assert done < 1000, "stuck"
    assert triton.feed._at_triton == 0
    assert not triton.feed._waiting
