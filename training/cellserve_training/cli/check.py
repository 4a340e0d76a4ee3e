"""`cellserve-train check`."""

from __future__ import annotations

import typer
from cellserve_postprocess import median_diameter

from cellserve_training.dataset import read_samples
from cellserve_training.pairs import DataError, LabelSource, find_pairs, splits

from .options import Folders, Labels, Split, fail


def check(folders: Folders, split: Split = None, labels: Labels = LabelSource.DRAWN) -> None:
    """Say what is in a folder of labelled images.

    Reads the images as a training would. The exit status is 1 if some cannot be used.
    """
    faults = 0
    for folder in folders:
        parts: list[str | None] = [split] if split else [*splits(folder)]
        for part in parts or [None]:
            try:
                samples, bad = read_samples(find_pairs(folder, part, labels), "skip")
            except DataError as error:
                fail(error)
            faults += len(bad)
            typer.echo(f"{folder}{f', {part}' if part else ''}, labelled images: {len(samples)}")
            for sample in samples:
                height, width = sample.labels.shape
                typer.echo(
                    f"  {sample.name}: {width} x {height} px, {len(sample.image)} plane(s), {sample.kind}; "
                    f"{sample.labels.max()} objects of {median_diameter(sample.labels):.0f} px"
                )
    if faults:
        typer.echo(f"{faults} labelled images cannot be used: named above, each with what to do", err=True)
        raise typer.Exit(1)
