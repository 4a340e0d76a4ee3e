"""One picture of a volume or of a time series, with the outlines of objects.

Layout of a volume: the middle plane, its yz section on the right and its xz section below, the planes beneath. Marks on
the frames of the sections show where they cut each other. Planes and time points bear their zero-based numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from .files import write_bytes
from .label_numbers import draw_sign
from .overlay import PALETTE, outlines
from .png import png_bytes

PLANES = 8
"""Planes, or time points, in a montage, at most."""

_COLUMNS = 4
_PANEL = 320  # pixels of the longer side of a plane, about; larger planes are shown at up to twice that
_GAP = 10  # pixels between panels
_MARK = 6  # pixels, length of a mark
_SAMPLE = 1 << 20  # voxels that the brightness is judged by, about
_LONGEST = 4 * _PANEL  # pixels of a section along z, at most

_GROUND = (24, 24, 24)
_TRUTH = (0, 213, 255)
_FOUND = (255, 61, 0)
_MARKS = (255, 255, 255)


class MontageOptions(TypedDict, total=False):
    """What a montage shows; see `montage`."""

    truth: NDArray[Any] | None
    anisotropy: float
    planes: int


def montage(
    image: NDArray[Any],
    labels: NDArray[Any],
    *,
    truth: NDArray[Any] | None = None,
    anisotropy: float = 1.0,
    planes: int = PLANES,
) -> NDArray[np.uint8]:
    """Draws a volume and its objects.

    Args:
        image: [Z, Y, X], or [Z, C, Y, X] of one channel, of cells (drawn grey) and nuclei (drawn blue), or of red,
            green and blue; any real dtype, finite.
        labels: Integers [Z, Y, X], 0 is background.
        truth: Integers [Z, Y, X]. None: the outline of an object has one of ten colours, the same in all panels.
            Otherwise the outlines of the truth are blue, those of the labels red on top of them.
        anisotropy: Distance of planes over that of pixels; sections are stretched along z by it.
        planes: Number of planes, spread evenly over z; those at hand if the volume has fewer.

    Returns:
        uint8 [rows, columns, 3], about 1,400 pixels wide.

    Raises:
        ValueError: The arrays have other axes, do not fit each other, or have no voxels. The anisotropy or the number
            of planes is not positive.
    """
    volume = image[:, np.newaxis] if image.ndim == 3 else image
    if volume.ndim != 4 or volume.shape[1] not in (1, 2, 3) or not volume.size:
        raise ValueError(f"a volume has axes [Z, Y, X] or [Z, C, Y, X] and one to three channels, not {image.shape}")
    for array in (labels, *(() if truth is None else (truth,))):
        if array.shape != (volume.shape[0], *volume.shape[2:]):
            raise ValueError(f"labels of shape {array.shape} do not fit an image of shape {image.shape}")
    if not anisotropy > 0 or planes < 1:
        raise ValueError(f"anisotropy and planes are positive, not {anisotropy} and {planes}")
    painter = _Painter(volume, labels, truth)
    depth, height, width = labels.shape
    scale = _scale(max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    thickness = min(max(1, round(depth * scale * anisotropy)), _LONGEST)
    z, y, x = (length // 2 for length in labels.shape)
    middle = painter.panel(np.s_[z], shape)
    side = painter.panel(np.s_[:, :, x], (thickness, shape[0]), turned=True)
    below = painter.panel(np.s_[:, y], (thickness, shape[1]))
    cut_z, cut_y, cut_x = (
        min(int((at + 0.5) * length / whole), length - 1)
        for at, length, whole in zip((z, y, x), (thickness, *shape), labels.shape, strict=True)
    )
    sections = _beside([_framed(middle, cut_y, cut_x, z), _framed(side, cut_y, cut_z)])
    sections = _above([sections, _framed(below, cut_z, cut_x)])
    panels = [_framed(painter.panel(np.s_[at], shape), number=at) for at in spread(depth, planes)]
    return _above([sections, *_in_rows(panels)])


def time_montage(image: NDArray[Any], labels: NDArray[Any], numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Draws time points of a series and their objects, without sections along time.

    Args:
        image: [T, C, Y, X], channels and type as in `montage`.
        labels: Integers [T, Y, X], 0 is background. A colour stands for a label: labels of different time points have
            nothing to do with each other.
        numbers: Number of each time point in its series.

    Returns:
        uint8 [rows, columns, 3], at most four time points in a row.
    """
    painter, scale = _Painter(image, labels, None), _scale(max(labels.shape[1:]))
    shape = max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[2] * scale))
    return _above(_in_rows([_framed(painter.panel(np.s_[at], shape), number=n) for at, n in enumerate(numbers)]))


def spread(count: int, most: int = PLANES) -> list[int]:
    """Returns the numbers of at most so many of `count` planes or time points, evenly spread, both ends included."""
    numbers: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return numbers


def montage_bytes(image: NDArray[Any], labels: NDArray[Any], **options: Unpack[MontageOptions]) -> bytes:
    """Returns the picture of `montage` as a PNG file; arguments as there."""
    return png_bytes(montage(image, labels, **options))


def write_montage(
    path: str | os.PathLike[str], image: NDArray[Any], labels: NDArray[Any], **options: Unpack[MontageOptions]
) -> None:
    """Writes the picture of `montage` as a PNG file; arguments as there.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, montage_bytes(image, labels, **options))


class _Painter:
    """Draws sections of one volume, all at the same brightness and in the same colours."""

    def __init__(self, volume: NDArray[Any], labels: NDArray[Any], truth: NDArray[Any] | None) -> None:
        self._volume, self._labels, self._truth = volume, labels, truth
        step = max(1, round((volume[:, 0].size / _SAMPLE) ** (1 / 3)))
        sample = np.moveaxis(volume[::step, :, ::step, ::step], 1, 0).reshape(volume.shape[1], -1)
        # One stretch for red, green and blue keeps the colours.
        bounds = np.percentile(sample.astype(np.float64), (1, 99), axis=None if len(sample) == 3 else 1)
        self._low, high = np.broadcast_to(bounds.reshape(2, -1), (2, len(sample)))
        self._range = np.where(high > self._low, high - self._low, 1)

    def panel(self, section: Any, shape: tuple[int, int], turned: bool = False) -> NDArray[np.uint8]:
        """Draws one section.

        Args:
            section: Index into [Z, Y, X] that leaves two axes.
            shape: Rows and columns of the panel.
            turned: True: rows become columns, after the panel is drawn to that shape.
        """
        picture = self._rendered(np.stack([channel[section] for channel in np.moveaxis(self._volume, 1, 0)]), shape)
        found = _sampled(self._labels[section], shape)
        if self._truth is None:
            lines = outlines(found)
            picture[lines] = PALETTE[found[lines] % len(PALETTE)]
        else:
            # The lines of the truth are wider: they show inside those of the labels.
            picture[outlines(_sampled(self._truth[section], shape), 2)] = _TRUTH
            picture[outlines(found)] = _FOUND
        return picture.transpose(1, 0, 2) if turned else picture

    def _rendered(self, channels: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Channels [C, rows, columns] as RGB of another shape."""
        bright = [
            np.clip((_sampled(channel, shape) - low) / span, 0, 1)
            for channel, low, span in zip(channels.astype(np.float64), self._low, self._range, strict=True)
        ]
        if len(bright) == 3:
            colours = bright
        else:
            grey, blue = bright[0], bright[1] if len(bright) == 2 else 0
            colours = [0.8 * grey * (1 - 0.6 * blue), 0.8 * grey * (1 - 0.3 * blue), np.maximum(0.8 * grey, blue)]
        return (np.stack(colours, axis=-1) * 255 + 0.5).astype(np.uint8)


def _scale(side: int) -> float:
    """Pixels of a panel per pixel of a plane: a whole number, or less than one for large planes."""
    return max(1, _PANEL // side) if side <= 2 * _PANEL else 2 * _PANEL / side


def _sampled(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Reads a plane at the centres of the pixels of a picture of another shape."""
    rows, columns = (
        (2 * np.arange(length) + 1) * own // (2 * length) for length, own in zip(shape, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def _framed(
    panel: NDArray[np.uint8], row: int | None = None, column: int | None = None, number: int | None = None
) -> NDArray[np.uint8]:
    """Puts a panel on a frame that marks a row and a column, and bears a number."""
    height, width = panel.shape[:2]
    framed = _ground(height + 2 * _GAP, width + 2 * _GAP)
    framed[_GAP:-_GAP, _GAP:-_GAP] = panel
    if row is not None:
        framed[_GAP + row, [*range(_GAP - _MARK, _GAP), *range(-_GAP, _MARK - _GAP)]] = _MARKS
    if column is not None:
        framed[[*range(_GAP - _MARK, _GAP), *range(-_GAP, _MARK - _GAP)], _GAP + column] = _MARKS
    if number is not None:
        draw_sign(framed[_GAP:-_GAP, _GAP:-_GAP], number)
    return framed


def _in_rows(panels: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    return [_beside(panels[start : start + _COLUMNS]) for start in range(0, len(panels), _COLUMNS)]


def _beside(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(panel.shape[0] for panel in panels)
    padded = [np.concatenate([p, _ground(height - p.shape[0], p.shape[1])]) for p in panels]
    return np.concatenate(padded, axis=1)


def _above(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.concatenate([r, _ground(r.shape[0], width - r.shape[1])], axis=1) for r in rows])


def _ground(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), _GROUND, np.uint8)
