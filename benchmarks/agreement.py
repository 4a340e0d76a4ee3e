"""Are our masks Cellpose's masks? Same weights, parameters and images, through the service and its `eval`."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from cellserve import Client, SegmentParams
from cellserve_evaluation.labels import read_labels
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import median_diameter
from numpy.typing import NDArray

IMAGES = ("dsb2018/test/1f6b7cead153", "isbi2009/test/gnf_dna-1", "usiigaci/test/set50")
NITER = 200


@dataclass(frozen=True, slots=True)
class Masks:
    """What one side found.

    Attributes:
        side: "CellServe" or "Cellpose".
        labels: Label image [Y, X].
        candidates: Label image [Y, X] before the quality filter.
        flow_errors: Flow error of each candidate.
    """

    side: str
    labels: NDArray[np.integer]
    candidates: NDArray[np.integer]
    flow_errors: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that one side has and the other, at IoU 0.5, has not.

    Attributes:
        image: Name of the image.
        side: Who has it: "CellServe" or "Cellpose".
        centroid: (y, x).
        area: Pixels.
        best_iou: IoU with the most similar object of the other side.
        cause: What the other side measured there.
    """

    image: str
    side: str
    centroid: tuple[float, float]
    area: int
    best_iou: float
    cause: str


def agreement(
    gateway: str, data: Path, peers: Path, weights: Path, pictures: Path
) -> tuple[float, float, list[Difference]]:
    """Segments three real images both ways.

    Args:
        gateway: Address of the gateway.
        data: Folder of the data sets.
        peers: Python of the environment with Cellpose.
        weights: Checkpoint of network 0, which Cellpose loads as it is; the service runs `ensemble=False`.
        pictures: Folder for pictures of the differences.

    Returns:
        Mean average precision at IoU 0.5 of ours against Cellpose's with the same `niter`, the same against Cellpose's
        with its own default, and every object that differs with the same `niter`.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    scores, by_default, differences = [], [], []
    with Client(gateway) as client, tempfile.TemporaryDirectory() as folder:
        for name in IMAGES:
            image = imagecodecs.imread(data / f"{name}_img.png")
            diameter = median_diameter(read_labels(data / f"{name}_masks.png"))
            params = SegmentParams(ensemble=False, diameter=diameter, niter=NITER)
            unfiltered = client.segment(image, params, flow_threshold=0)
            errors = np.array([found.flow_error for found in unfiltered.objects])
            ours = Masks("CellServe", client.segment(image, params).labels, unfiltered.labels, errors)
            theirs, _ = cellpose(peers, weights, image, diameter, Path(folder), NITER)
            default, niter = cellpose(peers, weights, image, diameter, Path(folder), None)
            scores.append(float(average_precision(theirs.labels, ours.labels, [0.5])[0]))
            by_default.append(float(average_precision(default.labels, ours.labels, [0.5])[0]))
            differences += [*missing(name, ours, theirs), *missing(name, theirs, ours)]
            print(
                f"{name}: {ours.labels.max()} and {theirs.labels.max()} objects, AP {scores[-1]:.3f}; "
                f"by Cellpose's default, niter {niter}: {default.labels.max()} objects, AP {by_default[-1]:.3f}",
                flush=True,
            )
            drawn = imagecodecs.png_encode(picture(image, ours.labels, theirs.labels))
            (pictures / f"{name.replace('/', '_')}.png").write_bytes(drawn)
    return float(np.mean(scores)), float(np.mean(by_default)), differences


def cellpose(
    peers: Path, weights: Path, image: NDArray[np.uint8], diameter: float, folder: Path, niter: int | None
) -> tuple[Masks, int]:
    """Returns Cellpose's masks, and the `niter` that it took; None leaves the choice to Cellpose."""
    tifffile.imwrite(folder / "image.tif", image)
    script = Path(__file__).parent / "peers" / "cellpose_eval.py"
    command = [peers, script, "--weights", weights, "--image", folder / "image.tif", "--out", folder / "out.npz"]
    given = [] if niter is None else ["--niter", str(niter)]
    subprocess.run([*command, "--diameter", str(diameter), *given], check=True, stdout=subprocess.DEVNULL)
    with np.load(folder / "out.npz") as arrays:
        masks = Masks("Cellpose", arrays["masks"], arrays["candidates"], arrays["flow_errors"])
        return masks, int(arrays["niter"])


def missing(name: str, has: Masks, lacks: Masks) -> list[Difference]:
    """Returns the objects of one side that the other lacks at IoU 0.5, with what its quality filter made of them."""
    found = []
    best = _iou(has.labels, lacks.labels).max(axis=1, initial=0)
    own, other = _iou(has.labels, has.candidates), _iou(has.labels, lacks.candidates)
    for index in np.flatnonzero(best <= 0.5):
        ys, xs = np.nonzero(has.labels == index + 1)
        own_error = has.flow_errors[own[index].argmax()]
        candidate = other[index].argmax()
        if other[index, candidate] > 0.5:
            error = lacks.flow_errors[candidate]
            cause = f"{lacks.side} finds it too, flow error {error:.3f} (limit 0.4); {has.side}'s is {own_error:.3f}"
        else:
            cause = f"{lacks.side}'s pixels end elsewhere: best candidate IoU {other[index, candidate]:.2f}"
        found.append(Difference(name, has.side, (float(ys.mean()), float(xs.mean())), len(ys), best[index], cause))
    return found


def _iou(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Returns the IoU of every object of `a` with every one of `b`."""
    rows, columns = int(a.max(initial=0)) + 1, int(b.max(initial=0)) + 1
    overlap = np.bincount((a.astype(np.int64) * columns + b).ravel(), minlength=rows * columns).reshape(rows, columns)
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    return (overlap / np.maximum(union, 1))[1:, 1:]


def picture(image: NDArray[np.uint8], ours: NDArray, theirs: NDArray) -> NDArray[np.uint8]:
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
