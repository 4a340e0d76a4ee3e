"""Crops for training: one affine warp per crop, and the changes of appearance that microscopes really show.

Geometry follows the paper (Methods, "Image augmentations for training"): objects scaled to a common size times .75 to
1.25, rotated by any angle with the flow vectors turned along, moved anywhere. Beyond the paper, crops are mirrored and
stretched along a random line, look 8 px past the border of the image, and have flows of unit length. What lies outside
the image is zero, as in the tiles of the service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cellserve_evaluation.sample import Sample
from cellserve_postprocess import FLOW_SCALE, median_diameter
from cellserve_preprocess import MARGIN, Normalization, normalize
from numpy.typing import NDArray

from .targets import cached_flows

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How crops differ from the images they are cut from. Chances are per crop.

    Attributes:
        scale: Smallest and largest factor on the common object size.
        stretch: Largest factor on lengths along a random line; those across it are divided by it. 1 in the paper.
        on_object: Chance that a crop is centred near an object, rather than anywhere.
        appearance: False: geometry alone. True: everything below too.
        recolour: Chance that a colour image turns grey by random shares of red, green and blue, not by their mean.
        drop_nucleus: Chance that a nucleus plane is left out, as callers without one do.
        invert: Chance that a grey image is turned into its negative.
        gamma: Chance of a gamma curve; gamma is between 1 / 1.7 and 1.7.
        illumination: Chance of a brightness that rises along a line.
        blur: Chance of a blur of up to 1.5 px at the common object size.
        noise: Chance of pixel noise, part of it growing with the signal.
        gain: Largest factor on intensities; the smallest is its inverse.
        shift: Standard deviation of a number added to intensities.
    """

    scale: tuple[float, float] = (0.75, 1.25)
    stretch: float = 1.25
    on_object: float = 0.7
    appearance: bool = True
    recolour: float = 0.5
    drop_nucleus: float = 0.15
    invert: float = 0.08
    gamma: float = 0.3
    illumination: float = 0.2
    blur: float = 0.25
    noise: float = 0.3
    gain: float = 1.4
    shift: float = 0.05


LARGEST_WEIGHT = 5.0
"""Of the pixels of small objects in the loss of the flows. In that of the inside map they count by the square root:
by the whole weight it finds debris, by none it misses small objects."""
BETWEEN_WEIGHT = 4.0
"""Of the pixels that have two objects within two pixels: few, but they decide whether neighbours are told apart."""
SHORTEST = 0.05
"""Interpolated flows shorter than this have no direction: they stay as they are."""

PAPER = Augmentation(stretch=1.0, on_object=0.0, appearance=False)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A labelled image, prepared for cutting crops.

    Attributes:
        sample: Image and labels.
        flows: float16 [2, Y, X].
        weights: float32 [N + 1]: what the pixels of each label count in the loss of the flows.
        diameter: Median diameter of its objects in pixels.
        planes: float32 [2, Y, X]: normalised as the service does by default.
    """

    sample: Sample
    flows: NDArray[np.float16]
    weights: Floats
    diameter: float
    planes: Floats


def prepare(sample: Sample, cache: Path) -> Example:
    """Computes, or reads from the cache, what cropping needs."""
    planes = normalize(sample.planes(), Normalization()).planes
    flows, weights = cached_flows(sample.labels, cache), object_weights(sample.labels)
    return Example(sample, flows, weights, median_diameter(sample.labels), planes)


def object_weights(labels: NDArray[Any]) -> Floats:
    """What the pixels of each label count in the loss of the flows, float32 [N + 1].

    A mean over pixels lets an object count by its area, while average precision counts each one alike. So do objects
    smaller than the median here: their pixels count more by the ratio of areas, up to `LARGEST_WEIGHT`.
    """
    areas = np.bincount(labels.ravel())
    median = np.median(areas[1:][areas[1:] > 0])
    weights: Floats = np.clip(median / np.maximum(areas, 1), 1, LARGEST_WEIGHT).astype(np.float32)
    weights[0] = 1
    return weights


def cut_crop(
    example: Example, size: int, diam_mean: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Cuts a random crop.

    Args:
        example: The image.
        size: Side of the crop in pixels.
        diam_mean: Common object size in pixels.
        augmentation: How the crop may differ from the image.
        rng: Source of all randomness.

    Returns:
        The network's input [2, size, size] and its target [5, size, size]: 5 * flow along y and x, 1 inside objects,
        and what a pixel counts in the loss of the flows and in that of the inside map.
    """
    scale = diam_mean / example.diameter * rng.uniform(*augmentation.scale)
    out_to_image = _placement(example.sample.labels, size, scale, augmentation, rng)
    y, x = _window(out_to_image, size, example.sample.labels.shape)
    planes = example.planes[:, y, x]
    if augmentation.appearance:
        planes = _appearance(example, planes, (y, x), scale, augmentation, rng)
    local = out_to_image.copy()
    local[:, 2] -= (x.start, y.start)

    def warp(plane: NDArray[Any], interpolation: int = cv2.INTER_LINEAR) -> NDArray[Any]:
        return cv2.warpAffine(plane, local, (size, size), flags=interpolation | cv2.WARP_INVERSE_MAP)

    image = np.stack([warp(plane) if plane.any() else np.zeros((size, size), np.float32) for plane in planes])
    flow_y, flow_x = (warp(plane) for plane in example.flows[:, y, x].astype(np.float32))
    # Between pixels of two objects, or of one and the ground, interpolation leaves short vectors: in enlarged crops
    # they would teach flows that are too short along every outline.
    length = np.hypot(flow_y, flow_x)
    length[length < SHORTEST] = 1
    labels = warp(example.sample.labels[y, x].astype(np.float32), cv2.INTER_NEAREST)
    inside = (labels > 0).astype(np.float32)
    between = np.where(_between(labels), np.float32(BETWEEN_WEIGHT), np.float32(1))
    of_objects = example.weights[labels.astype(np.intp)]
    flow_weights, inside_weights = np.maximum(of_objects, between), np.maximum(np.sqrt(of_objects), between)
    # The linear part, columns (x, y), takes steps of the crop to steps of the image. Flows turn by the rotation,
    # perhaps mirrored, nearest to it, whose inverse is its transpose: of stretched objects these are nearer to the
    # flows computed anew (mean cosine .98; .99 without a stretch) than by the stretched map or its inverse.
    left, _, right = np.linalg.svd(out_to_image[:, :2])
    turn = left @ right
    flows = (
        inside
        * FLOW_SCALE
        * np.stack([turn[0, 1] * flow_x + turn[1, 1] * flow_y, turn[0, 0] * flow_x + turn[1, 0] * flow_y])
        / length
    )
    return image, np.stack([*flows, inside, flow_weights, inside_weights]).astype(np.float32)


