"""How many images are in work at a time: so many that a few wait on the servers, and no server is idle."""

from __future__ import annotations

import math

FIRST = 8
"""Images in work when a run begins. They are few, so that a server with one slot ends them before their deadlines."""
EAGER = 2
"""Growth of the limit with each image that ends, while a run begins. The limit triples with each round trip. A larger
number sends too many images to a slow server before its first answers."""
TARGET = 2.0
"""The limit aims at this multiple of the pace without waiting. Images of mixed sizes need a queue: without one, slots
of the servers run empty."""
WAITING = 1.6
"""Images wait on the servers if the pace is this multiple of the pace without waiting. Chance alone stays below."""
DIP = 0.4
"""Factor of the limit in a dip. The factor is less than 1 / `TARGET`, so that no image waits in a dip."""
ALIKE = 1.1
"""Throughputs whose ratio is less than this are alike. Chance changes the throughput of an epoch by some percent."""
REST, QUIET = 8, 0.125
"""Epochs between two dips, and the part of an epoch that one without waiting images counts. A dip lowers the throughput
of a short epoch. Without waiting images a dip seldom finds anything."""
SURPRISE = 0.7
"""A dip comes at once instead of a change of the limit to less than this share. The servers have fewer slots then, or
are slower. The same holds if the pace is less than this share of the pace without waiting."""
GROWTH, CAREFUL = 2.0, 1.1
"""Most growth of the limit in an epoch, before and after the first refusal. Slow growth keeps refusals rare."""
CUT = 0.7
"""Factor of the limit after a refusal."""
_EARLY = 4  # images judged together while the run begins
_FEWEST = 8  # images of a later epoch, at least


class Window:
    """The limit of images in work, changed after each epoch. An epoch is twice as many images as the limit.

    The measure is the pace: seconds that images are under way, divided by their pixels. While servers have free slots,
    a higher limit leaves the pace as it is. Above, images wait, and the pace grows with the limit. The limit is changed
    so that the pace becomes twice the pace without waiting.

    A dip measures the pace without waiting. A dip is an epoch with a lower limit. If the pace falls as much as the
    limit, images have waited in the dip too, and a deeper dip follows. At a limit of 1 no image waits for another.

    A refusal (RESOURCE_EXHAUSTED) or a deadline that passed cuts the limit at once.

    Args:
        most: Upper bound of the limit.

    Attributes:
        limit: Images that may be in work now.
    """

    def __init__(self, most: int) -> None:
        self.limit = min(FIRST, most)
        self._most = most
        self._beginning = True
        self._growth = GROWTH
        self._free: float | None = None  # pace without waiting
        self._before: tuple[int, float] | None = None  # limit and pace before a dip
        self._rest: float = REST
        self._cut = False
        self._begin(0)

    def add(self, pixels: int, seconds: float, *, refusals: int = 0, late: bool = False, full: bool = True) -> None:
        """Takes one image that has ended.

        Args:
            pixels: Its pixels. Images of all sizes count by their pixels.
            seconds: Time that the image was under way.
            refusals: How often a server had no room for an image since the last call.
            late: Whether its deadline passed.
            full: Whether as many images were in work as the limit allows. Other epochs say nothing about the limit.
        """
        self._full &= full
        if self._skip:
            self._skip -= 1
        else:
            self._images += 1
            self._pixels += pixels
            self._seconds += seconds
        limit = self.limit
        if refusals or late:
            if not self._cut:
                self._scale(CUT)
                self._beginning, self._before, self._growth = False, None, CAREFUL
                self._begin(limit)
                self._cut = True
        elif self._beginning and full and (self._free is None or seconds < WAITING * self._free * pixels):
            self.limit = min(self._most, limit + EAGER)
        if self._images >= (_EARLY if self._beginning else max(_FEWEST, 2 * self.limit)):
            if self._full and not self._cut and self._pixels > 0 and self._seconds > 0:
                self._judge(self._seconds / self._pixels)
            self._begin(0 if self._beginning or self.limit == limit else limit)

    def _judge(self, pace: float) -> None:
        """Changes the limit after an epoch without refusals."""
        if self._free is None or self.limit == 1:
            self._free = pace
        wanted = TARGET * self._free / pace
        waiting = pace > WAITING * self._free
        surprise = wanted < SURPRISE or pace < SURPRISE * self._free
        if self._beginning:
            self._beginning = self.limit < self._most and not waiting
            if waiting:  # the images of this pace were sent when the limit was lower
                self._scale(wanted / (1 + EAGER))
        elif self._before is not None:
            self._end_dip(pace, *self._before)
        elif self.limit > 1 and (surprise or self._rest <= 0):
            self._before = self.limit, pace
            self._dip()
        else:
            self._rest -= 1 if waiting else QUIET
            self._scale(wanted)

    def _end_dip(self, pace: float, limit: int, usual: float) -> None:
        """Ends a dip, or begins a deeper one.

        Args:
            pace: The pace in the dip.
            limit: The limit before the dip.
            usual: The pace before the dip.
        """
        least = usual * self.limit / limit  # fewer images in work do not raise the throughput
        if pace <= least * ALIKE and self.limit > 1:
            self._dip()
            return
        self._free = min(max(pace, least), usual)
        self._before, self._rest, self.limit = None, REST, limit
        self._scale(TARGET * self._free / usual)

    def _dip(self) -> None:
        """Lowers the limit for an epoch. 3 becomes 2: at 1 each server has a lower throughput, which tells little."""
        self.limit = math.ceil(self.limit * DIP)

    def _scale(self, factor: float) -> None:
        """Multiplies the limit. The limit changes by one at least, unless the factor is 1."""
        limit = self.limit * min(factor, self._growth)
        self.limit = max(1, min(self._most, math.ceil(limit) if factor > 1 else int(limit)))

    def _begin(self, skip: int) -> None:
        """Begins an epoch.

        Args:
            skip: Images that were sent before the limit changed. They do not count.
        """
        self._skip = skip
        self._images = self._pixels = 0
        self._seconds = 0.0
        self._full = True
        self._cut = False
