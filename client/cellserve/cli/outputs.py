"""The result files of a run: where they go, whether they are there, how they are written."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from cellserve_formats import Image
from cellserve_formats.files import write_bytes
from cellserve_formats.label_numbers import scale_for_numbers
from cellserve_formats.overlay import OverlayOptions

from cellserve.errors import CellServeError
from cellserve.params import Output
from cellserve.results import Segmentation
from cellserve.saving import ENDINGS, content

from .inputs import Input
from .names import result_names

_MAPS: tuple[Output, ...] = ("flows", "cell_probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The result files that a run writes for each image, besides its label image.

    Attributes:
        table: Table of objects.
        overlay: Picture of the objects.
        numbers: The overlay has the label of each object.
        filled: The overlay has filled objects.
        flows: Flows, as numbers and as a picture.
        cell_probability: Cell probability, as numbers and as a picture.
    """

    table: bool = True
    overlay: bool = True
    numbers: bool = False
    filled: bool = False
    flows: bool = False
    cell_probability: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """Keys of `ENDINGS`, in their order."""
        left_out = {name for name in ("table", "overlay", *_MAPS) if not getattr(self, name)}
        return tuple(kind for kind in ENDINGS if kind.removesuffix("_picture") not in left_out)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the server has to send besides labels and objects."""
        return tuple(name for name in _MAPS if getattr(self, name))


Outputs = dict[str, Path]
"""The result files of an image by what they hold, in the order in which they are written: the label image last."""


def plan_outputs(images: Sequence[Input], folder: Path | None, wanted: Wanted) -> dict[Path, Outputs]:
    """Names the result files of every image, making sure that no two images share any.

    Args:
        images: The images. A file given twice counts once. Two names (links) of a file count twice.
        folder: Where all results go. Results keep the folders that their images have below the folder that was given.
            None: beside each image.
        wanted: The result files.

    Returns:
        Result files by image, in the order given.

    Raises:
        typer.BadParameter: Two images would write the same files.
    """
    plan: dict[Path, Outputs] = {}
    owners: dict[Path, Path] = {}
    for entry in {_entry(image.path): image for image in reversed(images)}.values():
        path = entry.path
        place = path.parent if folder is None else folder / entry.below
        names = result_names(path)
        labels = place / names["labels"]
        owner = owners.setdefault(labels.resolve(), path)
        if owner is not path:
            raise typer.BadParameter(
                f"'{path}' and '{owner}' would both write '{labels}'; rename one, or segment them into different "
                "folders (--out)",
                param_hint="'PATH'",
            )
        plan[path] = {kind: place / names[kind] for kind in wanted.kinds}
    return {path: plan[path] for path in reversed(plan)}


def prepare_folder(folder: Path) -> None:
    """Makes the folder of all results, and sees that files can be written there.

    Raises:
        typer.BadParameter: The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(folder)
    except FileExistsError as error:
        raise typer.BadParameter(f"'{folder}' is a file; name a folder", param_hint="'--out'") from error
    except OSError as error:
        raise typer.BadParameter(
            f"cannot write into '{folder}': {error.strerror or error}; name another folder", param_hint="'--out'"
        ) from error


def check_outputs(outputs: Outputs) -> None:
    """Checks, before any work on an image, that its results can be written.

    Raises:
        CellServeError: FILE_UNWRITABLE: a name or path is too long, or the folder cannot be written.
    """
    for path in outputs.values():
        try:
            path.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise CellServeError(
                    f"cannot write {path}: {error.strerror}; shorten the name of the file or of its folder, or choose "
                    "another folder with --out",
                    reason="FILE_UNWRITABLE",
                ) from error
    folder = outputs["labels"].parent
    if folder.is_dir():  # others are made, or lack the image as well
        try:
            _try_to_write(folder)
        except OSError as error:
            raise CellServeError(
                f"cannot write into {folder}: {error.strerror or error}; choose another folder with --out",
                reason="FILE_UNWRITABLE",
            ) from error


def is_complete(image: Path, outputs: Outputs) -> bool:
    """Tells whether all results of an image are there, and none is older than the image."""
    try:
        changed = image.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns >= changed for path in outputs.values())
    except OSError:
        return False


def contents_of(outputs: Outputs, image: Image, result: Segmentation, wanted: Wanted) -> dict[str, bytes]:
    """Makes the result files of one image."""
    scale = scale_for_numbers(result.labels) if wanted.numbers and result.axes == "YX" else 1
    shown = OverlayOptions(numbers=wanted.numbers, filled=wanted.filled, scale=scale)
    return {kind: content(result, kind, image, **shown) for kind in outputs}


def write_outputs(outputs: Outputs, contents: Mapping[str, bytes]) -> None:
    """Writes the result files of one image; the label image is the last.

    Raises:
        CellServeError: FILE_UNWRITABLE: a file cannot be written.
    """
    for kind, path in outputs.items():
        try:
            write_bytes(path, contents[kind])
        except OSError as error:
            raise CellServeError(f"cannot write {path}: {error.strerror or error}", reason="FILE_UNWRITABLE") from error


def _entry(path: Path) -> Path:
    """Returns what makes two paths the same entry of a folder: the folder without links, and the name as it is."""
    return path.parent.resolve() / path.name


def _try_to_write(folder: Path) -> None:
    """Writes a file that is gone at once. Permissions alone do not tell: a file system can be read-only or full."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")
