"""The dispatcher: order, limits, wakes, and no request ever stuck."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from cellserve_gateway.backends.triton.dispatcher import (
    BATCHES_AHEAD,
    WAKE_AFTER_ANSWER_S,
    WAKE_AFTER_SEND_S,
    WAKE_AGAIN_S,
    AsyncDispatcher,
    Dispatcher,
)
from hypothesis import given
from hypothesis import strategies as st

BATCH = 8
LIMIT = BATCHES_AHEAD * BATCH


class FakeTimer:
    """A timer of `FakeClock`."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self._when, self.callback, self.cancelled = when, callback, False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        self._timers.append(FakeTimer(when, callback))
        return self._timers[-1]

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while due := [timer for timer in self.pending if timer.when() <= end]:
            timer = min(due, key=FakeTimer.when)
            self._timers.remove(timer)
            self._now = timer.when()
            timer.callback()
        self._now = end

    @property
    def pending(self) -> list[FakeTimer]:
        return [timer for timer in self._timers if not timer.cancelled]


class Server:
    """Records what a dispatcher does."""

    def __init__(self, batch_size: int = BATCH) -> None:
        self.clock = FakeClock()
        self.dispatcher: Dispatcher[int] = Dispatcher(self.clock, self.on_permit, self.wake, batch_size)
        self.cancelled: set[int] = set()
        self.sent: list[int] = []
        self.wakes: list[float] = []

    def on_permit(self, request: int) -> bool:
        if request in self.cancelled:
            return False
        self.sent.append(request)
        return True

    def wake(self) -> None:
        self.wakes.append(self.clock.time())

    def submit(self, count: int) -> None:
        for number in range(count):
            self.dispatcher.submit(number)

    def answer(self, count: int) -> None:
        for _ in range(count):
            self.dispatcher.release()


class Model:
    """What the dispatcher promises, with an exact time of the next wake instead of timers."""

    def __init__(self, batch_size: int) -> None:
        self.limit = BATCHES_AHEAD * batch_size
        self.now = 0.0
        self.wake_at: float | None = None
        self.last = True
        self.waiting: list[int] = []
        self.cancelled: set[int] = set()
        self.sent: list[int] = []
        self.wakes: list[float] = []
        self.permits = 0

    def give(self) -> None:
        while self.waiting and self.permits < self.limit:
            request = self.waiting.pop(0)
            if request not in self.cancelled:
                self.permits += 1
                self.sent.append(request)
                self.wake_at, self.last = self.now + WAKE_AFTER_SEND_S, False

    def release(self) -> None:
        self.permits -= 1
        self.wake_at, self.last = self.now + WAKE_AFTER_ANSWER_S, False
        self.give()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.wake_at is not None and self.wake_at <= end:
            if self.permits and not self.waiting:
                self.wakes.append(self.wake_at)
            self.wake_at = None if self.last or not self.permits else self.wake_at + WAKE_AGAIN_S
            self.last = True
        self.now = end


STEPS = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 12)),
    st.tuples(st.just("release"), st.integers(1, 8)),
    st.tuples(st.just("withdraw"), st.integers(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("advance"), st.sampled_from([0.001, 0.003, 0.004, 0.047, 0.05, 0.1, 0.2, 0.5])),
)


@given(batch_size=st.integers(1, 4), steps=st.lists(STEPS, max_size=60))
def test_any_history(batch_size: int, steps: list[tuple[str, int | float]]) -> None:
    server, model = Server(batch_size), Model(batch_size)
    number = 0
    for step, value in steps:
        if step == "submit":
            for _ in range(int(value)):
                server.dispatcher.submit(number)
                model.waiting.append(number)
                model.give()
                number += 1
        elif step == "release":
            for _ in range(min(int(value), model.permits)):
                server.dispatcher.release()
                model.release()
        elif step == "withdraw" and number:
            server.dispatcher.withdraw(int(value) % number)
            model.waiting = [request for request in model.waiting if request != int(value) % number]
        elif step == "cancel" and model.waiting:
            request = model.waiting[int(value) % len(model.waiting)]
            server.cancelled.add(request)
            model.cancelled.add(request)
        elif step == "take":
            assert server.dispatcher.take_waiting() == model.waiting
            model.waiting = []
        elif step == "advance":
            server.clock.advance(float(value))
            model.advance(float(value))
        assert server.sent == model.sent
        assert server.wakes == model.wakes
        assert server.dispatcher.load == model.permits + len(model.waiting)
        assert model.permits == model.limit or not model.waiting, "a free permit is never kept back"
        assert len(server.clock.pending) <= 1
    server.dispatcher.take_waiting()
    server.answer(model.permits)
    server.clock.advance(1)
    assert not server.clock.pending, "an idle dispatcher sets no timers"


def test_two_batches_ahead_in_order() -> None:
    server = Server()
    server.submit(36)
    assert server.sent == list(range(LIMIT))
    server.answer(1)
    assert server.sent == list(range(LIMIT + 1)), "each answer lets one more request pass"
    server.answer(35)
    assert server.sent == list(range(36))
    assert server.dispatcher.load == 0


def test_the_last_answer_of_a_batch_wakes_once() -> None:
    """Triton notices only some of the requests that came while a batch was computed."""
    server = Server()
    server.submit(12)
    server.clock.advance(0.01)
    server.answer(7)
    server.clock.advance(0.002)
    server.answer(1)
    server.clock.advance(0.002)
    assert not server.wakes, "more answers of that batch may come"
    server.clock.advance(0.1)
    assert server.wakes == [pytest.approx(0.012 + WAKE_AFTER_ANSWER_S)]
    server.answer(4)
    server.clock.advance(1)
    assert len(server.wakes) == 1, "no request is at Triton"


