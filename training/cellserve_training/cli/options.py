"""What the commands have in common: options, reading of images, progress, failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from cellserve_contract.help import INPUT, MACHINE
from cellserve_evaluation.sample import Sample
from rich.console import Console
from rich.progress import track as rich_track
from typer import Argument, Option

from cellserve_training.dataset import read_samples
from cellserve_training.pairs import DataError, LabelSource, find_pairs


class OnBadData(StrEnum):
    """What to do about labelled images that cannot be used."""

    REFUSE = "refuse"
    SKIP = "skip"


Folders = Annotated[
    list[Path],
    Argument(metavar="FOLDER", help="Folders of labelled images, or of data sets with the folders train and test."),
]
Split = Annotated[
    str | None,
    Option(metavar="PART", help="Part of the data sets below the folders: train or test.", rich_help_panel=INPUT),
]
Labels = Annotated[
    LabelSource,
    Option(
        help="drawn: _masks, _seg.npy, and folders masks/ or labels/. cp_masks: results of a segmentation, too, if an "
        "image has no other labels.",
        rich_help_panel=INPUT,
    ),
]
OnBad = Annotated[
    OnBadData,
    Option(
        help="What to do if a labelled image cannot be used: end, or leave the image out. Each image is named.",
        rich_help_panel=INPUT,
    ),
]
Device = Annotated[str, Option(metavar="NAME", help="torch device.", rich_help_panel=MACHINE)]
Threads = Annotated[int, Option(metavar="N", min=0, help="CPU threads; 0: all cores.", rich_help_panel=MACHINE)]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def read(
    folders: list[Path], split: str | None, labels: LabelSource, on_bad: OnBadData, volumes: bool = False
) -> list[Sample]:
    """Reads the labelled images of folders, volumes too if wanted; what is wrong with them ends the command."""
    try:
        pairs = [pair for folder in folders for pair in find_pairs(folder, split, labels)]
        samples, faults = read_samples(pairs, on_bad.value, volumes)
    except ExceptionGroup as group:
        typer.echo(f"error: {group.message}; --on-bad-data skip leaves them out", err=True)
        raise typer.Exit(1) from None
    except DataError as error:
        fail(error)
    if faults:
        typer.echo(f"{len(faults)} labelled images left out, {len(samples)} used", err=True)
    return samples


def track(samples: Sequence[Sample], what: str, console: Console) -> Iterable[Sample]:
    """Yields samples; on a terminal, with a bar."""
    return rich_track(samples, what, console=console, transient=True, disable=not console.is_terminal)


def fail(error: Exception) -> NoReturn:
    """Ends a command with one line and status 1."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from None
