"""How much a segmentation changes when its image is mirrored, turned or cropped, which changes no object.

    make with CMD='python benchmarks/views.py --data DIR/data'

Each test image is segmented as it is and in each view. The labels of a view are brought back into the place of the
image, and matched with those of the image: average precision, the image's own objects in the place of true ones.
Objects that reach within 2 px of the border of a crop are left out on both sides. The diameter is the true median
diameter in all views, so that the scale is the same. Prints a table and writes build/views.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from cellserve import Client, SegmentParams
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import median_diameter
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]

SETS = ("dsb2018", "isbi2009", "usiigaci")
THRESHOLDS = (0.5, 0.75, 0.9)
BORDER = 2
"""Objects this near to the border of a crop are left out: a crop without its surroundings may cut them."""


@dataclass(frozen=True, slots=True)
class View:
    """A change of an image.

    Attributes:
        make: Returns the view of an array [Y, X].
        restore: Brings an array of the view back into the orientation of the image.
        cut: Pixels that the view lacks on each side.
    """

    make: Callable[[NDArray[Any]], NDArray[Any]]
    restore: Callable[[NDArray[Any]], NDArray[Any]]
    cut: int = 0


def _crop(cut: int) -> View:
    return View(lambda array: array[cut:-cut, cut:-cut], lambda array: array, cut)


VIEWS = {
    "mirrored, left and right": View(np.fliplr, np.fliplr),
    "mirrored, top and bottom": View(np.flipud, np.flipud),
    "turned by 90 degrees": View(np.rot90, lambda array: np.rot90(array, -1)),
    "cropped by 1 px on each side": _crop(1),
    "cropped by 16 px on each side": _crop(16),
}


def compare(original: Labels, changed: Labels, view: View) -> NDArray[np.float64]:
    """Returns the average precision at `THRESHOLDS` of a view's labels, restored, against those of the image."""
    if view.cut:
        inside = original[view.cut : -view.cut, view.cut : -view.cut]
        cut = _at_border(inside) | _at_border(changed)
        original, changed = _without(inside, cut), _without(changed, cut)
    return average_precision(_consecutive(original), _consecutive(changed), list(THRESHOLDS))


def _at_border(labels: Labels) -> NDArray[np.bool_]:
    """Returns the pixels of objects that reach within `BORDER` pixels of the border."""
    frame = np.ones(labels.shape, bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    return np.isin(labels, np.setdiff1d(labels[frame], [0]))


def _without(labels: Labels, cut: NDArray[np.bool_]) -> Labels:
    """Returns a label image without the objects that have most of their pixels in `cut`."""
    inside = np.bincount(labels[cut], minlength=int(labels.max()) + 1)
    return np.where((2 * inside > np.bincount(labels.ravel()))[labels], 0, labels)


def _consecutive(labels: Labels) -> Labels:
    return np.unique(np.append(0, labels), return_inverse=True)[1][1:].reshape(labels.shape)


def measure(client: Client, image: NDArray[Any], true: Labels, ensemble: bool) -> dict[str, list[float]]:
    """Returns, by view, the average precision at `THRESHOLDS` against the image, then at 0.5 against the true labels.

    The entry "as it is" has the latter alone.
    """
    params = SegmentParams(diameter=median_diameter(true), ensemble=ensemble)
    original = client.segment(image, params).labels
    figures = {"as it is": [float(average_precision(true, original, [0.5])[0])]}
    for name, view in VIEWS.items():
        changed = view.restore(client.segment(np.ascontiguousarray(view.make(image)), params).labels)
        figures[name] = compare(original, changed, view).tolist()
        if not view.cut:
            figures[name].append(float(average_precision(true, changed, [0.5])[0]))
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="<set>/test/<name>_img.png, _masks.png")
    parser.add_argument("--images", type=int, default=1000, help="most images of a set")
    parser.add_argument("--single", action="store_true", help="one network of the family instead of all")
    parser.add_argument("--address", default=os.environ.get("CELLSERVE_ADDRESS", "localhost:50051"))
    parser.add_argument("--out", type=Path, default=Path("build/views.json"))
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    if options.out.exists():
        found = json.loads(options.out.read_text())  # of a run that was ended: goes on there
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Client(options.address, deadline_s=3600) as client:
        for name in SETS:
            done = found.setdefault(name, {})
            for path in sorted((options.data / name / "test").glob("*_img.png"))[: options.images]:
                if path.stem in done:
                    continue
                image = imagecodecs.imread(path)
                true = imagecodecs.imread(path.with_name(path.name.replace("_img", "_masks")))
                done[path.stem] = measure(client, image, true, not options.single)
                options.out.write_text(json.dumps(found, indent=1) + "\n")
    print_tables(found)


def print_tables(found: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """Prints a row for each set and view, in Markdown."""
    print("| set | images | view | AP .5 | .75 | .9 | lowest AP .5 of an image | AP .5 against the true labels |")
    print("|---|---|---|---|---|---|---|---|")
    for name, images in found.items():
        plain = np.mean([figures["as it is"][0] for figures in images.values()])
        print(f"| {name} | {len(images)} | as it is | | | | | {plain:.3f} |")
        for view in VIEWS:
            rows = np.array([figures[view] for figures in images.values()])
            half, three_quarters, nine_tenths = rows[:, :3].mean(axis=0)
            against = f"{rows[:, 3].mean():.3f}" if rows.shape[1] > 3 else ""
            levels = f"{half:.3f} | {three_quarters:.3f} | {nine_tenths:.3f} | {rows[:, 0].min():.3f}"
            print(f"| | | {view} | {levels} | {against} |")


if __name__ == "__main__":
    main()
