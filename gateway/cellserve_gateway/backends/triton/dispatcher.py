"""The dispatcher: which requests may be sent to one Triton now, and when Triton must be woken (docs/decisions/0005).

With priority levels configured, Triton forms a batch when a request finds the model idle, or when a timer of 0.5 s
fires. While the model is busy, Triton notices only about half of the requests that arrive. The dispatcher therefore
sends at most two batches ahead. Requests that follow the answers start the next batch. If no request is left to send,
the dispatcher wakes Triton after the last answer.

`Dispatcher` is a state machine without I/O. The clock is an argument, so that tests and benchmarks/simulation run the
same code as the gateway. `AsyncDispatcher` is its asynchronous shell.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, TypeVar

BATCHES_AHEAD = 2
"""Batches at Triton at a time: one is computed, one waits."""
WAKE_AFTER_ANSWER_S = 0.003
"""Delay of a wake after the last answer. By then all answers of a batch have arrived, and the model is idle."""
WAKE_AFTER_SEND_S = 0.05
"""Delay of a wake after the last request sent. No answer shows the end of a batch that another gateway has sent."""
WAKE_AGAIN_S = 0.2
"""Delay of the second and last wake. Triton's own timer follows soon after."""

RequestT = TypeVar("RequestT")


class Timer(Protocol):
    """A callback set for a time, such as `asyncio.TimerHandle`."""

    def cancel(self) -> None:
        """Cancels the callback."""

    def when(self) -> float:
        """Returns the time of the callback, in seconds."""


class Clock(Protocol):
    """Time and timers, such as those of `asyncio.AbstractEventLoop`."""

    def time(self) -> float:
        """Returns the current time, in seconds."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` at the time `when`."""


class Dispatcher(Generic[RequestT]):
    """Gives permits to the requests of one network and priority class, in their order. Not thread-safe.

    Args:
        clock: Tells the time and sets timers.
        on_permit: Called with each request that may be sent now. Returns False if the request was cancelled in the
            meantime; the next request then gets the permit.
        wake: Makes Triton inspect its queue. Called only while requests are at Triton and none waits for a permit.
        batch_size: Requests that fill a batch.
    """

    def __init__(
        self, clock: Clock, on_permit: Callable[[RequestT], bool], wake: Callable[[], None], batch_size: int = 1
    ) -> None:
        self.batch_size = batch_size
        self._clock = clock
        self._on_permit = on_permit
        self._wake = wake
        self._waiting: deque[RequestT] = deque()
        self._permits = 0
        self._wake_delay_s = WAKE_AFTER_SEND_S
        self._wake_at = 0.0
        self._timer: Timer | None = None

    @property
    def load(self) -> int:
        """Number of requests that wait for a permit or hold one."""
        return self._permits + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a permit."""
        return len(self._waiting)

    def submit(self, request: RequestT) -> None:
        """Appends a request to the queue. `on_permit` may be called before this method returns."""
        self._waiting.append(request)
        self._give_permits()

    def withdraw(self, request: RequestT) -> None:
        """Removes a request from the queue, if the request still waits there."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(request)

    def release(self) -> None:
        """Takes back the permit of a request that was answered, has failed or was cancelled."""
        self._permits -= 1
        if not self._give_permits():
            self._schedule_wake(WAKE_AFTER_ANSWER_S)

    def take_waiting(self) -> list[RequestT]:
        """Empties the queue and returns its requests, so that they can be sent elsewhere."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def _give_permits(self) -> bool:
        """Gives out all free permits. Returns whether a request took one."""
        taken = False
        while self._waiting and self._permits < BATCHES_AHEAD * self.batch_size:
            self._permits += 1  # before the callback, which may submit and release requests
            if self._on_permit(self._waiting.popleft()):
                self._schedule_wake(WAKE_AFTER_SEND_S)
                taken = True
            else:
                self._permits -= 1
        return taken

    def _schedule_wake(self, delay_s: float) -> None:
        """Sets the time of the next wake. The next request sent or answered changes this time again.

        A timer that fires too early is cheaper than a timer that is set anew with each request.
        """
        self._wake_delay_s = delay_s
        self._wake_at = self._clock.time() + delay_s
        if self._timer and self._timer.when() > self._wake_at:
            self._timer.cancel()
            self._timer = None
        if not self._timer:
            self._timer = self._clock.call_at(self._wake_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._permits:
            return
        if self._clock.time() < self._wake_at:  # the wake was postponed
            self._timer = self._clock.call_at(self._wake_at, self._on_timer)
            return
        if not self._waiting:
            self._wake()
        if self._wake_delay_s < WAKE_AGAIN_S:
            self._schedule_wake(WAKE_AGAIN_S)


class AsyncDispatcher:
    """The dispatcher for coroutines of the running event loop.

    Args:
        wake: As of `Dispatcher`.

    Raises:
        RuntimeError: No event loop is running.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher: Dispatcher[asyncio.Future[None]] = Dispatcher(self._loop, _permit, wake)

    @property
    def load(self) -> int:
        """Number of requests that wait for a permit or hold one."""
        return self._dispatcher.load

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a permit."""
        return self._dispatcher.waiting

    def set_batch_size(self, batch_size: int) -> None:
        """Sets how many requests fill a batch."""
        self._dispatcher.batch_size = batch_size

    @contextlib.asynccontextmanager
    async def permit(self) -> AsyncIterator[None]:
        """Waits for a permit and holds it while the body runs. The body is the request to Triton.

        Raises:
            Exception: The exception that `fail_waiting` made for this request.
        """
        request = self._loop.create_future()
        self._dispatcher.submit(request)
        try:
            await request
        except asyncio.CancelledError:
            if request.cancelled():
                self._dispatcher.withdraw(request)
            elif not request.exception():  # the task was cancelled between its permit and its next step
                self._dispatcher.release()
            raise
        try:
            yield
        finally:
            self._dispatcher.release()

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """Fails all requests that wait for a permit, each with an exception of its own."""
        for request in self._dispatcher.take_waiting():
            if not request.cancelled():
                request.set_exception(error())


def _permit(request: asyncio.Future[None]) -> bool:
    """Lets the task of a request continue, unless the task was cancelled and has not run since."""
    if request.cancelled():
        return False
    request.set_result(None)
    return True
