"""What a training tells: a progress bar, a CSV log, a picture of the curves."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

from cellserve_formats import replacing
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
        console: Where the progress goes: a bar on a terminal, a line per row elsewhere.
    """

    def __init__(self, folder: Path, steps: int, done: int, console: Console) -> None:
        self._folder = folder
        self._console = console
        self.rows = [row for row in read_log(folder / "log.csv") if row.step <= done]
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
            folder.name, total=steps, completed=done, loss=self.rows[-1].loss if self.rows else 0.0, speed=0.0
        )
        self._steps, self._done, self._start = steps, done, time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Moves the bar."""
        speed = (step - self._done) / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, completed=step, loss=loss, speed=speed)

    def record(self, row: Row) -> None:
        """Adds a row; it reaches the disk with `write`."""
        self.rows.append(row)
        if not self._console.is_terminal:
            speed = (row.step - self._done) / max(time.monotonic() - self._start, 1e-9)
            left = (self._steps - row.step) / max(speed, 1e-9)
            seen = "" if row.validation_loss is None else f"  validation {row.validation_loss:.4f}"
            self._console.print(
                f"step {row.step}/{self._steps}  loss {row.loss:.4f}{seen}  "
                f"{speed:.2f} steps/s  {left / 60:.0f} min left",
                highlight=False,
            )

    def write(self) -> None:
        """Brings log and curves up to date on disk."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([field.name for field in fields(Row)])
        for row in self.rows:
            table.writerow(["" if value is None else f"{value:.9g}" for value in astuple(row)])
        with replacing(self._folder / "log.csv") as file:
            file.write(text.getvalue().encode())
        if len(self.rows) > 1:
            draw_curves(self.rows, self._folder / "curves.png")


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
