"""In which order and how far ahead tiles go to Triton, and when Triton is woken (docs/decisions/0005).

With priority lanes configured, Triton forms a batch when a request finds the model's instance idle, or a timer of half
a second fires. Of requests that came while the instance was busy it takes notice as often as not. So the gateway sends
two batches ahead at most, and what it sends as answers come in starts the next batch. Where nothing is left to send,
it wakes Triton once the answers have come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

BATCHES_AHEAD = 2  # one runs, one waits: its instance is never idle for want of tiles
QUIET_S = 0.003  # without another answer: the batch that ran has been answered, its instance is idle
PATIENCE_S = 0.05  # without any answer: it may have run for somebody else
AGAIN_S = 0.2  # after the first wake; then Triton's own timer is near


class Feed:
    """Lets requests of one network and lane pass, in order. For one event loop's thread.

    Args:
        wake: Makes Triton look at its queue. Called only while requests are there and none waits to be sent.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._batch = 1
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._at_triton = 0
        self._patience_s = PATIENCE_S
        self._wake_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, batch: int) -> None:
        """Sets how many requests fill a batch."""
        self._batch = batch

    def __len__(self) -> int:
        """Requests at Triton or waiting."""
        return self._at_triton + len(self._waiting)

    async def turn(self) -> contextlib.AbstractContextManager[None]:
        """Waits for a turn; the body of what it returns is the request to Triton.

        Raises:
            Exception: What `dismiss` was told.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._release()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # `_release` may have met it first
                    self._waiting.remove(turn)
            elif not turn.exception():  # cancelled in the moment its turn came
                self._answered()
            raise
        return self._request()

    def dismiss(self, error: Callable[[], Exception]) -> None:
        """Fails all that wait, each with an exception of its own."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_exception(error())

    @contextlib.contextmanager
    def _request(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._answered()

    def _answered(self) -> None:
        self._at_triton -= 1
        self._listen(QUIET_S)
        self._release()

    def _release(self) -> None:
        while self._waiting and self._at_triton < BATCHES_AHEAD * self._batch:
            turn = self._waiting.popleft()
            if not turn.cancelled():  # else its task has not run since
                self._at_triton += 1
                self._listen(PATIENCE_S)
                turn.set_result(None)

    def _listen(self, patience_s: float) -> None:
        """Sets when to wake Triton, unless something is sent or answered before."""
        loop = asyncio.get_running_loop()
        self._patience_s = patience_s
        self._wake_at = loop.time() + patience_s
        if self._timer and self._timer.when() > self._wake_at:
            self._timer.cancel()
            self._timer = None
        if not self._timer:
            self._timer = loop.call_at(self._wake_at, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._at_triton:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._wake_at:  # it was put off meanwhile
            self._timer = loop.call_at(self._wake_at, self._look)
            return
        if not self._waiting:
            self._wake()
        if self._patience_s < AGAIN_S:
            self._listen(AGAIN_S)
