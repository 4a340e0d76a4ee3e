"""A clock of events, processors that share their cores, and pools of threads on them."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

Action: TypeAlias = Callable[[], None]

ROUNDING = 1e-9
"""Seconds of work below which a job counts as done: what sums of floating-point numbers leave over."""


class Clock:
    """Simulated time, in seconds. Actions of the same moment happen in the order they were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Action]] = []
        self._number = itertools.count()

    def at(self, time: float, action: Action) -> None:
        """Sets an action for a time."""
        heapq.heappush(self._events, (time, next(self._number), action))

    def after(self, seconds: float, action: Action) -> None:
        """Sets an action for so many seconds from now."""
        self.at(self.now + seconds, action)

    def run(self, until: float = math.inf) -> None:
        """Lets actions happen, up to a time or until none is left."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action = heapq.heappop(events)
            action()


class Processor:
    """Cores that all runnable threads share alike; no thread is quicker than one core."""

    def __init__(self, clock: Clock, cores: float) -> None:
        self._clock = clock
        self._cores = cores
        self._jobs: list[tuple[float, int, int, Action]] = []
        self._number = itertools.count()
        self._threads = 0
        self._done = 0.0  # seconds of work that a thread running since the start would have done
        self._updated = 0.0
        self._rate = 1.0
        self._wakeup = 0

    def run(self, seconds: float, done: Action, threads: int = 1) -> None:
        """Starts threads with work of so many seconds each; when all have done it, `done` follows."""
        self._advance()
        job = (self._done + seconds, next(self._number), threads, done)
        heapq.heappush(self._jobs, job)
        self._threads += threads
        if self._threads > self._cores or self._jobs[0] is job:
            self._wake()

    def _advance(self) -> None:
        self._done += (self._clock.now - self._updated) * self._rate
        self._updated = self._clock.now

    def _wake(self) -> None:
        """Sets the end of the job that ends first; an end set before is void."""
        self._rate = min(1.0, self._cores / max(1, self._threads))
        self._wakeup += 1
        if self._jobs:
            remaining = max(0.0, self._jobs[0][0] - self._done) / self._rate
            self._clock.after(remaining, partial(self._finish, self._wakeup))

    def _finish(self, wakeup: int) -> None:
        if wakeup != self._wakeup:
            return
        self._advance()
        finished = []
        while self._jobs and self._jobs[0][0] <= self._done + ROUNDING:
            _, _, threads, done = heapq.heappop(self._jobs)
            self._threads -= threads
            finished.append(done)
        self._wake()
        for done in finished:
            done()


class Pool:
    """Threads on a processor that do one job each, first come, first served."""

    def __init__(self, processor: Processor, threads: int) -> None:
        self._processor = processor
        self._free = threads
        self._waiting: deque[tuple[float, Action]] = deque()

    def run(self, seconds: float, done: Action) -> None:
        """Does work of so many seconds once a thread is free; `done` follows."""
        if self._free:
            self._free -= 1
            self._processor.run(seconds, partial(self._next, done))
        else:
            self._waiting.append((seconds, done))

    def _next(self, done: Action) -> None:
        if self._waiting:
            seconds, following = self._waiting.popleft()
            self._processor.run(seconds, partial(self._next, following))
        else:
            self._free += 1
        done()
