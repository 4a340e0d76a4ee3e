"""Pictures of an evaluation, truth and segmentation outlined: best, median and worst images, and every volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from cellserve_formats import replacing
from cellserve_formats.montage import write_montage
from cellserve_postprocess import trace_outlines
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from .evaluation import Pass, Scored

COLUMNS = 4
"""Images in a row: of the best, the median and the worst of a set."""
WINDOW = 11.0
"""Side of the part of an image that is shown, in median object diameters: objects look equally large everywhere."""

_TRUTH = ("#00d5ff", 2.0)  # colour; width in points
_FOUND = ("#ff3d00", 1.0)  # lies on the truth, which shows on both sides of it
_HALO = [Stroke(linewidth=2.8, foreground="black", alpha=0.4), Normal()]  # sets the truth off from light ground
_AGREED = 0.05  # interest of an outline that both share, where one that only one has is 1
_NEARLY = 0.97
_GAMMA = 0.75  # of grey images: dim objects beside bright ones
_FAINT = "0.35"

# Inches.
_PANEL_IN = 2.9
_GAP_IN = 0.12
_TITLE_IN = 0.42
_HEADING_IN = 0.45
_LEGEND_IN = 0.7
_MARGIN_IN = 0.4
_DPI = 150

_SHARP_BELOW = 350  # pixels of a panel's side
_LONGEST_NAME = 40


class Window(NamedTuple):
    """A part of an image, half open."""

    rows: slice
    columns: slice


def write_pictures(path: Path, entry: Pass) -> list[Path]:
    """Writes the contact sheet of a pass, and beside it a montage of each volume as `<sheet>_<group>_<name>.png`.

    Args:
        path: The file of the contact sheet, of which there is none if all samples are volumes.
        entry: What to draw.

    Returns:
        The files that were written.
    """
    flat = [scored for scored in entry.scored if not scored.sample.is_volume]
    written = []
    if flat:
        write_sheet(path, entry.name, flat)
        written.append(path)
    for sample, labels in ((scored.sample, scored.labels) for scored in entry.scored if scored.sample.is_volume):
        file = path.with_name(f"{path.stem}_{sample.group}_{sample.name}.png")
        image = np.moveaxis(sample.image, 0, 1)
        write_montage(file, image, labels, truth=sample.labels, anisotropy=sample.anisotropy)
        written.append(file)
    return written


def write_sheet(path: Path, name: str, scored: Sequence[Scored]) -> None:
    """Draws the images that came out best, in the middle and worst, set by set, and writes a PNG.

    Images are ranked by average precision at IoU 0.5, then by aggregated Jaccard index. Of an image larger than
    WINDOW object diameters the part is shown where truth and segmentation differ most.

    Args:
        path: The file.
        name: The heading.
        scored: Images, no volumes.

    Raises:
        ValueError: There is no image.
    """
    if not scored:
        raise ValueError(f"no image of the pass {name!r} was segmented: nothing to draw")
    by_set = groupby(sorted(scored, key=lambda s: s.sample.group), lambda s: s.sample.group)
    sets = {group: choose_images(list(members)) for group, members in by_set}
    with replacing(path) as file:
        _draw(name, sets).savefig(file, format="png", dpi=_DPI)


def choose_images(scored: Sequence[Scored]) -> list[tuple[str, list[Scored]]]:
    """Picks the best, median and worst images of a set, a row of each; all of a small set.

    Returns:
        Rows of at most COLUMNS images with their titles, each from better to worse; no image occurs twice.
    """
    ordered = sorted(scored, key=lambda s: (s.score.precision, s.score.aggregated_jaccard), reverse=True)
    if len(ordered) <= 3 * COLUMNS:
        starts = range(0, len(ordered), COLUMNS)
        return [("" if start else "best first", ordered[start : start + COLUMNS]) for start in starts]
    middle = (len(ordered) - COLUMNS) // 2
    return [
        ("best", ordered[:COLUMNS]),
        ("median", ordered[middle : middle + COLUMNS]),
        ("worst", ordered[-COLUMNS:]),
    ]


def choose_window(truth: NDArray[Any], found: NDArray[Any], side: int) -> Window:
    """Finds the part of an image where two segmentations differ most, or where most objects lie if they agree.

    Args:
        truth, found: Label images [Y, X].
        side: Wanted height and width, pixels; less where the image is smaller.
    """
    true, other = _edges(truth), _edges(found)
    interest = (true != other) + np.float32(_AGREED) * (true & other)
    height, width = (min(side, length) for length in truth.shape)
    # Sums over the window that starts at each pixel: differences of the sums over all that lies above and to the left.
    above = cv2.integral(interest, sdepth=cv2.CV_64F)
    sums = above[height:, width:] - above[:-height, width:] - above[height:, :-width] + above[:-height, :-width]
    best = np.argwhere(sums >= _NEARLY * sums.max())
    # Many are as good as the best: of these the one in the middle, which has its objects in the middle.
    y, x = best[np.square(best - best.mean(axis=0)).sum(axis=1).argmin()].tolist()
    return Window(slice(y, y + height), slice(x, x + width))


def render(image: NDArray[Any]) -> NDArray[np.float32]:
    """Makes an image visible: float32 [Y, X, 3], 0 to 1.

    Args:
        image: [C, Y, X]: grey; cells (drawn grey) and nuclei (drawn blue); or red, green and blue.
    """
    if len(image) == 3:
        return np.moveaxis(_stretch(image), 0, -1)
    grey, *nuclei = (_stretch(plane) ** _GAMMA for plane in image)
    blue = nuclei[0] if nuclei else np.zeros_like(grey)
    return np.stack([grey * (1 - 0.6 * blue), grey * (1 - 0.3 * blue), np.maximum(grey, blue)], axis=-1)


def _draw(name: str, sets: dict[str, list[tuple[str, list[Scored]]]]) -> Figure:
    width = _MARGIN_IN + COLUMNS * (_PANEL_IN + _GAP_IN)
    rows = sum(len(ranks) for ranks in sets.values())
    height = _LEGEND_IN + len(sets) * _HEADING_IN + rows * (_PANEL_IN + _TITLE_IN)
    figure = Figure(figsize=(width, height), facecolor="white")

    def text(x: float, y: float, words: str, **style: Any) -> None:
        """Places words; inches from the left and the top."""
        figure.text(x / width, 1 - y / height, words, va="center", **style)

    lines = [Line2D([], [], color=colour, linewidth=1.3 * thick) for colour, thick in (_TRUTH, _FOUND)]
    place = (0.5, 1 - _LEGEND_IN / height, 0.5 - _GAP_IN / width, _LEGEND_IN / height)
    figure.legend(
        lines, ["truth", "segmentation"], loc="center right", bbox_to_anchor=place, ncols=2, frameon=False, fontsize=11
    )
    text(_GAP_IN, 0.26, name, fontsize=12, weight="bold")
    text(_GAP_IN, 0.52, f"parts of {WINDOW:g} object diameters, where the two differ most", fontsize=8.5, color=_FAINT)
    top = _LEGEND_IN
    for group, ranks in sets.items():
        text(_GAP_IN, top + 0.6 * _HEADING_IN, group, fontsize=12, weight="bold")
        top += _HEADING_IN
        for title, images in ranks:
            text(0.5 * _MARGIN_IN, top + _TITLE_IN + 0.5 * _PANEL_IN, title, fontsize=10, rotation=90, ha="center")
            for column, scored in enumerate(images):
                left, bottom = _MARGIN_IN + column * (_PANEL_IN + _GAP_IN), top + _TITLE_IN + _PANEL_IN
                text(left, top + 0.3 * _TITLE_IN, _shorten(scored.sample.name), fontsize=8.5)
                text(left, top + 0.72 * _TITLE_IN, _caption(scored), fontsize=7.5, color=_FAINT)
                place = (left / width, 1 - bottom / height, _PANEL_IN / width, _PANEL_IN / height)
                _draw_panel(figure.add_axes(place), scored)
            top += _TITLE_IN + _PANEL_IN
    return figure


def _draw_panel(axes: Axes, scored: Scored) -> None:
    """Draws the image and both outlines, at the scale of the panel."""
    sample = scored.sample
    diameter = scored.score.true_diameter or max(sample.labels.shape) / WINDOW
    window = choose_window(sample.labels, scored.labels, math.ceil(WINDOW * diameter))
    picture = render(sample.image[:, window.rows, window.columns])
    axes.imshow(picture, interpolation="bicubic" if len(picture) < _SHARP_BELOW else "antialiased")
    for labels, (colour, thick), effects in ((sample.labels, _TRUTH, _HALO), (scored.labels, _FOUND, None)):
        outlines = [line[:, ::-1] for line in trace_outlines(labels[window.rows, window.columns]) if len(line)]
        closed = [np.concatenate([line, line[:1]]) for line in outlines]
        axes.add_collection(LineCollection(closed, colors=colour, linewidths=thick, path_effects=effects))
    axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5), anchor="NW")
    axes.set_axis_off()


def _caption(scored: Scored) -> str:
    entry = scored.score
    return f"AP {entry.precision:.2f},  {entry.true_objects} true, {entry.found_objects} found"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:-1] |= labels[:-1] != labels[1:]
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edges


def _stretch(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Maps the 0.5th and 99.5th percentile to 0 and 1, and clips; one stretch for all planes keeps colours."""
    low, high = np.percentile(planes, (0.5, 99.5))
    stretched: NDArray[np.float32] = np.clip((planes - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return stretched
