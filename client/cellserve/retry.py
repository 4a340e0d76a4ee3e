"""When a failed call is made again: one policy for every call of both clients.

A call is repeated until its deadline if the server invites a retry (RetryInfo), or if no server took the call. A pause
is never shorter than the server asks for. A random part is added, which grows with each failure: callers that were
refused together come back apart.

gRPC's own retries (the retryPolicy of a service config) end after five attempts and do not read RetryInfo. Libraries
such as tenacity and stamina bring the loop, but neither the server's hint nor a budget that calls share.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from .errors import CellServeError, UnavailableError

FIRST_BACKOFF_S = 0.2
"""Longest random part of the first pause. The part doubles with each failure."""
MOST_BACKOFF_S = 5.0
"""Longest random part of a pause."""
FIRST_CONTACT_S = 5.0
"""A client that has not yet reached any server gives up after this time: its address may be wrong."""
RETRIES_AT_ONCE = 100
"""Retries of one client before the budget delays them: about the calls that one dying server takes along."""
RETRIES_PER_S = 10.0
"""Retries of one client beyond these. The budget delays retries and ends no call."""
MOST_BLIND_RETRIES = 4
"""Retries of one call after failures without a cause: `AsyncClient` cannot see why a server ends an upload."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Retries:
    """The retries of one client. Thread-safe.

    Args:
        clock: Returns seconds.
        jitter: Returns random numbers from 0 to 1.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self.clock = clock
        self.jitter = jitter
        self.reached = False
        self._lock = threading.Lock()
        self._spent_until = -math.inf  # when the budget would be untouched again, at RETRIES_PER_S

    def call(self, attempt: Callable[[float], T], deadline_s: float, wait: Callable[[float], bool]) -> T:
        """Makes a call, and makes it again where that helps.

        Args:
            attempt: Makes the call once, within the seconds given.
            deadline_s: Seconds for all attempts.
            wait: Waits for the seconds given. Returns True, without delay, if there is no use in waiting.

        Raises:
            CellServeError: The last failure.
        """
        attempts = Attempts(self, deadline_s)
        while True:
            try:
                result = attempt(attempts.left_s)
            except CellServeError as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None or wait(pause_s):
                    raise
            else:
                self.reached = True
                return result

    async def call_async(
        self, attempt: Callable[[float], Awaitable[T]], deadline_s: float, wait: Callable[[float], Awaitable[bool]]
    ) -> T:
        """`call` for asyncio."""
        attempts = Attempts(self, deadline_s)
        while True:
            try:
                result = await attempt(attempts.left_s)
            except CellServeError as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None or await wait(pause_s):
                    raise
            else:
                self.reached = True
                return result

    def book(self, earliest: float, latest: float) -> float | None:
        """Takes one retry out of the budget.

        Returns:
            The time of the retry, or None if the budget has none from `earliest` to `latest`.
        """
        with self._lock:
            at = max(earliest, self._spent_until - RETRIES_AT_ONCE / RETRIES_PER_S)
            if at > latest:
                return None
            self._spent_until = max(self._spent_until, at) + 1 / RETRIES_PER_S
            return at


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries, deadline_s: float) -> None:
        self._retries = retries
        self._begin = retries.clock()
        self._end = self._begin + deadline_s
        self._failed = self._blind = 0

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self._end - self._retries.clock()

    def pause_s(self, error: CellServeError) -> float | None:
        """Returns the seconds until the next attempt, or None if the error is final."""
        self._failed += 1
        error.attempts = self._failed
        self._retries.reached |= bool(error.reason)
        self._blind += error.code is grpc.StatusCode.INTERNAL
        if not is_transient(error) or self._blind > MOST_BLIND_RETRIES:
            return None
        now = self._retries.clock()
        backoff_s = min(FIRST_BACKOFF_S * 2.0 ** (self._failed - 1), MOST_BACKOFF_S)
        earliest = now + (error.retry_after_s or 0.0) + backoff_s * self._retries.jitter()
        latest = self._end if self._retries.reached else min(self._end, self._begin + FIRST_CONTACT_S)
        at = self._retries.book(earliest, latest)
        if at is None:
            return None
        log.info("attempt %d failed, next in %.1f s: %s", self._failed, at - now, error)
        return at - now


def is_transient(error: CellServeError) -> bool:
    """Tells whether the same call can succeed later: the server says so, or no server took the call."""
    return error.retry_after_s is not None or isinstance(error, UnavailableError)
