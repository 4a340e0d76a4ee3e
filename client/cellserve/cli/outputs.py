"""The result files of a run: where they go, whether they are there, how they are written."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from cellserve_formats import Image
from cellserve_formats.label_numbers import scale_for_numbers
from cellserve_formats.overlay import OverlayOptions

from cellserve.errors import CellServeError
from cellserve.makers import Write
from cellserve.params import Output
from cellserve.results import Segmentation
from cellserve.saving import (
    DEFAULT_WORDS,
    check_image,
    check_libraries,
    make_files,
    outputs_of,
    result_paths,
    result_stem,
)

from .inputs import Input


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The result files that a run writes for each image.

    Attributes:
        words: Words of `cellserve.saving.SAVED`.
        measure: Groups of measurements that the tables have.
        numbers: The overlay has the label of each object.
        filled: The overlay has filled objects.
    """

    words: tuple[str, ...] = DEFAULT_WORDS
    measure: tuple[str, ...] = ()
    numbers: bool = False
    filled: bool = False

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the server has to send besides labels and objects."""
        return outputs_of(self.words)

    def check(self) -> None:
        """Checks, before any work, that the files can be made on this machine.

        Raises:
            typer.BadParameter: Numbers or filled objects of an overlay that is not written, or a library is missing.
        """
        if (self.numbers or self.filled) and "overlay" not in self.words:
            raise typer.BadParameter("--numbers and --fill change the overlay, which --save does not name")
        try:
            check_libraries(self.words)
        except CellServeError as error:
            raise typer.BadParameter(str(error), param_hint="'--save'") from error

    def check_image(self, image: Image) -> None:
        """Checks, before an image is sent, that its results can be written.

        Raises:
            InvalidRequestError: FIELD_INVALID: files that are not written for stacks or time series.
        """
        check_image(self.words, image.axes)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The result files of an image.

    Attributes:
        stem: Path that their names begin with.
        files: The files by word, in the order in which they are written: label images last.
    """

    stem: Path
    files: Mapping[str, tuple[Path, ...]]

    @property
    def paths(self) -> list[Path]:
        """All files, in the order in which they are written."""
        return [path for places in self.files.values() for path in places]

    def listed(self) -> dict[str, list[str]]:
        """Returns the files by word for `--json`, label images first."""
        return {word: list(map(str, places)) for word, places in reversed(list(self.files.items()))}


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
        stem = place / result_stem(path)
        outputs = Outputs(stem, result_paths(stem, wanted.words))
        for result in reversed(outputs.paths):
            owner = owners.setdefault(result.resolve(), path)
            if owner is not path:
                raise typer.BadParameter(
                    f"'{path}' and '{owner}' would both write '{result}'; rename one, or segment them into different "
                    "folders (--out)",
                    param_hint="'PATH'",
                )
        plan[path] = outputs
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
    for path in outputs.paths:
        try:
            path.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise CellServeError(
                    f"cannot write {path}: {error.strerror}; shorten the name of the file or of its folder, or choose "
                    "another folder with --out",
                    reason="FILE_UNWRITABLE",
                ) from error
    folder = outputs.stem.parent
    if folder.is_dir():  # others are made, or lack the image as well
        try:
            _try_to_write(folder)
        except OSError as error:
            raise CellServeError(
                f"cannot write into {folder}: {error.strerror or error}; choose another folder with --out",
                reason="FILE_UNWRITABLE",
            ) from error


def is_complete(image: Path, results: Iterable[Path]) -> bool:
    """Tells whether all results of an image are there, and none is older than the image."""
    try:
        changed = image.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns >= changed for path in results)
    except OSError:
        return False


def contents_of(outputs: Outputs, path: Path, image: Image, result: Segmentation, wanted: Wanted) -> dict[Path, Write]:
    """Makes the result files of one image, whose file is at `path`.

    Raises:
        InvalidRequestError: A format does not hold so many objects or pixels.
    """
    scale = scale_for_numbers(result.labels) if wanted.numbers and result.axes == "YX" else 1
    shown = OverlayOptions(numbers=wanted.numbers, filled=wanted.filled, scale=scale)
    return make_files(result, outputs.stem, wanted.words, image, path=path, options=shown)


def write_outputs(contents: Mapping[Path, Write]) -> None:
    """Writes the result files of one image in their order.

    Raises:
        CellServeError: FILE_UNWRITABLE: a file cannot be written.
    """
    for path, write in contents.items():
        try:
            write(path)
        except OSError as error:
            raise CellServeError(f"cannot write {path}: {error.strerror or error}", reason="FILE_UNWRITABLE") from error


def _entry(path: Path) -> Path:
    """Returns what makes two paths the same entry of a folder: the folder without links, and the name as it is."""
    return path.parent.resolve() / path.name


def _try_to_write(folder: Path) -> None:
    """Writes a file that is gone at once. Permissions alone do not tell: a file system can be read-only or full."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")
