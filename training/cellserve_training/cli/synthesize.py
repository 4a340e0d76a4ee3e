"""`cellserve-train synthesize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cellserve_training.synthetic import write_synthetic


def synthesize(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder to write to.")],
    count: Annotated[int, Option(metavar="N", min=1, help="Number of images.")] = 120,
    seed: Annotated[int, Option(metavar="N", help="Decides the images.")] = 0,
    size: Annotated[int, Option(metavar="PIXELS", min=64, help="Side of an image.")] = 320,
) -> None:
    """Draw labelled images of two channels: cells and their nuclei."""
    write_synthetic(folder, count, seed, (size, size))
