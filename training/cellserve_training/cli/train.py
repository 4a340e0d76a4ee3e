"""`cellserve-train train`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellserve_contract.help import ABLATIONS, INPUT, MACHINE, RESULTS, TRAINING
from cellserve_networks.errors import ModelFileError
from rich.console import Console
from typer import Option

from cellserve_training.augment import Example, prepare
from cellserve_training.closing import closing
from cellserve_training.loop import Run, TrainingInterruptedError
from cellserve_training.loop import train as train_network
from cellserve_training.pairs import LabelSource
from cellserve_training.schedule import Preset, Schedule
from cellserve_training.state import STATE, StateError

from .options import DEVICE, Device, Folders, Labels, OnBad, OnBadData, Split, Threads, fail, read, track


def train(
    folders: Folders,
    out: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="Folder of this training. The same command goes on from the state in the folder.",
            rich_help_panel=RESULTS,
        ),
    ],
    split: Split = "train",
    preset: Annotated[
        Preset, Option(help="Schedule: that of the paper, or one for a few CPU hours.", rich_help_panel=TRAINING)
    ] = Preset.FAST,
    seed: Annotated[
        int,
        Option(metavar="N", help="Decides first weights, order of images and augmentation.", rich_help_panel=TRAINING),
    ] = 0,
    steps: Annotated[
        int | None,
        Option(
            metavar="N",
            min=1,
            help="Batches in all. With a larger number than before, the training in --out goes on.",
            show_default="that of the preset",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    crop: Annotated[
        int | None,
        Option(
            metavar="PIXELS",
            min=16,
            help="Side of a crop, a multiple of 8.",
            show_default="that of the preset",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    diam_mean: Annotated[
        float,
        Option(metavar="PIXELS", min=1, help="Object diameter that the network works at.", rich_help_panel=TRAINING),
    ] = 30.0,
    validation: Annotated[
        float,
        Option(
            metavar="SHARE",
            min=0,
            max=0.5,
            help="Share of the images that are kept for the validation curve.",
            rich_help_panel=INPUT,
        ),
    ] = 0.04,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
    style: Annotated[bool, Option(help="The up pass gets the style of the tile.", rich_help_panel=ABLATIONS)] = True,
    residual: Annotated[
        bool, Option(help="The input of each block is added to its output.", rich_help_panel=ABLATIONS)
    ] = True,
    concatenation: Annotated[
        bool, Option(help="The maps of the down pass are concatenated, not added.", rich_help_panel=ABLATIONS)
    ] = False,
    start_from: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Checkpoint to start from: adapts a network to your images.",
            show_default="random weights",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    device: Device = DEVICE,
    threads: Threads = 0,
    workers: Annotated[
        int,
        Option(
            metavar="N", min=0, help="Processes that cut crops; 0: the training cuts its own.", rich_help_panel=MACHINE
        ),
    ] = 0,
    log_every: Annotated[
        int, Option(metavar="STEPS", min=1, help="Steps that a row of the log covers.", rich_help_panel=RESULTS)
    ] = 25,
    save_every: Annotated[
        float, Option(metavar="SECONDS", min=0, help="Time between saved states.", rich_help_panel=RESULTS)
    ] = 20.0,
    cache: Annotated[
        Path, Option(metavar="FOLDER", help="Folder of the flow targets; trainings share it.", rich_help_panel=RESULTS)
    ] = Path("build/targets"),
) -> None:
    """Train one network.

    A training that was stopped or killed goes on from its last state: repeat the command.
    """
    console = Console()
    if crop is not None and crop % 8:
        raise typer.BadParameter("a multiple of 8", param_hint="--crop")
    if threads:
        torch.set_num_threads(threads)
    samples = read(folders, split, labels, on_bad_data)
    typer.echo(f"computing the flows of {len(samples)} images; {cache} keeps them")
    examples = [prepare(sample, cache) for sample in track(samples, "flows", console)]
    examples, held_out = _split(examples, validation, seed)
    typer.echo(f"{len(examples)} images to train on, {len(held_out)} for the validation curve")
    for (group, kind), count in sorted(Counter((e.sample.group, e.sample.kind) for e in examples).items()):
        typer.echo(f"  {group} {kind}: {count}")
    run = Run(
        out, Schedule.of(preset, len(examples), steps, crop), seed, diam_mean, style, residual, concatenation,
        start_from, device, workers, log_every, save_every, console,
    )  # fmt: skip
    try:
        network = train_network(run, examples, held_out)
    except TrainingInterruptedError as stop:
        typer.echo(f"stopped after {stop}, which {out / STATE} holds: the same command goes on from there")
        raise typer.Exit(130) from None
    except (StateError, ModelFileError, OSError) as error:
        fail(error)
    for line in closing(run, network, folders, examples, held_out):
        typer.echo(line)


def _split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Images to train on, and those kept back: other ones for other seeds."""
    order = np.random.default_rng(seed).permutation(len(examples))
    kept = round(share * len(examples))
    return [examples[index] for index in sorted(order[kept:])], [examples[index] for index in sorted(order[:kept])]
