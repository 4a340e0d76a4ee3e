"""The feed of tiles: order, limits, when Triton is woken, and nothing ever stuck."""

from __future__ import annotations

import asyncio
import random

from cellserve_gateway.backends.triton.dispatcher import AGAIN_S, BATCHES_AHEAD, PATIENCE_S, QUIET_S, Feed

BATCH = 8


class Triton:
    """Counts what is at Triton; `answer` ends requests, oldest first."""

    def __init__(self) -> None:
        self.woken = 0
        self.feed = Feed(self.wake)
        self.feed.expect(BATCH)
        self.sent: list[int] = []
        self._ends: dict[int, asyncio.Event] = {}

    def wake(self) -> None:
        self.woken += 1

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


async def test_two_batches_ahead_in_order():
    triton = Triton()
    tasks = triton.submit(range(36))
    await settle()
    assert triton.there == BATCHES_AHEAD * BATCH
    await triton.answer(1)
    assert triton.there == BATCHES_AHEAD * BATCH, "each answer lets one more pass"
    while triton.there:
        await triton.answer(BATCH)
    await asyncio.gather(*tasks)
    assert triton.sent == list(range(36))


async def test_answered_and_more_there_wakes_once():
    """Whether Triton takes notice of what came while a batch ran is a matter of chance."""
    triton = Triton()
    tasks = triton.submit(range(12))
    await settle()
    await triton.answer(BATCH)
    assert triton.woken == 0, "more answers of that batch may come"
    await asyncio.sleep(5 * QUIET_S)
    assert triton.woken == 1
    await asyncio.sleep(5 * QUIET_S)
    assert triton.woken == 1
    await triton.answer(4)
    await asyncio.gather(*tasks)
    await asyncio.sleep(2 * PATIENCE_S)
    assert triton.woken == 1, "nothing is there"


async def test_what_is_sent_wakes_as_well():
    triton = Triton()
    tasks = triton.submit(range(40))
    await settle()
    await triton.answer(BATCH)
    await asyncio.sleep(5 * QUIET_S)
    assert triton.woken == 0
    await asyncio.sleep(2 * PATIENCE_S)
    assert triton.woken == 0, "others wait, and will be sent when answers come"
    for _ in range(5):
        await triton.answer(BATCH)
    await asyncio.gather(*tasks)


async def test_without_an_answer_it_wakes_twice():
    """The batch that runs may be another gateway's, whose answers are not seen here."""
    triton = Triton()
    tasks = triton.submit(range(2))
    await asyncio.sleep(2 * PATIENCE_S)
    assert triton.woken == 1
    await asyncio.sleep(2 * AGAIN_S)
    assert triton.woken == 2
    await triton.answer(2)
    await asyncio.gather(*tasks)


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
