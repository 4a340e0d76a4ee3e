"""The images of a run: the files, folders and patterns of the command line."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from cellserve_formats.contents import is_store

from .names import is_result

SLIDES = (".svs", ".ndpi", ".scn", ".bif")
"""Names of the files of slide scanners, in lower or upper case."""
ENDINGS = (".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", *SLIDES)
"""Names of the files in a folder that count as images, in lower or upper case. Zarr stores count, too."""
LIST = ".txt"
"""Name of a text list of images."""


@dataclass(frozen=True, slots=True)
class Input:
    """An image: a file, or the folder of a Zarr store.

    Attributes:
        path: The file or folder.
        below: Path of its folder, relative to the folder that was given; empty for a file that was given itself.
    """

    path: Path
    below: Path = Path()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images of a run.

    Attributes:
        images: In the order given; those of a folder in the order of their names.
        results: Number of files that were left out because an earlier run wrote them.
    """

    images: tuple[Input, ...]
    results: int


def find_images(given: Sequence[Path], *, recursive: bool = False) -> Inputs:
    """Finds the images that the arguments of a command stand for.

    Args:
        given: Files, folders, text lists, and patterns that the shell left as they are. A path that exists is no
            pattern. A file is taken whatever its name ends in. A file that does not exist is taken, too: the reader
            refuses it. A list is a file that ends in .txt: a path in each line, relative to the folder of the list.
        recursive: True: the folders in a folder, too. Links to folders are not followed.

    Raises:
        typer.BadParameter: A folder has no image or cannot be read. A pattern matches no file. All files are results.
    """
    images: list[Input] = []
    results = 0
    for path in _unlisted(given):
        found = list(_expand(path, ENDINGS, recursive=recursive))
        kept = [entry for entry in found if not is_result(entry.path)]
        images += kept
        results += len(found) - len(kept)
    if not images:
        raise _refused(f"no image among {results} files: all have names of results of an earlier run")
    return Inputs(tuple(images), results)


@dataclass(frozen=True, slots=True)
class Search:
    """Finds the images of a batch, one after the other: a batch can have millions.

    Attributes:
        given: As for `find_images`. Folders are searched with all folders in them.
        include: Patterns; an image is taken if its name or path matches one. None given: all are taken.
        exclude: Patterns; an image that matches one is left out.
        endings: What the names of images in folders end in, lower case.
    """

    given: tuple[Path, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endings: tuple[str, ...] = ENDINGS

    def base(self) -> Path:
        """Returns the folder below which results keep the folders of their images: the innermost common one.

        Raises:
            typer.BadParameter: A list cannot be read.
        """
        folders = {_base(path) for path in self._paths()}
        return Path(os.path.commonpath(folders))

    def images(self, base: Path) -> Iterator[Path]:
        """Yields the images; those of a folder in the order of their names.

        Args:
            base: The folder that `base` returned.

        Raises:
            typer.BadParameter: As `find_images`.
        """
        for path in self._paths():
            for entry in _expand(path, self.endings, recursive=True):
                if is_result(entry.path):
                    continue
                name = entry.path.relative_to(base).as_posix()
                if self._matches(self.include, name, default=True) and not self._matches(self.exclude, name):
                    yield entry.path

    def _paths(self) -> Iterator[Path]:
        """Yields what was given, as absolute paths without "..": results must not lie outside of their folder."""
        return (Path(os.path.abspath(path)) for path in _unlisted(self.given))  # noqa: PTH100  # links stay

    @staticmethod
    def _matches(patterns: Sequence[str], name: str, *, default: bool = False) -> bool:
        if not patterns:
            return default
        last = name.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(each, pattern) for pattern in patterns for each in (name, last))


def is_read_in_parts(path: Path) -> bool:
    """Tells whether an image is of a kind that is only read part by part: a Zarr store or a slide."""
    return path.suffix.lower() in SLIDES or is_store(path)


def _unlisted(given: Sequence[Path]) -> Iterator[Path]:
    """Yields paths; those in a list in its place."""
    for path in given:
        if path.suffix.lower() != LIST or not path.is_file():
            yield path
            continue
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as lines:
                for line in lines:
                    if (entry := line.strip()) and not entry.startswith("#"):
                        yield path.parent / entry
        except OSError as error:
            raise _refused(f"cannot read the list '{path}': {error.strerror or error}") from error


def _base(path: Path) -> Path:
    """Returns the innermost folder that all images of an argument are in."""
    if _is_folder(path) and not is_store(path):
        return path
    while not os.path.lexists(path) and _is_pattern(path):
        path = path.parent
        if os.path.lexists(path):
            return path
    return path.parent


def _expand(path: Path, endings: tuple[str, ...], *, recursive: bool) -> Iterator[Input]:
    if is_store(path):
        yield Input(path)
    elif _is_folder(path):
        empty = True
        for file in _files(path, endings, recursive=recursive):
            empty = False
            yield Input(file, file.parent.relative_to(path))
        if empty:
            deeper = "" if recursive else "; --recursive looks into the folders in it, too"
            raise _refused(f"the folder '{path}' has no file that ends in {_listed(endings)}{deeper}")
    elif os.path.lexists(path) or not _is_pattern(path):
        yield Input(path)
    else:
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207  # any path, not below another
        files = [match for match in matches if not _is_folder(match) or is_store(match)]
        if not files:
            raise _refused(f"no file matches '{path}'")
        yield from map(Input, files)


def _is_folder(path: Path) -> bool:
    """Tells whether a path is a folder; a path that the file system refuses (a name that is too long) is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_pattern(path: Path) -> bool:
    """Tells whether a path that does not exist is a pattern; a folder can have the signs of patterns in its name."""
    signs = path.name if _is_folder(path.parent) else str(path)
    return glob.escape(signs) != signs


def _files(folder: Path, endings: tuple[str, ...], *, recursive: bool) -> Iterator[Path]:
    """Yields the files and Zarr stores of a folder that look like images; hidden ones are none."""

    def refuse(error: OSError) -> None:
        raise _refused(f"cannot read the folder '{error.filename}': {error.strerror}") from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        seen = [name for name in folders if not name.startswith(".")]
        stores = [name for name in seen if is_store(Path(where, name))]
        folders[:] = sorted(set(seen) - set(stores)) if recursive else []
        files = [name for name in names if name.lower().endswith(endings) and not name.startswith(".")]
        yield from (Path(where, name) for name in sorted([*files, *stores]))


def _refused(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="'PATH'")


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
