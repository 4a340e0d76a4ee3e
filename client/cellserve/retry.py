"""When a failed call is made again: one policy for every call of both clients.

A call is repeated until its deadline if the server invites a retry (RetryInfo), or if no server took the call. A pause
is never shorter than the server asks for. A random part is added, which grows with each failure: callers that were
refused together come back apart. The calls of one client that wait form a line: whoever's pause ends, the oldest call
goes, and a new call takes the last place. Otherwise the image that follows a finished one would take its room, and an
unlucky image would wait until its deadline.

gRPC's own retries (the retryPolicy of a service config) end after five attempts and do not read RetryInfo. Libraries
such as tenacity and stamina bring the loop, but neither the server's hint nor a budget that calls share.
"""

from __future__ import annotations

import bisect
import logging
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import grpc

from .errors import CellServeError, DeadlineError, OverloadedError, UnavailableError

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
BRIEF_S = 1.0
"""An attempt that the deadline ends after less than this time tells less than the failure before it."""

NEW_TURN_S = 1.0
"""Longest random pause of a new call while others wait."""
LOOK_S = 0.1
"""A call that waits looks this often whether an older one may go, or a younger one has left it the turn."""

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
        self._refusals = 0
        self.lock = threading.Lock()
        self.line: list[Attempts] = []  # by age
        self._spent_until = -math.inf  # when the budget would be untouched again, at RETRIES_PER_S

    def call(
        self,
        attempt: Callable[[float], T],
        deadline_s: float,
        wait: Callable[[float], bool],
        *,
        in_line: bool = True,
    ) -> T:
        """Makes a call, and makes it again where that helps.

        Args:
            attempt: Makes the call once, within the seconds given.
            deadline_s: Seconds for all attempts.
            wait: Waits for the seconds given. Returns True, without delay, if the client is closed.
            in_line: False: the call neither waits for others nor do others wait for it.

        Raises:
            CellServeError: The last failure; the one before if the deadline ended the last attempt within BRIEF_S.
        """
        with Attempts(self, deadline_s, in_line) as attempts:
            while True:
                while pause_s := attempts.pause_s():
                    if wait(pause_s):
                        raise attempts.failure
                try:
                    result = attempt(attempts.left_s)
                except CellServeError as error:
                    if attempts.goes_on(error):
                        continue
                else:
                    self.reached = True
                    return result
                raise attempts.failure

    async def call_async(
        self,
        attempt: Callable[[float], Awaitable[T]],
        deadline_s: float,
        wait: Callable[[float], Awaitable[bool]],
        *,
        in_line: bool = True,
    ) -> T:
        """`call` for asyncio."""
        with Attempts(self, deadline_s, in_line) as attempts:
            while True:
                while pause_s := attempts.pause_s():
                    if await wait(pause_s):
                        raise attempts.failure
                try:
                    result = await attempt(attempts.left_s)
                except CellServeError as error:
                    if attempts.goes_on(error):
                        continue
                else:
                    self.reached = True
                    return result
                raise attempts.failure

    def take_refusals(self) -> int:
        """Returns how often a server had no room for a call since this was last asked."""
        with self.lock:
            taken, self._refusals = self._refusals, 0
        return taken

    def book(self, earliest: float, latest: float) -> float | None:
        """Takes one retry out of the budget. The caller holds the lock.

        Returns:
            The time of the retry, or None if the budget has none from `earliest` to `latest`.
        """
        at = max(earliest, self._spent_until - RETRIES_AT_ONCE / RETRIES_PER_S)
        if at > latest:
            return None
        self._spent_until = max(self._spent_until, at) + 1 / RETRIES_PER_S
        return at


class Attempts:
    """The attempts of one call. Left as a context manager when the call is over.

    Attributes:
        failure: The last failure that tells something.
    """

    def __init__(self, retries: Retries, deadline_s: float, in_line: bool = True) -> None:
        self.failure: CellServeError = UnavailableError("the client was closed", grpc.StatusCode.CANCELLED)
        self._retries = retries
        self._in_line = in_line
        self._begin = self._at = self._attempt_began = retries.clock()
        self._end = self._begin + deadline_s
        self._failed = self._blind = 0
        with retries.lock:
            if in_line and retries.line:
                self._at += NEW_TURN_S * retries.jitter()
                retries.line.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._retries.lock:
            self._leave()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self._end - self._retries.clock()

    def pause_s(self) -> float:
        """Returns the seconds after which to ask again, or 0 if it is time for the next attempt.

        Raises:
            CellServeError: The deadline has passed; the last failure.
        """
        with self._retries.lock:
            now, line = self._retries.clock(), self._retries.line
            waits_in_line = self in line
            if waits_in_line and self._at <= now and line[0] is not self:
                self._at, line[0]._at = line[0]._at, now
            if self._at > now:
                if now >= self._end:
                    raise self.failure
                return min(self._at - now, self._end - now, LOOK_S if waits_in_line else math.inf)
            self._leave()
            self._attempt_began = now
            return 0.0

    def goes_on(self, error: CellServeError) -> bool:
        """Takes a failure. Tells whether there is another attempt, after `pause_s`."""
        retries = self._retries
        self._failed += 1
        if not (self._failed > 1 and self._was_brief(error)):
            self.failure = error
        self.failure.attempts = self._failed
        retries.reached |= bool(error.reason)
        if isinstance(error, OverloadedError):
            with retries.lock:
                retries._refusals += 1
        self._blind += error.code is grpc.StatusCode.INTERNAL
        if not is_transient(error) or self._blind > MOST_BLIND_RETRIES:
            return False
        now = retries.clock()
        backoff_s = min(FIRST_BACKOFF_S * 2.0 ** (self._failed - 1), MOST_BACKOFF_S)
        earliest = now + (error.retry_after_s or 0.0) + backoff_s * retries.jitter()
        latest = self._end if retries.reached else min(self._end, self._begin + FIRST_CONTACT_S)
        with retries.lock:
            at = retries.book(earliest, latest)
            if at is None:
                return False
            self._at = at
            if self._in_line:
                bisect.insort(retries.line, self, key=lambda waiting: waiting._begin)
        log.info("attempt %d failed, next in %.1f s: %s", self._failed, at - now, error)
        return True

    def _was_brief(self, error: CellServeError) -> bool:
        return isinstance(error, DeadlineError) and self._retries.clock() - self._attempt_began < BRIEF_S

    def _leave(self) -> None:
        if self in self._retries.line:
            self._retries.line.remove(self)


def is_transient(error: CellServeError) -> bool:
    """Tells whether the same call can succeed later: the server says so, or no server took the call."""
    return error.retry_after_s is not None or isinstance(error, UnavailableError)
