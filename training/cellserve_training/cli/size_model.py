"""`cellserve-train size-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from cellserve_contract.help import RESULTS, TRAINING
from cellserve_networks.checkpoint import load_checkpoint
from cellserve_networks.errors import ModelFileError
from cellserve_networks.size_model import write_size_model
from rich.console import Console
from typer import Option

from cellserve_training.pairs import LabelSource
from cellserve_training.precision import has_bfloat16
from cellserve_training.size_model import fit

from .options import DEVICE, Device, Folders, Labels, OnBad, OnBadData, Split, Threads, fail, read, track


def size_model(
    folders: Folders,
    network: Annotated[
        Path, Option(metavar="FILE", help="Checkpoint of network 0 of a family.", rich_help_panel=TRAINING)
    ],
    out: Annotated[Path, Option(metavar="FILE", help="JSON file, for `cellserve-export`.", rich_help_panel=RESULTS)],
    split: Split = "train",
    views: Annotated[
        int,
        Option(metavar="N", min=1, help="Number of sizes of each image, its own among them.", rich_help_panel=TRAINING),
    ] = 8,
    ridge: Annotated[
        float | None,
        Option(
            metavar="WEIGHT",
            min=0,
            help="Weight of the squared coefficients.",
            show_default="the best one on images left out",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[int, Option(metavar="N", help="Decides the sizes and the folds.", rich_help_panel=TRAINING)] = 0,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
    device: Device = DEVICE,
    threads: Threads = 0,
) -> None:
    """Fit the size model, which estimates diameters."""
    console = Console()
    if threads:
        torch.set_num_threads(threads)
    samples = read(folders, split, labels, on_bad_data)
    try:
        found = fit(
            load_checkpoint(network).network.to(device), samples, seed=seed, ridge=ridge, views=views,
            bfloat16=has_bfloat16(torch.device(device)),
            track=lambda samples: track(samples, "styles", console),
        )  # fmt: skip
        write_size_model(out, found.model)
    except (ModelFileError, ValueError, OSError) as error:
        fail(error)
    console.print(
        f"{found.views} views of {found.images} images, ridge {found.ridge:g}; on images left out of the fit "
        f"(five folds): correlation {found.correlation:.3f}, median deviation {100 * found.error:.0f} %",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"size model: {out}")
