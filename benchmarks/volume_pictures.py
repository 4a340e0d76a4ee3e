"""The pictures of docs/guides/volumes.md: what the modes volume and stitch make of four labelled volumes.

    make with CMD='python benchmarks/volume_pictures.py --data DIR/data'

Each volume is segmented by network 0 of the default family, once in each mode. The diameter is the true median diameter
of the sections of objects. Each picture is one section: the image, the truth, volume and stitch, from left to right.
About ten minutes on two cores. Label images go to build/volume_pictures. A second run draws from the label images
that are there, without the service.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from cellserve import Client, Image
from cellserve_contract.params import StackMode
from cellserve_evaluation.metrics import average_precision
from cellserve_evaluation.sample import Kind, Sample
from cellserve_formats.labels_tiff import write_labels_tiff
from cellserve_formats.overlay import draw_overlay
from cellserve_formats.png import write_png
from numpy.typing import NDArray

MODES: tuple[StackMode, ...] = ("volume", "stitch")
GAP = 8
"""White pixels between the panels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A section of a volume.

    Attributes:
        volume: `DIR/data/volumes/<volume>_img.tif` and `_masks.tif`.
        section: Index into the volume that leaves one plane.
        anisotropy: Distance of planes over that of pixels.
        scale: Pixels of the picture per pixel of the volume.
    """

    volume: str
    section: tuple[Any, ...]
    anisotropy: float
    scale: int


ALONG_Z = slice(None)
PICTURES = {
    "volumes_noise": Picture("ovule_nuclei_1135", np.s_[ALONG_Z, 80], 2.24, 2),
    "volumes_cells": Picture("ovule_membrane", np.s_[1, :], 1.57, 2),
    "volumes_dense": Picture("stardist_nuclei", np.s_[ALONG_Z, 54], 2.0, 4),
    "volumes_blur": Picture("mouse_embryo_8cell_nuclei", np.s_[ALONG_Z, 57, 10:95], 1.0, 3),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="volumes/<name>_img.tif, _masks.tif")
    parser.add_argument("--address", default=os.environ.get("CELLSERVE_ADDRESS", "localhost:50051"))
    parser.add_argument("--labels", type=Path, default=Path("build/volume_pictures"), help="folder of label images")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    for name, picture in PICTURES.items():
        image, truth = (
            tifffile.imread(options.data / "volumes" / f"{picture.volume}_{kind}.tif") for kind in ("img", "masks")
        )
        diameter = Sample(picture.volume, "volumes", Kind.FLUORESCENCE, image[np.newaxis], truth).diameter
        truth = _consecutive(truth)
        panels = [np.zeros_like(truth), truth]
        for mode in MODES:
            file = options.labels / f"{name}_{mode}.tif"
            if not file.exists():
                _segment(
                    file, image, options.address, stack_mode=mode, diameter=diameter, anisotropy=picture.anisotropy
                )
            panels.append(tifffile.imread(file))
            precision = average_precision(truth, panels[-1], [0.25, 0.5, 0.75])
            print(
                f"{name} {mode}: {panels[-1].max()} objects of {truth.max()}, AP {np.round(precision, 3)}", flush=True
            )
        write_png(options.out / f"{name}.png", draw(image, panels, picture))


def draw(image: NDArray[Any], panels: list[NDArray[Any]], picture: Picture) -> NDArray[np.uint8]:
    """Draws a section with the labels of each panel, side by side."""
    section = _stretched(image[picture.section], picture)
    drawn = [
        draw_overlay(Image(section, "YX"), _stretched(labels[picture.section], picture), filled=True)
        for labels in panels
    ]
    gap = np.full((section.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in drawn for part in (panel, gap)][:-1], axis=1)


def _segment(file: Path, image: NDArray[Any], address: str, **params: Any) -> None:
    with Client(address, deadline_s=3600) as client:
        result = client.segment_volume(image, ensemble=False, **params)
    write_labels_tiff(file, result.labels, axes="ZYX")


def _stretched(plane: NDArray[Any], picture: Picture) -> NDArray[Any]:
    """Enlarges a section; a section along z has planes as rows, which are as far apart as in the sample."""
    along_z = picture.section[0] == ALONG_Z
    factors = picture.scale * (picture.anisotropy if along_z else 1.0), picture.scale
    rows, columns = (
        (np.arange(round(length * factor)) / factor).astype(int)
        for length, factor in zip(plane.shape, factors, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def _consecutive(labels: NDArray[Any]) -> NDArray[Any]:
    return np.unique(np.append(0, labels), return_inverse=True)[1][1:].reshape(labels.shape).astype(np.uint16)


if __name__ == "__main__":
    main()
