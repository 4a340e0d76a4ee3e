"""What accompanies an image on its way: how urgent it is, when it is too late, and the time it took."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from cellserve_preprocess import Stop, StoppedError

from .errors import DeadlinePassed
from .triton import Priority

Output = Literal["outlines", "flows", "cell_probability", "style"]


@dataclass(slots=True)
class Timing:
    """Wall-clock seconds per stage; waits for a processor included."""

    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0
    reassemble: float = 0.0
    postprocess: float = 0.0
    encode: float = 0.0
    tiles: int = 0


@dataclass(slots=True)
class Job:
    """What accompanies an image on its way: lane, deadline, wanted outputs, and the time it took.

    Attributes:
        deadline: Event loop time after which the answer is of no use.
        stop: Ends work on threads; set when the deadline passes, or the call is cancelled, while they work.
    """

    deadline: float
    priority: Priority = Priority.BATCH
    outputs: frozenset[Output] = frozenset()
    timing: Timing = field(default_factory=Timing)
    stop: Stop = field(default_factory=Stop)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to a stage; ends its work when the deadline passes."""
        loop = asyncio.get_running_loop()
        late = DeadlinePassed("the deadline passed while the image was worked on", stage=name)
        if self.deadline <= loop.time():
            raise late
        timer = loop.call_at(self.deadline, self.stop.set)
        start = time.perf_counter()
        try:
            yield
        except StoppedError:
            raise late from None
        finally:
            timer.cancel()
        setattr(self.timing, name, getattr(self.timing, name) + time.perf_counter() - start)
