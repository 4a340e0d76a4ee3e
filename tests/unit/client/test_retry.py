"""When calls are made again: the policy with a clock of the test, then both clients with a server."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
import time

import cellserve
import grpc
import numpy as np
import pytest
from cellserve import retry
from cellserve.errors import CellServeError, OverloadedError, ServerError, UnavailableError
from cellserve.retry import Attempts, Retries

from .scripted_server import Service, failure

FULL = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=0.02)
BUSY = failure(grpc.StatusCode.UNAVAILABLE, "no inference server", "TRITON_UNAVAILABLE", retry_after_s=0.02)


def full(retry_after_s: float = 1.0) -> OverloadedError:
    return OverloadedError("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "GATEWAY_FULL", retry_after_s=retry_after_s)


def unreachable() -> UnavailableError:
    return UnavailableError("no server answers", grpc.StatusCode.UNAVAILABLE)


class Time:
    """A clock that stands still until somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


def pauses(attempts: Attempts, clock: Time, make, most: int) -> list[float]:
    """Returns the pauses after failures that follow each other, until the last is final."""
    found: list[float] = []
    while len(found) < most and attempts.goes_on(make()):
        begin = clock()
        while pause := attempts.pause_s():
            clock.wait(pause)
        found.append(clock() - begin)
    return found


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_pauses_are_those_of_the_server_and_a_random_part_that_doubles(jitter):
    clock = Time()
    found = pauses(Attempts(Retries(clock, lambda: jitter), 1000), clock, full, 8)
    parts = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert found == pytest.approx([1 + jitter * part for part in parts])


def test_a_call_is_repeated_until_its_deadline():
    clock = Time()
    begin, calls = clock(), []

    def attempt(left_s: float) -> None:
        calls.append(left_s)
        raise full()

    with pytest.raises(OverloadedError, match="full") as caught:
        Retries(clock).call(attempt, 60, clock.wait)
    assert 54 < clock() - begin <= 60
    assert 60 == calls[0] > calls[-1] >= 0
    assert caught.value.attempts == len(calls) > 10
    assert f"{len(calls)} attempts" in str(caught.value)


def test_a_pause_that_ends_after_the_deadline_is_not_begun():
    clock = Time()
    assert not Attempts(Retries(clock), 5).goes_on(full(retry_after_s=5.1))


@pytest.mark.parametrize(("last_s", "expected"), [(0.001, OverloadedError), (30, cellserve.DeadlineError)])
def test_an_attempt_that_had_no_time_does_not_hide_the_failure_before(last_s, expected):
    clock = Time()

    def attempt(left_s: float) -> None:
        if left_s > 60 - last_s:
            raise full(retry_after_s=60 - last_s)
        clock.wait(left_s)
        raise cellserve.DeadlineError("late", grpc.StatusCode.DEADLINE_EXCEEDED)

    with pytest.raises(expected) as caught:
        Retries(clock, jitter=lambda: 0.0).call(attempt, 60, clock.wait)
    assert caught.value.attempts == 2


