"""The result files: their words, their names, and how they are written.

`SAVED` has all of them. The option `--save` and `Segmentation.save` know no others.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cellserve_contract.extras import MissingExtraError, naming_extra
from cellserve_formats import ImageError
from cellserve_formats.overlay import OverlayOptions

from . import makers
from .errors import from_image_error, refusal
from .images import ImageLike
from .makers import Maker, ToSave, Write
from .params import Output

if TYPE_CHECKING:
    from .results import Segmentation


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A kind of result file.

    Attributes:
        word: Word of `--save`.
        holds: What the file holds, for help texts.
        makers: What makes the files of this kind, by the endings of their names.
        output: Optional output that the request asks for; None for files that need no more than the least answer.
        library: Module of the extra that the file needs; "" for none.
        stacks: Whether results of stacks can be written.
        series: Whether results of time series can be written.
        large: Whether results of images that no call can hold can be written.
    """

    word: str
    holds: str
    makers: Mapping[str, Maker] = field(repr=False)
    output: Output | None = None
    library: str = ""
    stacks: bool = True
    series: bool = False
    large: bool = False

    @property
    def endings(self) -> tuple[str, ...]:
        """What the names of the files end in."""
        return tuple(self.makers)

    @property
    def extra(self) -> str:
        """Extra of the package that the file needs; "" for none."""
        return "formats" if self.library else ""


_ALL = (
    ResultFile("masks", "label image as TIFF", {"_cp_masks.tif": makers.labels_tiff}, series=True, large=True),
    ResultFile("png", "label image as PNG", {"_cp_masks.png": makers.labels_png}, stacks=False),
    ResultFile(
        "zarr", "label image as OME-Zarr", {"_cp_masks.ome.zarr": makers.labels_zarr}, library="zarr", large=True
    ),
    ResultFile("seg", "_seg.npy of Cellpose", {"_seg.npy": makers.seg}, "maps"),
    ResultFile("rois", "ROIs of ImageJ", {"_rois.zip": makers.rois}, library="roifile", stacks=False),
    ResultFile("geojson", "outlines for QuPath", {"_objects.geojson": makers.geojson}, stacks=False),
    ResultFile(
        "outlines", "outlines as text of Cellpose", {"_cp_outlines.txt": makers.outlines}, "outlines", stacks=False
    ),
    ResultFile("csv", "table of objects", {"_objects.csv": makers.table_csv}, series=True, large=True),
    ResultFile(
        "parquet", "table as Parquet", {"_objects.parquet": makers.table_parquet}, library="pyarrow", large=True
    ),
    ResultFile("anndata", "table as AnnData", {"_objects.h5ad": makers.table_anndata}, library="anndata"),
    ResultFile("overlay", "picture of the objects", {"_overlay.png": makers.overlay_png}, series=True, large=True),
    ResultFile(
        "flows",
        "flows as TIFF and picture",
        {"_flows.tif": makers.flows_tiff, "_flows.png": makers.flows_png},
        "flows",
        stacks=False,
    ),
    ResultFile(
        "probability",
        "cell probability as TIFF and picture",
        {"_probability.tif": makers.probability_tiff, "_probability.png": makers.probability_png},
        "cell_probability",
        stacks=False,
    ),
)
SAVED: Mapping[str, ResultFile] = {file.word: file for file in _ALL}
"""All kinds of result files by their words."""
DEFAULT_WORDS = ("masks", "csv", "overlay")
"""What is written unless others are chosen."""

ENDINGS = tuple(ending for file in _ALL for ending in file.endings)
"""What the names of result files end in."""

LABELS_IN_IMAGE = "labels/cellserve"
"""Folder of the labels in that of their OME-Zarr image."""

_LARGE = {"overlay": "overlay", "csv": "csv", "table": "parquet", "labels": "zarr"}
_LONGEST = 255 - len("..part")  # bytes of a name on common file systems, less what a name has while it is written
_STORES = (".ome.zarr", ".zarr")
_NOT_IN_ZARR = re.compile(r"^[.-]|[^A-Za-z0-9_.-]")

_ARRAY = ResultFile("array", "label image as an array of NumPy", {".npy": makers.labels_array})
# The words of endings that a caller gives, besides the endings above. The first file of the word is written.
_WORDS = {
    ".ome.zarr": "zarr",
    ".zarr": "zarr",
    ".tif": "masks",
    ".tiff": "masks",
    ".png": "png",
    ".zip": "rois",
    ".geojson": "geojson",
    ".txt": "outlines",
    ".csv": "csv",
    ".parquet": "parquet",
    ".h5ad": "anndata",
}