def test_no_wake_while_requests_wait() -> None:
    server = Server()
    server.submit(40)
    server.answer(BATCH)
    server.clock.advance(1)
    assert not server.wakes, "the waiting requests are sent after the next answers, and start a batch"


def test_without_an_answer_there_are_two_wakes() -> None:
    """The batch that is computed may be another gateway's, whose answers do not arrive here."""
    server = Server()
    server.submit(2)
    server.clock.advance(10)
    assert server.wakes == pytest.approx([WAKE_AFTER_SEND_S, WAKE_AFTER_SEND_S + WAKE_AGAIN_S])


def test_a_server_that_refuses_at_once() -> None:
    """`on_permit` may release the permit before it returns."""
    clock = FakeClock()
    refused: list[int] = []

    def refuse(request: int) -> bool:
        refused.append(request)
        dispatcher.release()
        return True

    dispatcher: Dispatcher[int] = Dispatcher(clock, refuse, lambda: None)
    for number in range(50):
        dispatcher.submit(number)
    assert refused == list(range(50))
    assert dispatcher.load == 0


class Triton:
    """Holds the requests of an `AsyncDispatcher`; `answer` ends requests, oldest first."""

    def __init__(self) -> None:
        self.woken = 0
        self.dispatcher = AsyncDispatcher(self.wake)
        self.dispatcher.set_batch_size(BATCH)
        self.sent: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}

    def wake(self) -> None:
        self.woken += 1

    async def request(self, number: int) -> None:
        async with self.dispatcher.permit():
            self.sent.append(number)
            self.ends[number] = asyncio.Event()
            await self.ends[number].wait()

    def submit(self, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.request(number)) for number in range(count)]

    async def answer(self, count: int) -> None:
        for number in list(self.ends)[:count]:
            self.ends.pop(number).set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_permits_of_coroutines() -> None:
    triton = Triton()
    tasks = triton.submit(36)
    await settle()
    assert len(triton.ends) == LIMIT
    assert triton.dispatcher.load == 36
    while triton.ends:
        await triton.answer(BATCH)
    await asyncio.gather(*tasks)
    assert triton.sent == list(range(36))
    assert triton.dispatcher.load == 0


async def test_the_clock_of_the_event_loop() -> None:
    triton = Triton()
    tasks = triton.submit(12)
    await settle()
    await triton.answer(BATCH)
    await asyncio.sleep(10 * WAKE_AFTER_ANSWER_S)
    assert triton.woken == 1
    await triton.answer(4)
    await asyncio.gather(*tasks)


async def test_a_failed_request_releases_its_permit() -> None:
    dispatcher = AsyncDispatcher(lambda: None)
    for _ in range(BATCHES_AHEAD + 1):
        with pytest.raises(OSError, match="broken"):
            async with dispatcher.permit():
                raise OSError("broken")
    assert dispatcher.load == 0


async def test_those_that_wait_fail_each_with_its_own_error() -> None:
    triton = Triton()
    tasks = triton.submit(LIMIT + 3)
    await settle()
    tasks[-1].cancel()
    triton.dispatcher.fail_waiting(lambda: ConnectionError("not ready"))
    await settle()
    assert len(triton.ends) == LIMIT, "requests at Triton go on"
    assert tasks[-1].cancelled()
    errors = [task.exception() for task in tasks[LIMIT:-1]]
    assert [type(error) for error in errors] == [ConnectionError] * 2
    assert errors[0] is not errors[1]
    await triton.answer(LIMIT)
    await asyncio.gather(*tasks[:LIMIT])
    assert triton.dispatcher.load == 0


async def test_a_cancelled_task_leaves_the_queue() -> None:
    triton = Triton()
    tasks = triton.submit(LIMIT + 5)
    await settle()
    tasks[LIMIT + 2].cancel()
    await settle()
    assert triton.dispatcher.load == LIMIT + 4
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert triton.dispatcher.load == 0


async def test_a_permit_for_a_task_that_is_being_cancelled() -> None:
    """A cancelled task has not run yet when an answer gives out the next permit. No other request may suffer."""
    triton = Triton()
    tasks = triton.submit(40)
    await settle()
    ends = [triton.ends.pop(number) for number in range(4)]
    for end in ends:
        end.set()  # these tasks run first in the next step of the loop, and release the next permits
    for task in tasks[LIMIT : LIMIT + 4]:
        task.cancel()
    for _ in range(100):
        if all(task.done() for task in tasks):
            break
        await triton.answer(BATCH)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [asyncio.CancelledError] * 4
    assert triton.dispatcher.load == 0


async def test_a_task_that_is_cancelled_with_its_permit() -> None:
    """The permit is given, but the task is cancelled before its next step."""
    triton = Triton()
    tasks = triton.submit(LIMIT + 1)
    await settle()
    triton.ends.pop(0).set()
    await asyncio.sleep(0)  # the first task releases its permit, which the last one gets
    tasks[-1].cancel()
    await settle()
    assert tasks[-1].cancelled()
    assert triton.sent == list(range(LIMIT))
    await triton.answer(LIMIT)
    await asyncio.gather(*tasks[:-1])
    assert triton.dispatcher.load == 0


async def test_cancelled_requests_leave_no_trace() -> None:
    """Random cancellations at every stage: all other requests pass, and no permit is lost."""
    rng = random.Random(0)
    triton = Triton()
    tasks = triton.submit(500)
    rounds = 0
    while pending := [task for task in tasks if not task.done()]:
        await settle()
        rng.choice(pending).cancel()
        await settle()
        triton.ends = {number: end for number, end in triton.ends.items() if not tasks[number].done()}
        assert len(triton.ends) <= LIMIT
        await triton.answer(rng.randint(1, BATCH))
        rounds += 1
        assert rounds < 1000, "stuck"
    assert triton.dispatcher.load == 0