@pytest.mark.parametrize(
    "error",
    [
        ServerError("broken", grpc.StatusCode.INTERNAL, "INTERNAL"),
        cellserve.InvalidRequestError("no", grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_EMPTY"),
        cellserve.DeadlineError("late", grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        OverloadedError("a proxy's quota, which says nothing of a retry", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_other_failures_are_final(error):
    assert not Attempts(Retries(Time()), 1000).goes_on(error)


def test_a_server_that_was_never_reached_is_given_up_early():
    """A wrong address is told within seconds; a server that answered once is waited for."""
    clock = Time()
    retries = Retries(clock)
    assert sum(pauses(Attempts(retries, 300), clock, unreachable, 1000)) <= retry.FIRST_CONTACT_S
    assert retries.call(lambda left_s: "answer", 300, clock.wait) == "answer"
    assert 294 < sum(pauses(Attempts(retries, 300), clock, unreachable, 1000)) <= 300


def test_a_refusal_is_an_answer_too():
    clock = Time()
    retries = Retries(clock)
    attempts = Attempts(retries, 300)
    assert attempts.goes_on(full())
    assert 290 < sum(pauses(attempts, clock, unreachable, 1000)) <= 300


def test_failures_without_a_cause_are_repeated_a_few_times():
    def blind() -> UnavailableError:
        return UnavailableError("ended while a message was being sent", grpc.StatusCode.INTERNAL)

    clock = Time()
    retries = Retries(clock)
    retries.reached = True
    assert len(pauses(Attempts(retries, 300), clock, blind, 1000)) == retry.MOST_BLIND_RETRIES


def test_the_budget_delays_retries_and_ends_none():
    """A thousand calls of one client fail at the same time, again and again."""
    clock = Time()
    retries = Retries(clock, random.Random(1).random)
    waiting = [(clock(), n, Attempts(retries, 300, in_line=False)) for n in range(1000)]
    made = []
    while clock() < 1060:
        clock.now, n, attempts = heapq.heappop(waiting)
        assert attempts.goes_on(full()), "the budget ended a call"
        made.append(clock() + attempts.pause_s())
        heapq.heappush(waiting, (made[-1], n, attempts))
    for second in range(5, 60):
        within = sum(second <= at - 1000 < second + 1 for at in made)
        assert within <= retry.RETRIES_PER_S + 1
    assert sum(at < 1002.3 for at in made) >= retry.RETRIES_AT_ONCE


@pytest.mark.parametrize(
    ("users", "images", "limit", "work_s"),
    [(10, 20, 8, 0.2), (10, 20, 8, 3.0), (1, 40, 2, 2.0), (1, 40, 2, 25.0), (1, 40, 1, 10.0)],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_full_service_loses_nothing(users, images, limit, work_s, seed):
    """A simulation: users with eight images at a time, and a service that takes `limit` images at a time."""
    clock, order, numbers = Time(), itertools.count(), random.Random(seed)
    clients = [Retries(clock, numbers.random) for _ in range(users)]
    left = [images] * users
    events: list[tuple[float, int, int, Attempts | None]] = []  # None: an image is finished
    running = refused = done = 0
    waits: list[float] = []

    def begin(user: int) -> None:
        if left[user]:
            left[user] -= 1
            heapq.heappush(events, (clock(), next(order), user, Attempts(clients[user], 300)))

    for user, _ in itertools.product(range(users), range(8)):
        begin(user)
    while events:
        clock.now, _, user, attempts = heapq.heappop(events)
        if attempts is None:
            running, done = running - 1, done + 1
            begin(user)
        elif pause := attempts.pause_s():
            heapq.heappush(events, (clock() + pause, next(order), user, attempts))
        elif running < limit:
            running += 1
            waits.append(300 - attempts.left_s)
            heapq.heappush(events, (clock() + work_s, next(order), user, None))
        else:
            refused += 1
            assert attempts.goes_on(full()), f"an image is lost after {300 - attempts.left_s:.0f} s"
            heapq.heappush(events, (clock(), next(order), user, attempts))
    seconds = clock() - 1000
    assert done == users * images
    assert seconds < 1.5 * (done / limit) * work_s + 20, "the service waits for its callers"
    assert refused / seconds < 40
    if users == 1:
        assert max(waits) < 1.5 * 7 / limit * work_s + 10, "the oldest image goes first"


async def test_both_clients_wait_for_a_full_gateway(either, service, image):
    service.failures.extend([FULL, BUSY, FULL])
    assert len((await either.segment(image)).objects) == 3
    assert len(service.requests) == 4
    assert len({request.request_id for request in service.requests}) == 1
    service.failures.extend([FULL, FULL])
    assert (await either.estimate_diameter(image)).diameter == 30.1


async def test_no_image_of_many_is_lost(either, service, image):
    service.failures.extend([FULL, BUSY] * 10)
    results = [result async for _, result in either.segment_many(((n, image) for n in range(20)), concurrency=8)]
    assert [result for result in results if isinstance(result, CellServeError)] == []
    assert len(service.requests) == 40


async def test_the_deadline_ends_the_retries(either, service, image):
    service.failures.extend([FULL] * 1000)
    begin = time.monotonic()
    with pytest.raises(cellserve.OverloadedError) as caught:
        await either.segment(image, deadline_s=0.5)
    assert time.monotonic() - begin < 1
    assert (caught.value.reason, caught.value.retry_after_s) == ("GATEWAY_FULL", 0.02)
    assert caught.value.attempts == len(service.requests) > 1


def test_the_server_learns_what_is_left_of_the_deadline(serve, image):
    left = []

    class Watching(Service):
        def Segment(self, request, context):
            left.append(context.time_remaining())
            return super().Segment(request, context)

    service = Watching(failure(grpc.StatusCode.UNAVAILABLE, "busy", "DRAINING", retry_after_s=1.0))
    with cellserve.Client(serve(service)) as client:
        client.segment(image, deadline_s=20)
    assert left[0] - left[1] == pytest.approx(1.1, abs=0.5)


def test_closing_the_client_ends_a_pause(serve, image):
    service = Service(failure(grpc.StatusCode.UNAVAILABLE, "busy", "DRAINING", retry_after_s=100))
    client = cellserve.Client(serve(service))
    threading.Timer(0.5, client.close).start()
    begin = time.monotonic()
    with pytest.raises(cellserve.UnavailableError):
        client.segment(image)
    assert time.monotonic() - begin < 5


async def test_closing_the_async_client_ends_a_pause(serve, image):
    service = Service(failure(grpc.StatusCode.UNAVAILABLE, "busy", "DRAINING", retry_after_s=100))
    client = cellserve.AsyncClient(serve(service))
    attempt = asyncio.create_task(client.segment(image))
    await asyncio.to_thread(service.wait_received, 1)
    await asyncio.sleep(0.2)
    await client.close()
    with pytest.raises(cellserve.UnavailableError):
        await asyncio.wait_for(attempt, 5)


async def test_ending_many_early_ends_a_pause(either, service, image):
    service.failures.extend([failure(grpc.StatusCode.UNAVAILABLE, "busy", "DRAINING", retry_after_s=100)] * 2)
    results = either.segment_many([(0, np.zeros((5, 6, 7))), (1, image), (2, image)], concurrency=3)
    begin = time.monotonic()
    async for key, _ in results:
        assert key == 0  # refused here, while the others wait
        await asyncio.to_thread(service.wait_received, 2)
        break
    await results.aclose()
    assert time.monotonic() - begin < 5


def test_the_client_tells_how_often_a_server_had_no_room(serve, image):
    full = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=0.01)
    busy = failure(grpc.StatusCode.UNAVAILABLE, "busy", "DRAINING", retry_after_s=0.01)
    with cellserve.Client(serve(Service(full, busy, full))) as client:
        client.segment(image)
        assert client.take_refusals() == 2
        assert client.take_refusals() == 0
