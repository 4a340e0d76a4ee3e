"""Image files in, result files out."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from .errors import refusal
from .images import AXES, Image, file_format
from .results import Object

LABELS_SUFFIX = "_cp_masks.tif"
TABLE_SUFFIX = "_objects.csv"
OVERLAY_SUFFIX = "_overlay.png"

_COLUMNS = ["label", "y_min", "x_min", "y_max", "x_max", "centroid_y", "centroid_x", "area", "diameter"]
_COLUMNS += ["mean_probability", "flow_error"]
_ALPHA_SAMPLES = (1, 2)  # TIFF ExtraSamples: associated and unassociated alpha


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
        Pixels in the type of the file, and their axes. An alpha channel is left out.

    Raises:
        InvalidRequestError: The file cannot be read, or holds a z stack, a time series or several images.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise refusal(f"{path}: {error.strerror or error}", "FILE_UNREADABLE") from error
    kind = file_format(data)
    if kind is None:
        raise refusal(f"{path}: neither TIFF nor PNG nor JPEG", "IMAGE_UNDECODABLE")
    try:
        if kind == "tiff":
            pixels, found = _read_tiff(data)
        else:
            pixels = _without_alpha(imagecodecs.png_decode(data) if kind == "png" else imagecodecs.jpeg8_decode(data))
            found = "YX" if pixels.ndim == 2 else "YXS"
    except Exception as error:  # decoders raise what they like on damaged files
        raise refusal(f"{path}: cannot be decoded: {error}", "IMAGE_UNDECODABLE") from error
    return Image(pixels, _known_axes(path, pixels.shape, found, axes))


def write_labels(path: Path, labels: NDArray[Any]) -> None:
    """Writes a label image as a deflate-compressed TIFF that tools of the field open.

    Args:
        path: The file.
        labels: uint16 or uint32 [Y, X].
    """
    with _replacing(path) as file:
        tifffile.imwrite(file, labels, compression="zlib", predictor=True, metadata={"axes": "YX"})


def write_table(path: Path, objects: Iterable[Object]) -> None:
    """Writes the objects as CSV, one row each, lengths in pixels.

    Args:
        path: The file.
        objects: The rows.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for entry in objects:
        measures = (*entry.centroid, entry.diameter, entry.mean_probability, entry.flow_error)
        y, x, diameter, probability, error = (f"{value:.7g}" for value in measures)
        table.writerow([entry.label, *entry.bounding_box, y, x, entry.area, diameter, probability, error])
    with _replacing(path) as file:
        file.write(text.getvalue().encode())


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a picture.

    Args:
        path: The file.
        picture: uint8 [Y, X, 3].
    """
    with _replacing(path) as file:
        file.write(imagecodecs.png_encode(picture, level=6))


def _read_tiff(data: bytes) -> tuple[NDArray[Any], str]:
    """Returns pixels and axes (letters of tifffile) of the only image of a TIFF file, without axes of length one."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        images = [series for series in file.series if not series.keyframe.is_reduced]
        if len(images) != 1:
            raise ValueError(f"it holds {len(images)} images; save the one to segment")
        pixels, axes, extra = images[0].asarray(), images[0].axes, images[0].keyframe.extrasamples
    if axes.endswith("S") and extra and extra[-1] in _ALPHA_SAMPLES:
        pixels = pixels[..., :-1]
    kept = [index for index, length in enumerate(pixels.shape) if length > 1 or axes[index] in "YX"]
    return pixels.reshape([pixels.shape[index] for index in kept]), "".join(axes[index] for index in kept)


def _known_axes(path: str | os.PathLike[str], shape: tuple[int, ...], found: str, given: str | None) -> str:
    """Decides the axes of a file: its own where they are clear (S: samples of a colour pixel), else the caller's."""
    axes = {"YX": "YX", "CYX": "CYX", "YXS": "YXC", "SYX": "CYX", "YXC": "YXC"}.get(found)
    if axes is not None:
        return axes
    stacks = [name for letter, name in (("Z", "a z stack"), ("T", "a time series")) if letter in found]
    if stacks:
        stack = " and ".join(stacks)
        raise refusal(
            f"{path}: {stack} (axes {found}, shape {shape}) is not supported yet; save single planes", "AXES_UNKNOWN"
        )
    if given in AXES and len(given) == len(shape):
        return given
    raise refusal(
        f"{path}: axes {found} of shape {shape} could be channels, z or time; if channels, say axes CYX",
        "AXES_UNKNOWN",
    )


def _without_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns grey [Y, X] or colour [Y, X, 3] pixels."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that takes the place of `path` once whole: a crash leaves the old one, never half a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