def result_stem(image: Path) -> str:
    """Returns what the names of all results of an image begin with.

    That is the name of its file without the ending. A name that would be too long ends in a checksum instead.
    """
    stem = next((image.name.removesuffix(end) for end in _STORES if image.name.endswith(end)), image.stem) or image.stem
    name, most = os.fsencode(stem), _LONGEST - max(map(len, ENDINGS))
    if len(name) <= most:
        return stem
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    kept = stem
    while len(os.fsencode(kept)) > most - len(mark):  # whole characters
        kept = kept[:-1]
    return kept + mark


def result_files(words: Iterable[str]) -> list[ResultFile]:
    """Returns the kinds of files that words choose, in the order in which they are written: label images last.

    Raises:
        ValueError: A word is unknown.
    """
    chosen = set(words)
    if unknown := sorted(chosen - SAVED.keys()):
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(SAVED)}")
    return [file for file in reversed(_ALL) if file.word in chosen]


def result_paths(stem: Path, words: Iterable[str], store: Path | None = None) -> dict[str, tuple[Path, ...]]:
    """Returns the result files of an image by word, in the order in which they are written: label images last.

    Args:
        stem: Path that their names begin with. Readers of OME-Zarr take only letters, digits, _ . and - in the name of
            a label image: _ takes the place of others.
        words: Words of `SAVED`.
        store: Folder of the OME-Zarr image. The word "zarr" then stands for the labels in this folder.

    Raises:
        ValueError: A word is unknown.
    """
    paths = {file.word: tuple(_place(stem, ending) for ending in file.endings) for file in result_files(words)}
    return paths | ({"zarr": (store / LABELS_IN_IMAGE,)} if store is not None and "zarr" in paths else {})


def claim_of(stem: str, words: Iterable[str]) -> str:
    """Returns what differs between two images if none of their result files have the same name.

    Args:
        stem: Path that the names of the results begin with, with slashes.
        words: Words of `SAVED`.
    """
    if "zarr" not in words:
        return stem
    folder, slash, name = stem.rpartition("/")
    return f"{folder}{slash}{_region(name)}"


def outputs_of(words: Iterable[str]) -> tuple[Output, ...]:
    """Returns the optional outputs that a request has to ask for, so that its result files can be written.

    Raises:
        ValueError: A word is unknown.
    """
    return tuple(file.output for file in result_files(words) if file.output is not None)


def check_libraries(words: Iterable[str]) -> None:
    """Checks, before any work, that the libraries of the result files are installed.

    Raises:
        InvalidRequestError: EXTRA_MISSING: a library is missing; the message names the extra.
        ValueError: A word is unknown.
    """
    for file in result_files(words):
        _check_library(file)


def check_image(words: Iterable[str], axes: str) -> None:
    """Checks, before an image is sent, that its result files can be written.

    Args:
        words: Words of `SAVED`.
        axes: Axes of the image.

    Raises:
        InvalidRequestError: FIELD_INVALID: files that are not written for stacks or time series.
        ValueError: A word is unknown.
    """
    files = result_files(words)
    if "T" in axes:
        kind, refused = "time series", [file.word for file in files if not file.series]
    else:
        kind, refused = "stack", [file.word for file in files if "Z" in axes and not file.stacks]
    if refused:
        raise refusal(
            f"the image is a {kind}, for which --save {','.join(refused)} writes no files: leave out "
            f"{', '.join(refused)}",
            "FIELD_INVALID",
            field="save",
        )


def large_results(stem: Path) -> dict[str, Path]:
    """Returns the result files of an image that no call can hold, by the attributes of `LargeSegmentation`.

    Args:
        stem: As for `result_paths`.
    """
    return {kind: result_paths(stem, [word])[word][0] for kind, word in _LARGE.items()}


def run_folder(stem: Path) -> Path:
    """Returns the folder in which an image that no call can hold keeps what is half done, unless another is named.

    Args:
        stem: Path that the names of the results begin with.
    """
    return stem.with_name(f".{stem.name}.cellserve")


