"""Pictures for the eye: the image with its objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from .files import write_bytes
from .image import Image, PixelSize, planes
from .label_numbers import draw_numbers
from .png import png_bytes

# Bright, saturated hues that differ from one another and from grey, as RGB.
PALETTE = np.array(
    [
        (255, 70, 70),
        (80, 200, 255),
        (255, 220, 40),
        (255, 90, 230),
        (90, 230, 90),
        (255, 150, 40),
        (130, 140, 255),
        (40, 230, 190),
        (255, 160, 190),
        (190, 240, 60),
    ],
    np.float32,
)
_FEWEST_COLOURS = 5  # of the palette, those that differ most from what the lines cover
_CLEARLY_DIFFERENT = 150.0  # distance between two RGB colours

_FILL = np.float32(0.4)  # opacity of filled objects
_THICK_LINES_ABOVE = 1500  # pixels of the longer side
_NEIGHBOUR_STEPS = (14, 8, 4, 2, 1)  # distances at which objects count as neighbours, pixels


class OverlayOptions(TypedDict, total=False):
    """What an overlay shows; see `draw_overlay`."""

    numbers: bool
    filled: bool
    scale: int


def draw_overlay(
    image: Image,
    labels: NDArray[Any],
    cytoplasm: int = -1,
    nucleus: int = -1,
    *,
    numbers: bool = False,
    filled: bool = False,
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Draws the objects of an image on the image, neighbours in different colours.

    Args:
        image: The image.
        labels: Unsigned integers [Y, X], 0 is background.
        cytoplasm: Plane that shows cells; -1: all planes.
        nucleus: Plane that shows nuclei; -1: none.
        numbers: True: each object bears its label; see `label_numbers.draw_numbers`.
        filled: True: the objects are filled with a translucent colour, besides their outlines.
        scale: Pixels of the picture per pixel of the image along each axis. `label_numbers.scale_for_numbers` tells
            which scale gives numbers room in small objects.

    Returns:
        uint8 [scale * Y, scale * X, 3]: colour images in their colours, single planes grey, two planes grey with blue
        nuclei, each stretched between its 1st and 99th percentile. Outlines lie inside their objects, one pixel wide,
        two where the image is longer than 1500 pixels.
    """
    picture, large = _enlarged(render(image, cytoplasm, nucleus), scale), _enlarged(labels, scale)
    lines = outlines(large, 2 if max(labels.shape) > _THICK_LINES_ABOVE else 1)
    if lines.any():
        palette = _visible_colours(picture, lines)
        colours = palette[colour_numbers(labels, len(palette))]
        if filled:
            inside = large > 0
            picture[inside] = (1 - _FILL) * picture[inside] + _FILL * colours[large[inside]]
        picture[lines] = colours[large[lines]]
    if numbers:
        draw_numbers(picture, large)
    return picture


def overlay_bytes(
    image: Image, labels: NDArray[Any], cytoplasm: int = -1, nucleus: int = -1, **options: Unpack[OverlayOptions]
) -> bytes:
    """Returns the picture of `draw_overlay` as a PNG file; arguments as there."""
    picture = draw_overlay(image, labels, cytoplasm, nucleus, **options)
    size, scale = image.pixel_size, options.get("scale", 1)
    return png_bytes(picture, size and PixelSize(size.y / scale, size.x / scale, size.z))


def write_overlay(
    path: str | os.PathLike[str],
    image: Image,
    labels: NDArray[Any],
    cytoplasm: int = -1,
    nucleus: int = -1,
    **options: Unpack[OverlayOptions],
) -> None:
    """Writes the picture of `draw_overlay` as a PNG file; arguments as there.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, overlay_bytes(image, labels, cytoplasm, nucleus, **options))


def render(image: Image, cytoplasm: int = -1, nucleus: int = -1) -> NDArray[np.uint8]:
    """Renders an image as uint8 RGB [Y, X, 3]; arguments as in `draw_overlay`."""
    channels = planes(image)
    if cytoplasm < 0 and nucleus < 0 and len(channels) == 3:  # one stretch for all three keeps the colours
        return _to_bytes(np.moveaxis(_stretch(channels), 0, 2))
    grey = _stretch(channels[cytoplasm]) if cytoplasm >= 0 else np.mean([_stretch(plane) for plane in channels], axis=0)
    if nucleus < 0 or nucleus == cytoplasm:
        return _to_bytes(np.repeat(grey[:, :, np.newaxis], 3, axis=2))
    blue = _stretch(channels[nucleus])
    cells = 0.8 * grey
    red, green = cells * (1 - 0.6 * blue), cells * (1 - 0.35 * blue) + 0.15 * blue
    return _to_bytes(np.stack([red, green, cells * (1 - blue) + blue], axis=2))


def outlines(labels: NDArray[Any], width: int = 1) -> NDArray[np.bool_]:
    """Marks the pixels of objects within `width` pixels of something else; the border of the image does not count.

    Args:
        labels: Unsigned integers [Y, X].
        width: Width of the lines.
    """
    border = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        for here, there in _shifts(labels.shape, ((0, step), (step, 0))):
            differs = labels[here] != labels[there]
            border[here] |= differs
            border[there] |= differs
    return border & (labels > 0)


def colour_numbers(labels: NDArray[Any], colours: int) -> NDArray[np.intp]:
    """Gives every object a colour that no near neighbour has, as far as the palette allows.

    Args:
        labels: Unsigned integers [Y, X].
        colours: How many there are.

    Returns:
        Number of the colour by label; entry 0 is unused.
    """
    count = int(labels.max(initial=0))
    neighbours: list[dict[int, float]] = [{} for _ in range(count + 1)]
    for distance, first, second in _neighbours(labels):  # nearest last, so that it counts
        neighbours[first][second] = neighbours[second][first] = 1 / distance
    numbers = np.full(count + 1, -1, np.intp)
    for label in range(1, count + 1):
        near = [(numbers[other], weight) for other, weight in neighbours[label].items() if numbers[other] >= 0]
        taken, weights = np.array([n for n, _ in near], np.intp), np.array([w for _, w in near], np.float64)
        conflict = np.bincount(taken, weights, minlength=colours)
        # Starting at a different colour each time uses the whole palette where any would do.
        numbers[label] = (np.argmin(np.roll(conflict, -label)) + label) % colours
    return numbers


def _visible_colours(picture: NDArray[np.uint8], lines: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns the colours of the palette that differ from what the lines cover and from the ground of the picture."""
    grounds = np.stack([np.median(picture[lines], axis=0), np.median(picture, axis=(0, 1))])
    distance = np.linalg.norm(PALETTE[:, np.newaxis] - grounds, axis=2).min(axis=1)
    enough = min(_CLEARLY_DIFFERENT, float(np.sort(distance)[-_FEWEST_COLOURS]))
    visible: NDArray[np.float32] = PALETTE[distance >= enough]
    return visible


def _neighbours(labels: NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    """Yields (distance, label, label) of objects near each other in rows, columns and diagonals, farthest first."""
    wide = np.uint64(int(labels.max(initial=0)) + 1)
    for step in _NEIGHBOUR_STEPS:
        for here, there in _shifts(labels.shape, ((0, step), (step, 0), (step, step), (step, -step))):
            a, b = labels[here], labels[there]
            near = (a != b) & (a > 0) & (b > 0)
            for code in np.unique(a[near].astype(np.uint64) * wide + b[near]).tolist():
                yield step, *divmod(code, int(wide))


def _shifts(
    shape: tuple[int, ...], offsets: Iterable[tuple[int, int]]
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yields, for every offset (y >= 0, x), the two windows of an image whose pixels lie that far apart."""
    rows, columns = shape
    for y, x in offsets:
        if y < rows and abs(x) < columns:
            left, right = (slice(max(0, -x), columns - max(0, x)), slice(max(0, x), columns - max(0, -x)))
            yield (slice(0, rows - y), left), (slice(y, rows), right)


def _stretch(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Maps the 1st and 99th percentile (where equal: the extremes) to 0 and 1, and clips; a constant is zeros."""
    if plane.dtype == bool:  # percentiles subtract, which booleans do not
        plane = plane.view(np.uint8)
    low, high = np.percentile(plane, (1, 99))
    if low == high:
        low, high = float(plane.min()), float(plane.max())
    scale = 1 / (high - low) if high > low else 0.0
    stretched: NDArray[np.float32] = np.clip((plane.astype(np.float32) - np.float32(low)) * np.float32(scale), 0, 1)
    return stretched


def _enlarged(pixels: NDArray[Any], scale: int) -> NDArray[Any]:
    """Repeats each pixel along both axes."""
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)
