"""The result files of the command line: their names, and how they are written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellserve_formats import Image
from cellserve_formats.labels_tiff import write_labels_tiff
from cellserve_formats.overlay import write_overlay
from cellserve_formats.table_csv import write_table_csv

from cellserve.errors import CellServeError, refusal
from cellserve.results import Segmentation

LABELS_SUFFIX = "_cp_masks.tif"
TABLE_SUFFIX = "_objects.csv"
OVERLAY_SUFFIX = "_overlay.png"
SUFFIXES = (LABELS_SUFFIX, TABLE_SUFFIX, OVERLAY_SUFFIX)
NAME_BYTES = 255
"""Longest name of a file on common file systems."""


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
        inputs: Image files. A file given twice counts once. Two names (links) of a file count twice.
        folder: Where all results go; None: beside each input.

    Returns:
        Result files by input, in the order given. Names longer than a file system takes are shortened.

    Raises:
        InvalidRequestError: Two inputs would write the same files.
    """
    plan: dict[Path, Outputs] = {}
    owners: dict[Path, Path] = {}
    for path in {_entry(path): path for path in reversed(inputs)}.values():
        stem = (folder or path.parent) / _short(path.stem)
        owner = owners.setdefault(stem.resolve(), path)
        if owner is not path:
            raise refusal(
                f"{path} and {owner} would both write {stem}{LABELS_SUFFIX}; "
                "rename one, or segment them into different folders",
                "FIELD_INVALID",
            )
        plan[path] = Outputs(*(stem.with_name(stem.name + end) for end in SUFFIXES))
    return {path: plan[path] for path in reversed(plan)}


def check_names(outputs: Outputs) -> None:
    """Checks, before any work, that the file system takes the names of the results.

    Raises:
        CellServeError: FILE_UNWRITABLE: a name or path is too long.
    """
    for path in (outputs.labels, outputs.table, outputs.overlay):
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise CellServeError(
                    f"cannot write {path}: {error.strerror}; shorten the name of the file or of its folder, or choose "
                    "another folder with --out",
                    reason="FILE_UNWRITABLE",
                ) from error


def _entry(path: Path) -> Path:
    """Returns what makes two paths the same entry of a folder: the folder without links, and the name as it is."""
    return path.parent.resolve() / path.name


def _short(stem: str) -> str:
    """Returns the name of a file without ending; longer ones than results can have end in a checksum instead."""
    name, most = os.fsencode(stem), NAME_BYTES - max(map(len, SUFFIXES))
    if len(name) <= most:
        return stem
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    kept = stem
    while len(os.fsencode(kept)) > most - len(mark):  # whole characters
        kept = kept[:-1]
    return kept + mark


def is_output(path: Path) -> bool:
    """Tells whether a file name is one that `plan_outputs` makes."""
    return path.name.endswith(SUFFIXES)


def write_outputs(
    outputs: Outputs, image: Image, result: Segmentation, *, csv: bool = True, overlay: bool = True
) -> list[Path]:
    """Writes the results of one image; returns the files.

    Raises:
        CellServeError: FILE_UNWRITABLE: a file cannot be written.
    """
    try:
        write_labels_tiff(outputs.labels, result.labels, image.pixel_size)
        written = [outputs.labels]
        if csv:
            write_table_csv(outputs.table, (entry.row() for entry in result.objects), image.pixel_size)
            written.append(outputs.table)
        if overlay:
            cytoplasm, nucleus = result.params.cytoplasm_channel, result.params.nucleus_channel
            channels = (-1 if channel is None else channel for channel in (cytoplasm, nucleus))
            write_overlay(outputs.overlay, image, result.labels, *channels)
            written.append(outputs.overlay)
    except OSError as error:
        raise CellServeError(f"cannot write: {error}", reason="FILE_UNWRITABLE") from error
    return written
