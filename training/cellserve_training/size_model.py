"""The fit of the size model: ridge regression from styles to the logarithm of the diameter (paper, "Test time
resizing").

Each image is looked at in several sizes, so that the model meets many diameters; each view is normalised, cut into
tiles and averaged by the functions that the service uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from cellserve_evaluation.sample import Sample
from cellserve_networks.network import CPnet, StyleNetwork
from cellserve_postprocess import STYLE_SIZE, SizeModel, image_style, median_diameter, style_grid
from cellserve_preprocess import Normalization, normalize, rescaled_shape, resize
from numpy.typing import NDArray

SCALES = (0.4, 2.5)
"""Smallest and largest factor by which a view differs in size from its image."""

DIAMETERS = (6.0, 200.0)
"""Views whose objects would be smaller or larger than this, in pixels, are not made."""

RIDGES = (1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6)
"""Weights of the squared coefficients to choose from. The numbers of a style differ by some hundredths between images:
what weight is right depends on how many views there are, and Cellpose's 1 is far too much for a few thousand."""

TILES_PER_VIEW = 16  # fewer than in service: their mean is noisier, and the fit meets more views in the same time
BATCH = 8
FOLDS = 5

Floats = NDArray[np.float64]
Track = Callable[[Sequence[Sample]], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class SizeFit:
    """A size model and what it is worth.

    The figures are those of images in their own size, each predicted by a model fitted without it (five folds).

    Attributes:
        model: Fitted on all views of all images.
        ridge: Weight of the squared coefficients.
        images: Number of images with objects.
        views: Number of views.
        correlation: Of true and predicted diameters.
        error: Median of |predicted / true - 1|.
    """

    model: SizeModel
    ridge: float
    images: int
    views: int
    correlation: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of a regression.

    Attributes:
        styles: [n, 256], unit length.
        diameters: [n] in pixels of the view.
        images: [n], number of the image.
        native: [n], True where the view has the image's own size.
    """

    styles: Floats
    diameters: Floats
    images: NDArray[np.int64]
    native: NDArray[np.bool_]


def fit(
    network: CPnet,
    samples: Sequence[Sample],
    *,
    seed: int = 0,
    ridge: float | None = None,
    views: int = 8,
    bfloat16: bool = False,
    track: Track = iter,
) -> SizeFit:
    """Fits a size model to a network's styles.

    Args:
        network: In evaluation mode, on the device to run on; network 0 of a family.
        samples: Labelled images; those without objects are left out.
        seed: Decides the sizes of the views and the folds.
        ridge: Weight of the squared coefficients (Cellpose: 1). None: the one of `RIDGES` whose predictions of
            left-out images are best.
        views: Views of each image, its own size among them.
        bfloat16: Compute in half precision, as the service does where the processor can: several times as fast there.
        track: Wraps the samples as they are worked on, for a progress bar.

    Raises:
        ValueError: Fewer than ten images have objects.
    """
    rng = np.random.default_rng(seed)
    diam_mean = float(network.get_buffer("diam_mean"))
    rows = _collect(_Styles(network, bfloat16), samples, views, rng, track)
    count = int(rows.images.max(initial=-1)) + 1
    if count < 2 * FOLDS:
        raise ValueError(f"{count} images with objects; a size model takes {2 * FOLDS} or more")
    folds = rng.permutation(count) % FOLDS
    trials = {
        weight: _cross_validate(rows, folds, weight, diam_mean) for weight in (RIDGES if ridge is None else (ridge,))
    }
    ridge, (true, predicted) = min(trials.items(), key=lambda trial: _squared_error(*trial[1]))
    return SizeFit(
        model=_regress(rows.styles, rows.diameters, ridge, diam_mean),
        ridge=ridge,
        images=count,
        views=len(rows.diameters),
        correlation=float(np.corrcoef(true, predicted)[0, 1]),
        error=float(np.median(np.abs(predicted / true - 1))),
    )


class _Styles:
    """A network's styles of images, as the service computes them."""

    def __init__(self, network: CPnet, bfloat16: bool) -> None:
        self._network = StyleNetwork(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = next(network.parameters()).device
        self._bfloat16 = bfloat16

    def of(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the style [256] of an image [2, Y, X]."""
        grid = style_grid(planes.shape[1:], TILES_PER_VIEW)
        styles = []
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            for start in range(0, len(grid), BATCH):
                tiles = torch.from_numpy(grid.cut(planes, start, min(start + BATCH, len(grid))))
                styles.append(self._network(tiles.to(self._device, memory_format=torch.channels_last)).float().cpu())
        return image_style(torch.cat(styles).numpy())


def _collect(styles: _Styles, samples: Sequence[Sample], views: int, rng: np.random.Generator, track: Track) -> _Rows:
    """Computes the styles of all views."""
    rows: list[tuple[NDArray[np.float32], float, int, bool]] = []
    count = 0
    for sample in track(samples):
        diameter = median_diameter(sample.labels)
        if not diameter:
            continue
        planes = normalize(sample.planes(), Normalization()).planes
        for view, factor in _views(planes, diameter, views, rng):
            rows.append((styles.of(view), diameter * factor, count, factor == 1))
        count += 1
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    vectors, diameters, images, native = map(np.array, columns)
    return _Rows(vectors.astype(np.float64), diameters, images, native)


def _views(
    planes: NDArray[np.float32], diameter: float, count: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """An image in its own size, then in random ones; every other of these without its nuclei, as callers send them."""
    yield planes, 1.0
    low, high = (math.log(factor) for factor in SCALES)
    low, high = max(low, math.log(DIAMETERS[0] / diameter)), min(high, math.log(DIAMETERS[1] / diameter))
    if low >= high:  # its own objects are so small or so large that no other size is of use
        return
    for index in range(1, count):
        factor = math.exp(rng.uniform(low, high))
        view = resize(planes, rescaled_shape(planes.shape[1:], factor))
        if index % 2:
            view = np.stack([view[0], np.zeros_like(view[0])])
        yield view, factor


def _regress(styles: Floats, diameters: Floats, ridge: float, diam_mean: float) -> SizeModel:
    """Solves the normal equations."""
    targets = np.log(diameters / diam_mean)
    style_mean, target_mean = styles.mean(axis=0), float(targets.mean())
    centred = styles - style_mean
    normal = centred.T @ centred + ridge * np.eye(STYLE_SIZE)
    coefficients = scipy.linalg.solve(normal, centred.T @ (targets - target_mean), assume_a="pos")
    return SizeModel(tuple(coefficients.tolist()), tuple(style_mean.tolist()), target_mean, diam_mean)


def _cross_validate(rows: _Rows, folds: NDArray[np.int64], ridge: float, diam_mean: float) -> tuple[Floats, Floats]:
    """True and predicted diameters of the images in their own size, each by a model fitted on the other folds."""
    true, predicted = [], []
    fold = folds[rows.images]
    for index in range(FOLDS):
        model = _regress(rows.styles[fold != index], rows.diameters[fold != index], ridge, diam_mean)
        for row in np.flatnonzero((fold == index) & rows.native):
            true.append(rows.diameters[row])
            predicted.append(model.diameter(rows.styles[row]))
    return np.array(true), np.array(predicted)


def _squared_error(true: Floats, predicted: Floats) -> float:
    """Mean squared error of the logarithms."""
    return float(np.mean(np.log(predicted / true) ** 2))
