"""Where labelled images lie.

Four layouts are read, mixed as they come:

- Pairs of files: `<name>_img.*` or `<name>.*` beside `<name>_masks.*` (or `<name>_img_masks.*`, as Cellpose names it).
- Cellpose's own annotations: `<name>_seg.npy` beside its image.
- Pairs of folders: `images/<name>.*` and `masks/<name>.*` or `labels/<name>.*`.
- On request, results: `<name>_cp_masks.*`, which `cellserve segment` and Cellpose write.

Names are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cellserve.saving import ENDINGS
from cellserve_evaluation.labels import IMAGE_ENDINGS, by_stem, find_labels, split_name

_IMG, _MASKS, _SEG, _RESULT = "_img", "_masks", "_seg", "_cp_masks"
_PARTS = ("train", "test")
_IMAGES, _LABELS = "images", ("masks", "labels")
# What Cellpose and this project write beside images: neither images nor labels.
_RESULTS = (
    *(Path(ending).stem for ending in ENDINGS if ending.endswith((".tif", ".png"))),
    "_outlines",
    "_cp_output",
)


class LabelSource(StrEnum):
    """Which files are taken for labels."""

    DRAWN = "drawn"
    """`_masks`, `_seg.npy`, and the folders `masks/` and `labels/`: what people drew or corrected."""
    CP_MASKS = "cp_masks"
    """`_cp_masks` too, where an image has no others: results, which somebody has to have corrected."""


class DataError(Exception):
    """A labelled image that cannot be used.

    Attributes:
        path: The file at fault.
        problem: What is wrong with it.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Pair:
    """An image file and the file of its labels.

    Attributes:
        name: File name of the image less its ending and `_img`.
        group: The data set: the folder's name, or its parent's where the folder is called train or test.
        image: Image file; None where there are labels but no image.
        labels: Label file; None where there is none.
        result: A `_cp_masks` file that was not asked for; None where there is none, or other labels.
    """

    name: str
    group: str
    image: Path | None
    labels: Path | None
    result: Path | None = None


def find_pairs(folder: Path, split: str | None = None, source: LabelSource = LabelSource.DRAWN) -> list[Pair]:
    """Finds the labelled images of a folder, in the order of their names.

    Args:
        folder: Holds labelled images; or folders of them; or, with `split`, is a data set, of labelled images in
            `<set>/<split>` or in `<set>/images/<split>` and `<set>/masks/<split>`, or holds data sets.
        split: "train" or "test": which part of the data sets below `folder`, of those that have it.
        source: Which files are taken for labels.

    Raises:
        DataError: There is no such folder, no image in it, or nothing but results that were not asked for.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    pairs = list(_pairs_in(folder, split, source))
    if not pairs:
        below = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()]
        pairs = [pair for entry in below for pair in _pairs_in(entry, split, source)]
    if not pairs:
        where = f" (nor in <set>/{split} below it)" if split else ""
        raise DataError(
            folder,
            f"no images with labels{where}: expected <name>.tif or .png and <name>_masks.tif or .png, <name>_seg.npy, "
            "or the folders images/ and masks/ with the same names in both",
        )
    if all(pair.result for pair in pairs):
        raise DataError(folder, f"the only labels are results, such as {(pairs[0].result or folder).name}: {ASK}")
    return pairs


def splits(folder: Path) -> list[str]:
    """Returns which parts, train and test, the data sets of a folder have."""
    where = ("", "*/", f"*/{_IMAGES}/")
    return [part for part in _PARTS if any(any(folder.glob(f"{above}{part}/")) for above in where)]


ASK = (
    "a network that learns from uncorrected results learns their errors. Correct them and save them as <name>_masks, "
    "or give --labels cp_masks if they are right as they are"
)
"""Why results are no labels by themselves, and what to do."""


def _pairs_in(folder: Path, split: str | None, source: LabelSource) -> Iterator[Pair]:
    """Pairs of one data set, or of the part of it that `split` names."""
    if split and (folder / split).is_dir():
        folder = folder / split
    group = folder.parent.name if folder.name in _PARTS else folder.name
    yield from _pair(_files(folder), _files(folder), group, source, apart=False)
    below = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    labels = [below[name] for name in _LABELS if name in below]
    if _IMAGES not in below or not labels:
        return
    images = _files(_part(below[_IMAGES], split))
    drawn = [path for entry in labels for path in _files(_part(entry, split))]
    yield from _pair(images, drawn, group, source, apart=True)


def _part(folder: Path, split: str | None) -> Path:
    return folder / split if split and (folder / split).is_dir() else folder


def _files(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_file()]


def _pair(images: list[Path], labels: list[Path], group: str, source: LabelSource, *, apart: bool) -> Iterator[Pair]:
    """Pairs images with labels, which lie `apart` in a folder of their own, or are told by their names alone."""
    named, used = by_stem(labels), set()
    for path in images:
        stem, ending = split_name(path)
        if ending not in IMAGE_ENDINGS or stem.lower().endswith((_MASKS, *_RESULTS)):
            continue
        base = stem[: -len(_IMG)] if stem.lower().endswith(_IMG) else stem
        names = (base, stem, path.stem)
        drawn = find_labels(named, [f"{name}{end}" for end in (_MASKS, _SEG, *[""] * apart) for name in names])
        result = None if drawn else find_labels(named, [f"{name}{_RESULT}" for name in names])
        if result and source is LabelSource.CP_MASKS:
            drawn, result = result, None
        if drawn is not None:
            used.add(drawn)
        yield Pair(base, group, path, drawn, result)
    for path in labels:
        stem, ending = split_name(path)
        name = stem.lower()
        marked = apart or name.endswith(_MASKS)
        if ending and path not in used and marked and not name.endswith((*_RESULTS, *[_SEG] * apart)):
            yield Pair(stem[: -len(_MASKS)] if name.endswith(_MASKS) else stem, group, None, path)