def _between(labels: Floats) -> NDArray[np.bool_]:
    """Where a neighbourhood of 5 x 5 pixels holds two objects."""
    window = np.ones((5, 5), np.uint8)
    largest = cv2.dilate(labels, window)
    smallest = cv2.erode(np.where(labels > 0, labels, np.float32(np.inf)), window)
    between: NDArray[np.bool_] = (largest > 0) & (smallest < largest)
    return between


def _placement(
    labels: NDArray[Any], size: int, scale: float, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Chooses position, angle, flip and stretch: [2, 3], from (x, y) of the crop to (x, y) of the image."""
    half = size / 2 / scale
    reach = half - MARGIN / scale  # crops may look beyond the image as far as the service's tiles do
    bounds = [sorted((reach, length - reach)) for length in labels.shape]
    centre = np.array([rng.uniform(*bound) for bound in bounds])
    if rng.random() < augmentation.on_object:
        pixels = np.flatnonzero(labels)
        near = np.array(np.unravel_index(pixels[rng.integers(len(pixels))], labels.shape))
        centre = np.clip(near + rng.uniform(-half, half, 2), *np.transpose(bounds))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    stretch = augmentation.stretch ** rng.uniform(-1, 1)
    linear = _rotation(rng) @ np.diag([1 / stretch, stretch]) @ _rotation(rng) @ np.diag([mirror, 1]) / scale
    offset = centre[::-1] - linear @ np.array([(size - 1) / 2, (size - 1) / 2])
    return np.column_stack([linear, offset])


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * math.pi)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _window(out_to_image: NDArray[np.float64], size: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of the image that a crop can touch, never empty."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], float) @ out_to_image.T
    low, high = np.floor(corners.min(axis=0)) - 2, np.ceil(corners.max(axis=0)) + 3
    x, y = (
        slice(int(np.clip(start, 0, length - 1)), int(np.clip(stop, 1, length)))
        for start, stop, length in zip(low, high, reversed(shape), strict=True)
    )
    return y, x


def _appearance(
    example: Example,
    planes: Floats,
    window: tuple[slice, slice],
    scale: float,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Floats:
    """Changes intensities at the resolution of the image, where optics and camera act."""
    planes = planes.copy()
    image = example.sample.image
    if len(image) == 3 and rng.random() < augmentation.recolour:
        shares = rng.dirichlet((2.0, 2.0, 2.0)).astype(np.float32)
        grey = np.tensordot(shares, image.astype(np.float32), axes=1)
        low, high = np.percentile(grey, (1, 99))
        planes[0] = (grey[window] - low) / max(high - low, 1e-3)
    if rng.random() < augmentation.drop_nucleus:
        planes[1] = 0
    elif rng.random() < augmentation.invert and not planes[1].any():
        planes[0] = 1 - planes[0]
    for plane in planes:
        if plane.any():
            plane[:] = _seen_otherwise(plane, scale, augmentation, rng)
    return planes


def _seen_otherwise(plane: Floats, scale: float, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
    """One plane under another microscope."""
    if rng.random() < augmentation.gamma:
        gamma = 1.7 ** rng.uniform(-1, 1)
        plane = np.where(plane > 0, np.abs(plane) ** gamma, plane)
    if rng.random() < augmentation.illumination:
        height, width = plane.shape
        slope_y, slope_x = rng.uniform(-0.5, 0.5, 2)
        plane = plane * (1 + slope_y * np.linspace(-1, 1, height)[:, None] + slope_x * np.linspace(-1, 1, width))
    if rng.random() < augmentation.blur:
        sigma = max(0.2, rng.uniform(0.3, 1.5) / scale)
        plane = cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma).astype(np.float32, copy=False)
    if rng.random() < augmentation.noise:
        read, shot = rng.uniform(0, 0.08), rng.uniform(0, 0.12)
        deviation = np.sqrt(read**2 + shot**2 * np.clip(plane, 0, 2))
        plane = plane + deviation * rng.standard_normal(plane.shape, dtype=np.float32)
    plane = plane * augmentation.gain ** rng.uniform(-1, 1) + rng.normal(0, augmentation.shift)
    return plane.astype(np.float32)
