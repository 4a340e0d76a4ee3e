"""In which order and how far ahead tiles go to Triton (docs/decisions/0005).

With priority lanes configured, Triton forms a new batch when a request arrives or a timer of half a second fires, but
not when its instance becomes idle. Tiles that all arrived while a batch ran would wait for that timer. So the gateway
sends two batches ahead at most, and keeps one tile back while a batch runs: that batch's answers release it, and its
arrival starts the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

BATCHES_AHEAD = 2  # one runs, one waits: its instance is never idle for want of tiles


class Feed:
    """Lets requests of one network and lane pass, in order. For one event loop's thread."""

    def __init__(self) -> None:
        self._batch = 1
        self._forming_s = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._at_triton = 0
        self._busy_since = 0.0

    def expect(self, batch: int, forming_s: float) -> None:
        """Sets how many requests fill a batch, and the seconds Triton waits for one to fill."""
        self._batch, self._forming_s = batch, forming_s

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
        self._release(answered=False)
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
        self._release(answered=True)

    def _release(self, *, answered: bool) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and self._at_triton < BATCHES_AHEAD * self._batch:
            if self._waiting[0].cancelled():  # its task has not run since
                self._waiting.popleft()
                continue
            if len(self._waiting) == 1 and not self._may_send_last(now, answered):
                return
            if self._at_triton == 0:
                self._busy_since = now
            self._at_triton += 1
            self._waiting.popleft().set_result(None)

    def _may_send_last(self, now: float, answered: bool) -> bool:
        """Says whether the last one waiting may go: nothing runs, the batch still forms, or the running batch ends."""
        if self._at_triton == 0:
            return True
        return self._at_triton < self._batch and (answered or now - self._busy_since < self._forming_s)
