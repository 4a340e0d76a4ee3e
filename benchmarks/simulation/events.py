"""The clock of the simulation, processors with shared cores, and thread pools on these processors."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

Callback: TypeAlias = Callable[[], object]

ROUNDING = 1e-9
"""Seconds of work that sums of floating-point numbers may leave over. A job with less than this left is done."""


class Timer:
    """A callback set for a simulated time."""

    __slots__ = ("_when", "callback")

    def __init__(self, when: float, callback: Callback) -> None:
        self._when = when
        self.callback: Callback | None = callback

    def when(self) -> float:
        """Returns the time of the callback, in seconds."""
        return self._when

    def cancel(self) -> None:
        """Cancels the callback."""
        self.callback = None


class Clock:
    """Simulated time in seconds, with the timers of `asyncio.AbstractEventLoop`.

    Callbacks of the same time run in the order in which they were set.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()

    def time(self) -> float:
        """Returns the current time."""
        return self._time

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Sets a callback for a time."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._number), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Sets a callback for a delay from now."""
        when = self._time + delay_s
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._number), timer))
        return timer

    def run(self, until_s: float = math.inf) -> None:
        """Runs callbacks until a time, or until none is left."""
        timers = self._timers
        while timers and timers[0][0] <= until_s:
            when, _, timer = heapq.heappop(timers)
            if timer.callback:
                self._time = when
                timer.callback()


class Processor:
    """Cores that all runnable threads share equally. No thread is faster than one core."""

    def __init__(self, clock: Clock, cores: float) -> None:
        self._clock = clock
        self._cores = cores
        self._jobs: list[tuple[float, int, int, Callback]] = []
        self._number = itertools.count()
        self._threads = 0
        self._done = 0.0  # seconds of work of a thread that has run since the start
        self._updated = 0.0
        self._rate = 1.0
        self._timer: Timer | None = None

    def run(self, seconds: float, done: Callback, threads: int = 1) -> None:
        """Starts threads with `seconds` of work each. Calls `done` when all of them have finished."""
        self._advance()
        job = (self._done + seconds, next(self._number), threads, done)
        heapq.heappush(self._jobs, job)
        self._threads += threads
        if self._threads > self._cores or self._jobs[0] is job:
            self._set_timer()

    def _advance(self) -> None:
        now = self._clock.time()
        self._done += (now - self._updated) * self._rate
        self._updated = now

    def _set_timer(self) -> None:
        """Sets the timer for the end of the job that ends first."""
        self._rate = min(1.0, self._cores / max(1, self._threads))
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._jobs:
            remaining = max(0.0, self._jobs[0][0] - self._done) / self._rate
            self._timer = self._clock.call_later(remaining, self._finish)

    def _finish(self) -> None:
        self._timer = None
        self._advance()
        finished = []
        while self._jobs and self._jobs[0][0] <= self._done + ROUNDING:
            _, _, threads, done = heapq.heappop(self._jobs)
            self._threads -= threads
            finished.append(done)
        self._set_timer()
        for done in finished:
            done()


class Pool:
    """Threads on a processor. Each thread does one job at a time, first come, first served."""

    def __init__(self, processor: Processor, threads: int) -> None:
        self._processor = processor
        self._free = threads
        self._waiting: deque[tuple[float, Callback]] = deque()

    def run(self, seconds: float, done: Callback) -> None:
        """Does `seconds` of work once a thread is free. Calls `done` when the work is finished."""
        if self._free:
            self._free -= 1
            self._processor.run(seconds, partial(self._next, done))
        else:
            self._waiting.append((seconds, done))

    def _next(self, done: Callback) -> None:
        if self._waiting:
            seconds, following = self._waiting.popleft()
            self._processor.run(seconds, partial(self._next, following))
        else:
            self._free += 1
        done()
