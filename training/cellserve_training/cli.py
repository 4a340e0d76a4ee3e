"""`cellserve-train`: labelled images in, networks and the figures they reach out."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from typer import Argument, Option

from .augment import Example, prepare
from .dataset import DataError, Sample, find_pairs, read_samples
from .loop import NETWORK, Run, TrainingInterruptedError
from .loop import train as train_network
from .schedule import Preset, Schedule
from .state import StateError
from .synthetic import write_synthetic

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


class OnBadData(StrEnum):
    """What to do about labelled images that cannot be used."""

    REFUSE = "refuse"
    SKIP = "skip"


Folders = Annotated[list[Path], Argument(help="Folders of labelled images, or of data sets with train and test.")]
Split = Annotated[str | None, Option(help="Part of the data sets below the folders: train or test.")]
OnBad = Annotated[OnBadData, Option(help="Labelled images that cannot be used: end, or leave them out. Each is named.")]


@app.callback()
def main() -> None:
    """Trains the networks of CellServe and measures them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")


@app.command()
def train(
    folders: Folders,
    out: Annotated[Path, Option(help="Folder of this training. The same command goes on from the state it holds.")],
    split: Split = "train",
    preset: Annotated[Preset, Option(help="Schedule: the paper's, or one for a few CPU hours.")] = Preset.FAST,
    seed: Annotated[int, Option(help="Decides first weights, order of images and augmentation.")] = 0,
    steps: Annotated[int | None, Option(min=1, help="Batches in all. Default: the preset's.")] = None,
    crop: Annotated[int | None, Option(min=16, help="Side of a crop, a multiple of 8. Default: the preset's.")] = None,
    diam_mean: Annotated[float, Option(min=1, help="Object diameter the network works at, in pixels.")] = 30.0,
    validation: Annotated[float, Option(min=0, max=0.5, help="Share of images kept for the validation curve.")] = 0.04,
    on_bad_data: OnBad = OnBadData.REFUSE,
    style: Annotated[bool, Option(help="Ablation: tell the up pass the style of the tile.")] = True,
    residual: Annotated[bool, Option(help="Ablation: add the input of each block to its output.")] = True,
    concatenation: Annotated[bool, Option(help="Ablation: concatenate the maps of the down pass.")] = False,
    device: Annotated[str, Option(help="torch device.")] = "cuda" if torch.cuda.is_available() else "cpu",
    threads: Annotated[int, Option(min=0, help="CPU threads; 0: all cores.")] = 0,
    workers: Annotated[int, Option(min=0, help="Processes that cut crops; 0: the training cuts its own.")] = 0,
    log_every: Annotated[int, Option(min=1, help="Steps that a row of the log covers.")] = 25,
    save_every: Annotated[float, Option(min=0, help="Seconds between saved states.")] = 120.0,
    cache: Annotated[Path, Option(help="Folder of the flow targets, shared by trainings.")] = Path("build/targets"),
) -> None:
    """Trains one network. Killed at any moment, it goes on from its last state when called again."""
    console = Console()
    if crop is not None and crop % 8:
        raise typer.BadParameter("a multiple of 8", param_hint="--crop")
    if threads:
        torch.set_num_threads(threads)
    samples = _read(folders, split, on_bad_data)
    examples = [prepare(sample, cache) for sample in track(samples, "flows", console=console, transient=True)]
    examples, held_out = _split(examples, validation, seed)
    console.print(f"{len(examples)} images to train on, {len(held_out)} for the validation curve")
    for (group, kind), count in sorted(Counter((e.sample.group, e.sample.kind) for e in examples).items()):
        console.print(f"  {group} {kind}: {count}")
    run = Run(
        out, Schedule.of(preset, len(examples), steps, crop), seed, diam_mean, style, residual, concatenation, device,
        workers, log_every, save_every, console,
    )  # fmt: skip
    try:
        train_network(run, examples, held_out)
    except TrainingInterruptedError as stop:
        console.print(f"stopped at {stop}")
        raise typer.Exit(130) from None
    except (StateError, OSError) as error:
        _fail(error)
    console.print(f"network: {out / NETWORK}")


@app.command()
def synthesize(
    folder: Annotated[Path, Argument(help="Folder to write to.")],
    count: Annotated[int, Option(min=1, help="Images.")] = 120,
    seed: Annotated[int, Option(help="Decides the images.")] = 0,
    size: Annotated[int, Option(min=64, help="Side of an image in pixels.")] = 320,
) -> None:
    """Writes labelled two-channel images (cells, nuclei) that no microscope took."""
    write_synthetic(folder, count, seed, (size, size))


def _read(folders: list[Path], split: str | None, on_bad: OnBadData) -> list[Sample]:
    try:
        samples, faults = read_samples([pair for folder in folders for pair in find_pairs(folder, split)], on_bad.value)
    except ExceptionGroup as group:
        typer.echo(f"error: {group.message}; --on-bad-data skip leaves them out", err=True)
        raise typer.Exit(1) from None
    except DataError as error:
        _fail(error)
    if faults:
        typer.echo(f"{len(faults)} labelled images left out, {len(samples)} used", err=True)
    return samples


def _split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Images to train on, and those kept back: other ones for other seeds."""
    order = np.random.default_rng(seed).permutation(len(examples))
    kept = round(share * len(examples))
    return [examples[index] for index in sorted(order[kept:])], [examples[index] for index in sorted(order[:kept])]


def _fail(error: Exception) -> None:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from None