def make_files(
    result: Segmentation,
    stem: Path,
    words: Iterable[str],
    image: ImageLike | None = None,
    *,
    path: str | os.PathLike[str] = "",
    store: Path | None = None,
    options: OverlayOptions | None = None,
) -> dict[Path, Write]:
    """Makes the result files of one image.

    Args:
        result: The result.
        stem: Path that their names begin with.
        words: Words of `SAVED`.
        image: The image, for an overlay. None: the image that the result refers to.
        path: The file of the image, to which `_seg.npy` refers.
        store: As for `result_paths`.
        options: What an overlay shows.

    Returns:
        What writes each file, in the order in which they are written: label images last.

    Raises:
        InvalidRequestError: EXTRA_MISSING: a library is not installed. IMAGE_TOO_LARGE: a format does not hold so many
            objects or pixels.
        ValueError: A word is unknown, the result lacks what a file should hold, or the image is not there.
    """
    paths = result_paths(stem, words, store)
    region = store and LABELS_IN_IMAGE.rpartition("/")[2]
    saved = ToSave(result, image, os.fspath(path), region or _region(stem.name), store, options or OverlayOptions())
    return {
        place: _made(SAVED[word], maker, saved)
        for word, places in paths.items()
        for place, maker in zip(places, SAVED[word].makers.values(), strict=True)
    }


def save(
    result: Segmentation,
    path: str | os.PathLike[str],
    image: ImageLike | None = None,
    words: Iterable[str] | None = None,
) -> list[Path]:
    """Writes a result; see `Segmentation.save`."""
    place, source = Path(path), result.source.image if image is None else image
    of_image = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    in_folder = os.fspath(path).endswith(("/", os.sep)) or (place.is_dir() and place.suffix != ".zarr")
    if words is None and place.suffix and not in_folder:
        made = {place: _made_by_ending(result, place, image, of_image)}
    else:
        stem = place / _name(result, place) if in_folder else place
        chosen = [word for word in SAVED if _has(result, word, image)] if words is None else words
        made = make_files(result, stem, chosen, image, path=of_image)
    for file, write in made.items():  # all are made before the first is written
        write(file)
    return list(made)


def _check_library(file: ResultFile) -> None:
    if not file.library:
        return
    try:
        with naming_extra(f"The result file {file.word!r}", file.extra):
            importlib.import_module(file.library)
    except MissingExtraError as error:
        raise refusal(str(error), "EXTRA_MISSING") from error


def _made(file: ResultFile, maker: Maker, saved: ToSave) -> Write:
    """Makes a file; errors of formats become those of the client."""
    if not file.stacks and len(saved.result.axes) == 3:
        raise ValueError(f"the result is that of a stack, for which no file of the kind {file.word!r} is written")
    _check_library(file)
    try:
        return maker(saved)
    except ImageError as error:
        raise from_image_error(error) from error


def _made_by_ending(result: Segmentation, place: Path, image: ImageLike | None, of_image: str) -> Write:
    """Makes the file that the end of a name says."""
    known = [(ending, file, maker) for file in (*_ALL, _ARRAY) for ending, maker in file.makers.items()]
    known += [(ending, SAVED[word], next(iter(SAVED[word].makers.values()))) for ending, word in _WORDS.items()]
    for ending, file, maker in known:
        if place.name.lower().endswith(ending):
            region = _region(place.name[: -len(ending)])
            return _made(file, maker, ToSave(result, image, of_image, region))
    raise ValueError(
        f"{place}: the ending {place.suffix} is unknown; known: {', '.join(ending for ending, *_ in known)}. A name "
        "without an ending writes all results"
    )


def _place(stem: Path, ending: str) -> Path:
    """Returns the path of a result file."""
    name = stem.name + ending
    return stem.with_name(_NOT_IN_ZARR.sub("_", name) if ending.endswith(".zarr") else name)


def _region(stem: str) -> str:
    """Returns the name of the label image of results, by which a table refers to the labels."""
    return _NOT_IN_ZARR.sub("_", stem + SAVED["zarr"].endings[0]).removesuffix(_STORES[0])


def _has(result: Segmentation, word: str, image: ImageLike | None) -> bool:
    """Tells whether a result has what a file should hold that is written without being chosen."""
    if word == "overlay":
        return result.label_image is not None and not (image is None and result.source.image is None)
    if word == "masks":
        return result.label_image is not None
    if word in ("flows", "probability"):
        return len(result.axes) == 2 and getattr(result, SAVED[word].output or "") is not None
    return word in DEFAULT_WORDS


def _name(result: Segmentation, folder: Path) -> str:
    """Returns the name of the image, for files in a folder."""
    if not result.source.name:
        raise ValueError(f"{folder} is a folder, and the image has no name: add a name, such as {folder / 'cells'}")
    return result.source.name
