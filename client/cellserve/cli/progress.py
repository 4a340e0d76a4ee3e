"""How far a run is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cellserve.progress import Progress as WorkProgress
from cellserve.progress import Stage

from . import terminal

EVERY_S = 30.0
"""Seconds between two lines in a log."""

STAGES: Mapping[Stage, str] = {
    "upload": "the image is sent",
    "preprocess": "the image is normalised",
    "diameter": "the diameter is estimated",
    "inference": "the networks run",
    "recovery": "the masks are recovered",
    "encode": "the answer is packed",
    "": "the image is in work",
}


class Reporter(Protocol):
    """Shows how far a run is."""

    def expect(self, images: int) -> None:
        """Changes the number of all images: files turn out to hold several."""

    def advance(self, *, failed: bool) -> None:
        """Counts one more image that is done or has failed."""

    def work(self, progress: WorkProgress) -> None:
        """Shows how far the work on the only image of the run is."""

    def blocks(self, stage: str, done: int, all_: int) -> None:
        """Tells how many blocks of a large image are done in a stage of the work."""


def described(progress: WorkProgress) -> str:
    """Returns how far the work on an image is, in words."""
    text = STAGES[progress.stage]
    if progress.stage == "inference" and progress.tiles_total:
        text += f", {progress.tiles_done:,} of {progress.tiles_total:,} tiles"
        if progress.sections_total > 1:
            text += f", {progress.sections_done:,} of {progress.sections_total:,} sections"
    if progress.left_s is not None:
        text += f", about {duration(progress.left_s)} left"
    return text


@dataclass
class StagePace:
    """How many blocks of a large image are done in a stage, and how quickly.

    Attributes:
        clock: Tells the time, seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _stage: str = ""
    _began: float = 0.0
    _first: int = 0

    def describe(self, stage: str, done: int, all_: int) -> str:
        """Returns what to show."""
        now = self.clock()
        if stage != self._stage or done < self._first:
            self._stage, self._began, self._first = stage, now, done
        text = f"{stage}: {done} of {all_} blocks"
        if done == self._first or done == all_:
            return text
        left_s = (all_ - done) * (now - self._began) / (done - self._first)
        return f"{text}, about {duration(left_s)} left in this stage"


@dataclass
class Pace:
    """How many of the images of a run are done, and how quickly.

    Attributes:
        images: All images of the run.
        clock: Tells the time, seconds.
        done: Images that are done, failed ones included.
        failed: Images that failed.
    """

    images: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    failed: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def advance(self, *, failed: bool) -> None:
        """Counts one more image."""
        self.done += 1
        self.failed += failed

    def __str__(self) -> str:
        text = f"{self.done} of {self.images} images"
        if self.failed:
            text += f", {self.failed} failed"
        elapsed_s = self.clock() - self._began
        worked = self.done - self.failed  # most failures take no time
        if not worked or elapsed_s <= 0:
            return text
        left_s = (self.images - self.done) * elapsed_s / worked
        rate = worked / elapsed_s * 60
        return f"{text}, {rate:,.{0 if rate >= 10 else 1}f} per minute, about {duration(left_s)} left"


class LogLines:
    """Prints a line after the first image, and then one each 30 seconds at most.

    Args:
        pace: Counts the images.
        say: Prints a line.
    """

    def __init__(self, pace: Pace, say: Callable[[str], None]) -> None:
        self._pace = pace
        self._say = say
        self._last: float | None = None
        self._stages = StagePace(pace.clock)
        self._stage = ""
        self._told = 0.0

    def expect(self, images: int) -> None:
        """Changes the number of all images."""
        self._pace.images = images

    def advance(self, *, failed: bool) -> None:
        """Counts one more image. The last image has no line: the end of the run says what was done."""
        self._pace.advance(failed=failed)
        now = self._pace.clock()
        if self._pace.done < self._pace.images and (self._last is None or now - self._last >= EVERY_S):
            self._last = now
            self._say(f"progress  {self._pace}")

    def work(self, progress: WorkProgress) -> None:
        """Prints how far the work is, once each 30 seconds."""
        now = self._pace.clock()
        if self._last is None:
            self._last = now  # a short work has no line
        if now - self._last >= EVERY_S:
            self._last = now
            self._say(f"progress  {described(progress)}")

    def blocks(self, stage: str, done: int, all_: int) -> None:
        """Tells of the first block of a stage, and then of one each 30 seconds at most."""
        text, now = self._stages.describe(stage, done, all_), self._pace.clock()
        if stage != self._stage or now - self._told >= EVERY_S:
            self._stage, self._told = stage, now
            self._say(f"progress  {text}")


class Bar:
    """Moves a bar.

    Args:
        pace: Counts the images.
        bar: The bar.
    """

    def __init__(self, pace: Pace, bar: Progress) -> None:
        self._pace = pace
        self._bar = bar
        self._task = bar.add_task(str(pace), total=pace.images)
        self._stages = StagePace(pace.clock)
        self._blocks = bar.add_task("", total=None, visible=False)

    def expect(self, images: int) -> None:
        """Changes the number of all images."""
        self._pace.images = images
        self._bar.update(self._task, total=images)

    def advance(self, *, failed: bool) -> None:
        """Counts one more image."""
        self._pace.advance(failed=failed)
        self._bar.update(self._task, advance=1, description=str(self._pace))
        self._bar.update(self._blocks, visible=False)

    def blocks(self, stage: str, done: int, all_: int) -> None:
        """Moves a second bar, that of the blocks of one image."""
        text = self._stages.describe(stage, done, all_)
        self._bar.update(self._blocks, completed=done, total=all_, description=text, visible=True)

    def work(self, progress: WorkProgress) -> None:
        """Moves the bar of the only image by its tiles. The bar is full while the masks are recovered."""
        total, done = progress.tiles_total or 1, progress.tiles_done
        if progress.stage not in ("inference", "recovery", "encode"):
            done = 0
        self._bar.update(self._task, total=total, completed=done, description=described(progress))


@contextlib.contextmanager
def progress(errors: Console, images: int) -> Iterator[Reporter]:
    """Shows on standard error how far a run is; standard output stays free for pipes."""
    pace = Pace(images)
    if not errors.is_terminal:
        yield LogLines(pace, lambda line: terminal.say(errors, line))
        return
    with Progress(
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=errors,
        transient=True,
        redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),  # a daemon can have no standard output
    ) as bar:
        yield Bar(pace, bar)


def duration(seconds: float) -> str:
    """Returns a time as a person says it: "40 s", "6 min", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
