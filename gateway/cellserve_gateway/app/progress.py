"""How far the work on an image is, for callers who wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

EVERY_S = 0.5
"""Least seconds between two reports."""
SILENCE_S = 5.0
"""Seconds after which a report is repeated: proxies close connections that are silent."""
MEASURED_S = 1.0
"""Seconds of inference before its speed tells the time left."""


class WorkStage(StrEnum):
    """Stage of the work on an image. The contract's `WorkStage` has the same words."""

    PREPROCESS = "preprocess"
    DIAMETER = "diameter"
    INFERENCE = "inference"
    RECOVERY = "recovery"
    ENCODE = "encode"


STAGES = {
    "decode": WorkStage.PREPROCESS,
    "preprocess": WorkStage.PREPROCESS,
    "inference": WorkStage.INFERENCE,
    "reassemble": WorkStage.INFERENCE,
    "postprocess": WorkStage.RECOVERY,
    "encode": WorkStage.ENCODE,
}
"""Stage of the work during each stage of `Timing`."""


@dataclass(frozen=True, slots=True)
class Report:
    """How far the work is at one time. The contract's `WorkProgress` describes the fields."""

    stage: WorkStage
    sections_done: int
    sections_total: int
    tiles_done: int
    tiles_total: int
    left_s: float | None = field(compare=False)


@dataclass(slots=True)
class WorkProgress:
    """How far the work on one image is. The steps of the work change it; `report` may be called at any time.

    Attributes:
        sections_done: Sections whose maps are complete.
        tiles_done: Tiles whose maps were added.
        clock: Returns seconds.
    """

    sections_done: int = 0
    tiles_done: int = 0
    clock: Callable[[], float] = time.monotonic
    _stage: WorkStage = WorkStage.PREPROCESS
    _estimating: bool = False
    _sections: int = 0
    _tiles: int = 0
    _began: float | None = None

    def enter(self, stage: str) -> None:
        """Notes that a stage of `Timing` begins."""
        if self._estimating:
            return
        self._stage = STAGES[stage]
        if self._stage is WorkStage.INFERENCE and self._began is None:
            self._began = self.clock()

    @contextlib.contextmanager
    def estimating(self) -> Iterator[None]:
        """Whatever the body does, it estimates the diameter."""
        self._estimating = True
        try:
            yield
        finally:
            self._estimating = False

    def plan(self, sections: int, tiles: int) -> None:
        """Notes what the segmentation consists of. Tiles of an estimate count no more."""
        self._sections, self._tiles = sections, tiles
        self.sections_done = self.tiles_done = 0

    def report(self) -> Report:
        """Returns how far the work is."""
        stage = WorkStage.DIAMETER if self._estimating else self._stage
        left_s = self._left_s() if stage is WorkStage.INFERENCE else None
        return Report(stage, self.sections_done, self._sections, self.tiles_done, self._tiles, left_s)

    def _left_s(self) -> float | None:
        """Returns the seconds until the last tile, by the speed so far; None: unknown."""
        elapsed_s = 0.0 if self._began is None else self.clock() - self._began
        if elapsed_s < MEASURED_S or not self.tiles_done or not self._tiles:
            return None
        return elapsed_s / self.tiles_done * (self._tiles - self.tiles_done)


async def follow(work: asyncio.Task[Any], progress: WorkProgress) -> AsyncGenerator[Report, None]:
    """Yields how far some work is, from now until its end: each change, but not more than one in `EVERY_S`.

    Whoever leaves the generator before its end cancels the work.
    """
    last, at, loop = None, 0.0, asyncio.get_running_loop()
    try:
        while not work.done():
            report = progress.report()
            if report != last or loop.time() >= at + SILENCE_S:
                last, at = report, loop.time()
                yield report
            await asyncio.wait({work}, timeout=EVERY_S)
    finally:
        work.cancel()
        await asyncio.wait({work})
