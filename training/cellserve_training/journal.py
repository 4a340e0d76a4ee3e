"""What a training tells: its progress, a CSV log, a picture of the curves."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

from cellserve_formats import replacing
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG, CURVES = "log.csv", "curves.png"
"""Files in the folder of a training."""
PAUSES_S = (5.0, 60.0)
"""Without a terminal: seconds before the first line of progress, and at most between two lines."""
CURVES_EVERY_S = 120.0
"""Seconds between two drawings of the curves: a drawing takes longer than the rest of a save."""


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the steps since the row before.

    Attributes:
        step: Steps done.
        loss: flow_loss + inside_loss.
        flow_loss: Half the mean squared error of 5 * flow.
        inside_loss: Cross entropy of the probability of being inside an object.
        rate: Learning rate of the last step.
        seconds: Time spent training so far, over all runs.
        validation_loss: Of the averaged network on images it never trains on; None where not measured.
    """

    step: int
    loss: float
    flow_loss: float
    inside_loss: float
    rate: float
    seconds: float
    validation_loss: float | None = None


class Journal:
    """The rows of a training, on disk and on the terminal.

    Args:
        folder: Gets log.csv and curves.png.
        steps: Steps in all.
        done: Steps done in earlier runs; rows after them were not saved with the network and are dropped.
        console: Where the progress goes: a bar on a terminal, elsewhere a line now and then.
        clock: Seconds, for speed and time left.
    """

    def __init__(
        self, folder: Path, steps: int, done: int, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._console = console
        self._clock = clock
        self.rows = [row for row in read_log(folder / LOG) if row.step <= done]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.2f} steps/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True, compact=False),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=300,
        )
        self._task = self._bar.add_task(
            escape(folder.name), total=steps, completed=done, loss=self.rows[-1].loss if self.rows else 0.0, speed=0.0
        )
        self._steps, self._done, self._start = steps, done, clock()
        self._losses: list[float] = []  # since the last line of progress
        self._pause, self._said, self._drawn = PAUSES_S[0], self._start, self._start

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Tells the progress: `step` steps are done, the last one with this loss."""
        now = self._clock()
        speed = (step - self._done) / max(now - self._start, 1e-9)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step, loss=loss, speed=speed)
            return
        self._losses.append(loss)
        if now - self._said < self._pause and step < self._steps:
            return
        self._pause, self._said = min(2 * self._pause, PAUSES_S[1]), now
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        seen = [row.validation_loss for row in self.rows if row.validation_loss is not None]
        validation = f"  validation {seen[-1]:.4f}" if seen else ""
        left = duration((self._steps - step) / max(speed, 1e-9))
        self._console.out(
            f"step {step}/{self._steps}  loss {mean:.4f}{validation}  {speed:.2f} steps/s  {left} left", highlight=False
        )

    def record(self, row: Row) -> None:
        """Adds a row; it reaches the disk with `write`."""
        self.rows.append(row)

    def write(self, last: bool = False) -> None:
        """Brings the log up to date on disk, and the curves if it is time or `last`."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([field.name for field in fields(Row)])
        for row in self.rows:
            table.writerow(["" if value is None else f"{value:.9g}" for value in astuple(row)])
        with replacing(self._folder / LOG) as file:
            file.write(text.getvalue().encode())
        if len(self.rows) > 1 and (last or self._clock() - self._drawn > CURVES_EVERY_S):
            draw_curves(self.rows, self._folder / CURVES)
            self._drawn = self._clock()


def duration(seconds: float) -> str:
    """Returns a time in words: 45 s, 12 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def read_log(path: Path) -> list[Row]:
    """Reads a log.csv; none is an empty one."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Row(
                int(float(entry["step"])),
                float(entry["loss"]),
                float(entry["flow_loss"]),
                float(entry["inside_loss"]),
                float(entry["rate"]),
                float(entry["seconds"]),
                float(entry["validation_loss"]) if entry["validation_loss"] else None,
            )
            for entry in csv.DictReader(file)
        ]


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draws losses and learning rate over the steps, as PNG."""
    from matplotlib.figure import Figure  # slow to import, needed once in minutes

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    losses, rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    steps = [row.step for row in rows]
    losses.plot(steps, [row.loss for row in rows], color="#888888", linewidth=1.2, label="training loss")
    losses.plot(steps, [row.flow_loss for row in rows], color="#1f77b4", linewidth=1, label="of it flows")
    losses.plot(steps, [row.inside_loss for row in rows], color="#2ca02c", linewidth=1, label="of it inside")
    validated = [(row.step, row.validation_loss) for row in rows if row.validation_loss is not None]
    if validated:
        losses.plot(*zip(*validated, strict=True), "o-", color="#d62728", markersize=3, label="validation loss")
    losses.set_ylabel("loss")
    losses.set_yscale("log")
    losses.grid(alpha=0.3, which="both")
    losses.legend()
    rate.plot(steps, [row.rate for row in rows], color="#444444", linewidth=1)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    rate.grid(alpha=0.3)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
