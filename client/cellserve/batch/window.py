"""How many images are in work at a time: as many as the servers turn into throughput, and fewer when they refuse."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST = 4
"""Images in work when a run begins."""
HIGHER, LOWER = 1.5, 0.75
"""Factors of the limit in a trial."""
GAIN, LOSS = 1.05, 0.98
"""A higher limit is kept if throughput grows at least by this factor; a lower one if it keeps at least this share."""
CUT = 0.7
"""Factor of the limit after a refusal."""
MOST_REST = 16
"""Most epochs between two trials. The rest doubles with each trial that is taken back."""
SLOW_S = 120.0
"""Seconds that an image may be under way. Above, the limit shrinks until images take about this time."""
_FEWEST = 8  # images of an epoch
_SHORTEST_S = 0.5  # of an epoch: shorter ones measure chance


@dataclass(frozen=True, slots=True)
class _Trial:
    """A limit that was changed.

    Attributes:
        limit: The limit before.
        rate: The throughput before.
        factor: `HIGHER` or `LOWER`.
    """

    limit: int
    rate: float
    factor: float

    def pays(self, rate: float) -> bool:
        """Tells whether the changed limit is the better one."""
        return rate >= self.rate * (GAIN if self.factor == HIGHER else LOSS)


class Window:
    """The limit of images in work, changed after each epoch. An epoch is twice as many images as the limit.

    Trials of a higher and of a lower limit take turns. One that pays is followed by another of its kind. One that does
    not pay is taken back, and the next trial waits. The limit so stays at the least with which the servers are as fast
    as they can be. A refusal (RESOURCE_EXHAUSTED) or a deadline that passed cuts the limit at once.

    Args:
        most: Upper bound of the limit.
        clock: Tells the time, seconds.

    Attributes:
        limit: Images that may be in work now.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(FIRST, most)
        self._most = most
        self._clock = clock
        self._trial: _Trial | None = None
        self._next = HIGHER
        self._rest = self._next_rest = 1
        self._cut = False
        self._begin()

    def add(self, pixels: int, seconds: float, *, refusals: int = 0, late: bool = False, full: bool = True) -> None:
        """Takes one image that has ended.

        Args:
            pixels: Its pixels, the measure of throughput.
            seconds: Time that the image was under way.
            refusals: How often a server had no room for an image since the last call.
            late: Whether its deadline passed.
            full: Whether as many images were in work as the limit allows. Other epochs say nothing about the limit.
        """
        self._images += 1
        self._pixels += pixels
        self._seconds += seconds
        self._full &= full
        if (refusals or late) and not self._cut:
            self.limit = max(1, int(self.limit * CUT))
            self._trial, self._rest, self._cut = None, self._next_rest, True
        elapsed = self._clock() - self._began
        if self._images >= max(_FEWEST, 2 * self.limit) and elapsed >= _SHORTEST_S:
            if not self._cut:
                self._judge(self._pixels / elapsed, self._seconds / self._images)
            self._begin()

    def _judge(self, rate: float, seconds: float) -> None:
        """Changes the limit after an epoch without refusals."""
        trial, self._trial = self._trial, None
        if seconds > SLOW_S:
            self.limit = max(1, int(self.limit * max(0.5, SLOW_S / seconds)))
        elif not self._full:
            return
        elif trial is not None and not trial.pays(rate):
            self.limit = trial.limit
            self._next = LOWER if trial.factor == HIGHER else HIGHER
            self._rest = self._next_rest = min(2 * self._next_rest, MOST_REST)
        elif trial is None and self._rest > 1:
            self._rest -= 1
        else:
            if trial is not None:
                self._next_rest = 1
            self._try(rate)

    def _try(self, rate: float) -> None:
        """Begins a trial; one of the other kind at the ends of the range."""
        for factor in (self._next, LOWER if self._next == HIGHER else HIGHER):
            step = max(1, int(abs(factor - 1) * self.limit))
            limit = min(self._most, self.limit + step) if factor == HIGHER else max(1, self.limit - step)
            if limit != self.limit:
                self._trial, self.limit, self._next = _Trial(self.limit, rate, factor), limit, factor
                return

    def _begin(self) -> None:
        self._began = self._clock()
        self._images = self._pixels = 0
        self._seconds = 0.0
        self._full, self._cut = True, False
