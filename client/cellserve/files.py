"""Image files in, and names and rows of the result files of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cellserve_formats
from cellserve_formats import Image, ImageError

from .errors import from_image_error, refusal

LABELS_SUFFIX = "_cp_masks.tif"
TABLE_SUFFIX = "_objects.csv"
OVERLAY_SUFFIX = "_overlay.png"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results of one image go.

    Attributes:
        labels: Label image.
        table: Table of objects.
        overlay: Picture of the outlines.
    """

    labels: Path
    table: Path
    overlay: Path


def plan_outputs(inputs: Sequence[Path], folder: Path | None) -> dict[Path, Outputs]:
    """Names the result files of every input, making sure that no two inputs share any.

    Args:
        inputs: Image files; one given twice counts once.
        folder: Where all results go; None: beside each input.

    Returns:
        Result files by input, in the order given.

    Raises:
        InvalidRequestError: Two inputs would write the same files.
    """
    plan: dict[Path, Outputs] = {}
    owners: dict[Path, Path] = {}
    for path in {path.resolve(): path for path in reversed(inputs)}.values():
        stem = (folder or path.parent) / path.stem
        owner = owners.setdefault(stem.resolve(), path)
        if owner is not path:
            raise refusal(
                f"{path} and {owner} would both write {stem}{LABELS_SUFFIX}; "
                "rename one, or segment them into different folders",
                "FIELD_INVALID",
            )
        plan[path] = Outputs(
            *(stem.with_name(stem.name + end) for end in (LABELS_SUFFIX, TABLE_SUFFIX, OVERLAY_SUFFIX))
        )
    return {path: plan[path] for path in reversed(plan)}


def is_output(path: Path) -> bool:
    """Tells whether a file name is one that `plan_outputs` makes."""
    return path.name.endswith((LABELS_SUFFIX, TABLE_SUFFIX, OVERLAY_SUFFIX))


def read_image(path: str | os.PathLike[str], axes: str | None = None) -> Image:
    """Reads a TIFF (OME and ImageJ files too), PNG or JPEG file, whatever its name ends in.

    Args:
        path: The file.
        axes: Axes of a TIFF file that does not name them itself, once those of length one are gone; other files
            ignore it.

    Returns:
        Pixels in the type of the file, their axes, and the pixel size where the file states it. Alpha is left out.

    Raises:
        InvalidRequestError: The file cannot be read, or holds a z stack, a time series or several images.
    """
    try:
        return cellserve_formats.read_image(path, axes=axes, stacks=False, threads=None)
    except OSError as error:
        raise refusal(f"{path}: {error.strerror or error}", "FILE_UNREADABLE") from error
    except ImageError as error:
        raise from_image_error(error, path) from error
