"""Are our masks Cellpose's masks? Same weights, parameters and images, through the service and its `eval`."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from cellserve import Client, Segmentation
from cellserve_postprocess import average_precision, median_diameter
from numpy.typing import NDArray

IMAGES = ("dsb2018/test/1f6b7cead153", "isbi2009/test/gnf_dna-1", "usiigaci/test/set50")
NITER = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that one side has and the other, at IoU 0.5, has not.

    Attributes:
        image: Name of the image.
        side: Who has it: "CellServe" or "Cellpose".
        centroid: (y, x).
        area: Pixels.
        best_iou: IoU with the most similar object of the other side.
        cause: Measured reason.
    """

    image: str
    side: str
    centroid: tuple[float, float]
    area: int
    best_iou: float
    cause: str


def agreement(gateway: str, data: Path, peers: Path, weights: Path, pictures: Path) -> tuple[float, list[Difference]]:
    """Segments three real images both ways.

    Args:
        gateway: Address of the gateway.
        data: Folder of the data sets.
        peers: Python of the environment with Cellpose.
        weights: Checkpoint of network 0, which Cellpose loads as it is; the service runs `ensemble=False`.
        pictures: Folder for pictures of the differences.

    Returns:
        Mean average precision at IoU 0.5 of ours against Cellpose's, and every object that differs.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    scores, differences = [], []
    with Client(gateway) as client, tempfile.TemporaryDirectory() as folder:
        for name in IMAGES:
            image = imagecodecs.imread(data / f"{name}_img.png")
            diameter = median_diameter(imagecodecs.imread(data / f"{name}_masks.png"))
            ours = client.segment(
                image, ensemble=False, diameter=diameter, niter=NITER, outputs=("flows", "cell_probability")
            )
            theirs = _cellpose(peers, weights, image, diameter, Path(folder))
            scores.append(float(average_precision(theirs["masks"], ours.labels, [0.5])[0]))
            found = _differences(name, ours, theirs)
            differences += found
            print(f"{name}: {len(ours.objects)} and {theirs['masks'].max()} objects, AP {scores[-1]:.3f}", flush=True)
            picture = _picture(image, ours.labels, theirs["masks"])
            (pictures / f"{name.replace('/', '_')}.png").write_bytes(imagecodecs.png_encode(picture))
    return float(np.mean(scores)), differences


def _cellpose(
    peers: Path, weights: Path, image: NDArray[np.uint8], diameter: float, folder: Path
) -> dict[str, NDArray]:
    tifffile.imwrite(folder / "image.tif", image)
    script = Path(__file__).parent / "peers" / "cellpose_eval.py"
    command = [peers, script, "--weights", weights, "--image", folder / "image.tif", "--out", folder / "out.npz"]
    subprocess.run([*command, "--diameter", str(diameter), "--niter", str(NITER)], check=True, capture_output=True)
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def _differences(name: str, ours: Segmentation, theirs: dict[str, NDArray]) -> list[Difference]:
    iou = _iou(ours.labels, theirs["masks"])
    found = []
    for side, labels, other, matrix in (
        ("CellServe", ours.labels, theirs["masks"], iou),
        ("Cellpose", theirs["masks"], ours.labels, iou.T),
    ):
        for index in np.flatnonzero(matrix.max(axis=1, initial=0) <= 0.5):
            inside = labels == index + 1
            ys, xs = np.nonzero(inside)
            found.append(
                Difference(
                    name,
                    side,
                    (float(ys.mean()), float(xs.mean())),
                    len(ys),
                    float(matrix[index].max(initial=0)),
                    _cause(inside, other, ours, theirs),
                )
            )
    return found


def _cause(inside: NDArray[np.bool_], other: NDArray, ours: Segmentation, theirs: dict[str, NDArray]) -> str:
    """Says what the other side did with an object's pixels, and how far the two networks' outputs differ there."""
    covered = np.bincount(other[inside], minlength=2)
    taken = np.flatnonzero(covered[1:]) + 1
    flows = np.abs(ours.flows[:, inside] - theirs["flows"][:, inside] / 5).max() if ours.flows is not None else np.nan
    logits = np.abs(ours.cell_probability[inside] - theirs["cell_probability"][inside]).max()
    share = covered[1:].sum() / inside.sum()
    what = (
        "dropped (flow error or size at the threshold)"
        if share < 0.1
        else f"shared by {len(taken)} object(s), {share:.0%}"
    )
    return f"{what}; outputs differ there by at most {flows:.2f} (flow) and {logits:.2f} (logit)"


def _iou(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Returns the IoU of every object of `a` with every one of `b`."""
    rows, columns = int(a.max(initial=0)) + 1, int(b.max(initial=0)) + 1
    overlap = np.bincount((a.astype(np.int64) * columns + b).ravel(), minlength=rows * columns).reshape(rows, columns)
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    return (overlap / np.maximum(union, 1))[1:, 1:]


def _picture(image: NDArray[np.uint8], ours: NDArray, theirs: NDArray) -> NDArray[np.uint8]:
    """Draws borders: yellow where both agree, green ours alone, magenta Cellpose's alone."""
    low, high = np.percentile(image, (1, 99.8))
    grey = (np.clip((image - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    mine, other = _borders(ours), _borders(theirs)
    picture[mine & other] = 255, 220, 0
    picture[mine & ~other] = 0, 255, 0
    picture[other & ~mine] = 255, 0, 255
    return picture


def _borders(labels: NDArray) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge
