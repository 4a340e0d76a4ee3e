"""How the time of mask recovery grows: with pixels, with objects, with their size. Draws docs/performance_scaling.png.

Every point is measured in a process of its own, which also tells the memory it takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from fields import Sample, mosaic, perfect_maps
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
SIDES = (256, 512, 1024, 2048, 4096, 8192)
CELLPOSE_SIDES = (256, 512, 1024, 2048)
DENSITY = 700 / 1024**2
OBJECTS = (10, 100, 1_000, 10_000, 50_000)
CROWDED = 24
"""Diameter of the objects of that sweep: 50,000 of them fit into 8192 x 8192 px."""
SHARED = 4096
ENLARGED = (1, 2, 4, 8)
"""Times by which objects of 30 px are enlarged in an image of SHARED px, so that fewer have the same pixels."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled data sets: <set>/train/<name>_img.png")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance_scaling.png")
    options = parser.parse_args()
    pixels = [_measured(mosaic(options.data, side, round(DENSITY * side**2)), options.peers) for side in SIDES]
    dense = mosaic(options.data, SIDES[-1], 52_000, CROWDED)
    objects = [_measured(_thinned(dense, count)) for count in OBJECTS]
    sizes = []
    for factor in ENLARGED:
        side = SHARED // factor
        small = mosaic(options.data, side, round(DENSITY * side**2))
        sizes.append(_measured(_enlarged(small, factor), diameter=30 * factor))
    figures = {"pixels": pixels, "objects": objects, "sizes": sizes}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    _draw(figures, options.out)
    (ROOT / "build" / "scaling.json").write_text(json.dumps(figures, indent=2) + "\n")


def _measured(sample: Sample, peers: Path | None = None, diameter: float = 30) -> dict[str, Any]:
    """Returns what recovering a sample from its perfect flows takes, three times; with Cellpose where it is quick."""
    maps = perfect_maps(sample.labels)
    kept = int(np.count_nonzero(sample.labels))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.npy"
        np.save(path, maps)
        command = [sys.executable, ROOT / "benchmarks" / "recovery.py", path]
        runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(3)]
        found = sorted(runs, key=lambda run: run["seconds"])[1]
        if peers and maps.shape[1] in CELLPOSE_SIDES:
            script = ROOT / "benchmarks" / "peers" / "cellpose_recovery.py"
            tasks = f"{json.dumps({'maps': str(path)})}\n" * 2
            lines = subprocess.check_output([peers, script], input=tasks, text=True).splitlines()
            found["cellpose_seconds"] = json.loads(lines[-1])["seconds"]
    found |= {"side": maps.shape[1], "kept_pixels": kept, "diameter": diameter}
    print(found, flush=True)
    return found


def _thinned(sample: Sample, objects: int) -> Sample:
    """Keeps so many of the objects, spread over the image."""
    order = np.random.default_rng(0).permutation(int(sample.labels.max()))
    chosen = np.zeros(order.size + 1, np.int32)
    chosen[1 + order[:objects]] = np.arange(1, min(objects, order.size) + 1)
    return Sample(sample.name, sample.image, chosen[sample.labels])


def _enlarged(sample: Sample, factor: int) -> Sample:
    """Enlarges the image and its objects."""
    labels = np.kron(sample.labels, np.ones((factor, factor), np.int32))
    smooth = cv2.medianBlur(labels.astype(np.uint16), 5).astype(np.int32)
    return Sample(sample.name, sample.image, smooth)


def _draw(figures: dict[str, list[dict[str, Any]]], out: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")

    def curve(axis: Any, points: list[dict[str, Any]], x: str, y: str, label: str, scale: float = 1) -> NDArray[Any]:
        known = [point for point in points if y in point]
        values = np.array([[point[x], point[y] * scale] for point in known])
        axis.plot(values[:, 0], values[:, 1], "o-", label=label)
        return values

    for point in figures["pixels"]:
        point["megapixels"] = point["side"] ** 2 / 1e6
    ours = curve(axes[0], figures["pixels"], "megapixels", "seconds", "CellServe")
    curve(axes[0], figures["pixels"], "megapixels", "cellpose_seconds", "Cellpose 3.1")
    axes[0].plot(ours[:, 0], ours[-1, 1] / ours[-1, 0] * ours[:, 0], "--", color="grey", label="proportional")
    axes[0].set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds", title="700 objects a megapixel")
    for point in figures["objects"]:
        point["kept_megapixels"] = point["kept_pixels"] / 1e6
    points = curve(axes[1], figures["objects"], "kept_megapixels", "seconds", "CellServe")
    for (x, y), point in zip(points, figures["objects"], strict=True):
        axes[1].annotate(f"{point['objects']:,}", (x, y), xytext=(-6, 8), textcoords="offset points", fontsize=8)
    axes[1].set(xlabel="megapixels of objects", ylabel="seconds", title="8192 x 8192 px, 10 to 50,000 objects")
    points = curve(axes[2], figures["sizes"], "objects", "seconds", "CellServe")
    for (x, y), point in zip(points, figures["sizes"], strict=True):
        axes[2].annotate(f"{point['diameter']:.0f} px", (x, y), xytext=(-6, 8), textcoords="offset points", fontsize=8)
    axes[2].set(xscale="log", xlabel="objects", ylabel="seconds", title="4096 x 4096 px, fewer but larger objects")
    for axis in axes[1:]:
        axis.margins(x=0.1, y=0.2)
        axis.set_ylim(bottom=0)
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
