"""The number of each object, drawn into a picture."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The digits 0 to 9.
_SMALL = (
    "### .#. ### ### #.# ### ### ### ### ###",
    "#.# ##. ..# ..# #.# #.. #.. ..# #.# #.#",
    "#.# .#. ### ### ### ### ### ..# ### ###",
    "#.# .#. #.. ..# ..# ..# #.# ..# #.# ..#",
    "### ### ### ### ..# ### ### ..# ### ###",
)
_LARGE = (
    ".###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###.",
    "#...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...#",
    "#...# ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#",
    "#...# ..#.. ...#. ..##. #..#. ....# ####. ...#. .###. .####",
    "#...# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#",
    "#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ...#.",
    ".###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .##..",
)
_ROOM = 0.7  # largest height and width of a number, as a share of the diameter of its object
_LARGEST_FACTOR = 4

_LEGIBLE_DIAMETER = 18.0  # pixels: three digits of the small font with their border have room
_LARGEST_SCALE = 4
_MOST_PIXELS = 50_000_000  # of an enlarged picture

Place = tuple[int, int]
"""Row and column of a pixel."""


class Font(NamedTuple):
    """Digits as bitmaps.

    Attributes:
        rows: The rows of all digits, with a space between neighbours.
        factor: Pixels of the picture per pixel of a bitmap.
    """

    rows: tuple[str, ...]
    factor: int

    def shape(self, digits: int) -> tuple[int, int]:
        """Returns height and width of a number, pixels."""
        return len(self.rows) * self.factor, (digits * (self.rows[0].index(" ") + 1) - 1) * self.factor

    def bitmap(self, number: int) -> NDArray[np.bool_]:
        """Returns a number as a bitmap with an empty border of one pixel."""
        digits = _digits(self)
        bitmap = np.concatenate([digits[int(digit)] for digit in str(number)], axis=1)
        return np.pad(bitmap[:, : -self.factor], 1)


@cache
def _digits(font: Font) -> list[NDArray[np.bool_]]:
    """Returns the bitmaps of the digits, each with its distance to the next digit."""
    signs = np.array([[sign == "#" for sign in row + " "] for row in font.rows])
    return np.hsplit(signs.repeat(font.factor, axis=0).repeat(font.factor, axis=1), 10)


_FONTS = (Font(_SMALL, 1), *(Font(_LARGE, factor) for factor in range(1, _LARGEST_FACTOR + 1)))


def draw_numbers(picture: NDArray[np.uint8], labels: NDArray[Any]) -> None:
    """Draws the label of each object into the object, white with a black border.

    The digits have one size that suits the objects of median diameter. They are smaller in objects that are too small
    for this size, down to a height of 5 pixels. A number lies near the centre of its object, where it covers no other
    number if there is such a place.

    Args:
        picture: [Y, X, 3], is changed.
        labels: Unsigned integers [Y, X], 0 is background.
    """
    numbers, areas, places = _centres(labels)
    if not len(numbers):
        return
    diameters = np.sqrt(areas * (4 / np.pi))
    usual = _largest_font(len(str(numbers[-1])), float(np.median(diameters)), _FONTS)
    fonts = _FONTS[: _FONTS.index(usual) + 1]
    taken = np.zeros(labels.shape, bool)
    for at in np.argsort(areas, kind="stable").tolist():  # the largest last: they have most room to give way
        number = int(numbers[at])
        bitmap = _largest_font(len(str(number)), float(diameters[at]), fonts).bitmap(number)
        rows, columns = _free_window(taken, labels, places[at], bitmap.shape)
        bitmap = bitmap[: rows.stop - rows.start, : columns.stop - columns.start]
        taken[rows, columns] = True
        _paint(picture[rows, columns], bitmap)


def draw_sign(picture: NDArray[np.uint8], number: int) -> None:
    """Draws a number into the upper left corner of a picture [Y, X, 3], as far as there is room, in place."""
    bitmap = _FONTS[2].bitmap(number)[: picture.shape[0], : picture.shape[1]]
    _paint(picture[: bitmap.shape[0], : bitmap.shape[1]], bitmap)


def _paint(window: NDArray[np.uint8], bitmap: NDArray[np.bool_]) -> None:
    """Paints digits white with a black border."""
    window[_grown(bitmap)] = 0
    window[bitmap] = 255


def scale_for_numbers(labels: NDArray[Any]) -> int:
    """Returns by how much to enlarge a picture so that numbers have room in its objects.

    Args:
        labels: Unsigned integers [Y, X], 0 is background.

    Returns:
        1 to 4. 1 if there are no objects. Less than needed where the picture would exceed 50 million pixels.
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    if not len(areas):
        return 1
    needed = np.ceil(_LEGIBLE_DIAMETER / np.sqrt(np.median(areas) * (4 / np.pi)))
    possible = np.sqrt(_MOST_PIXELS / labels.size)
    return int(np.clip(np.floor(min(needed, possible)), 1, _LARGEST_SCALE))


def _centres(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], list[Place]]:
    """Returns label, area and a central pixel of each object, in the order of labels."""
    y, x = np.nonzero(labels)
    numbers, objects, areas = np.unique(labels[y, x], return_inverse=True, return_counts=True)
    centres = np.stack([np.bincount(objects, along, len(numbers)) / areas for along in (y, x)], axis=1)
    # The pixel of the object that is nearest to the centre, which can lie outside of a curved object.
    distances = (y - centres[objects, 0]) ** 2 + (x - centres[objects, 1]) ** 2
    order = np.lexsort((distances, objects))
    nearest = order[np.cumsum(areas) - areas]
    return numbers, areas, list(zip(y[nearest].tolist(), x[nearest].tolist(), strict=True))


def _largest_font(digits: int, diameter: float, fonts: tuple[Font, ...]) -> Font:
    """Returns the largest font in which a number fits into an object, or the smallest font."""
    fitting = (font for font in reversed(fonts) if max(font.shape(digits)) <= _ROOM * diameter)
    return next(fitting, fonts[0])


def _free_window(
    taken: NDArray[np.bool_], labels: NDArray[Any], place: Place, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Returns the window for a number: the first that covers no other number, or the one that covers least."""
    least, best = taken.size, None
    for centre in _candidates(labels, place, shape):
        window = _window(labels.shape, centre, shape)
        covered = int(np.count_nonzero(taken[window]))
        if best is None or covered < least:
            least, best = covered, window
        if not covered:
            break
    assert best is not None
    return best


def _candidates(labels: NDArray[Any], place: Place, shape: tuple[int, ...]) -> Iterator[Place]:
    """Yields the pixels of an object on which its number could be centred: `place`, then its surroundings."""
    yield place
    (y, x), (height, width) = place, shape
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        for part in (4, 2):
            row, column = y + dy * height // part, x + dx * width // part
            inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
            if inside and labels[row, column] == labels[place]:
                yield row, column


def _window(whole: tuple[int, ...], centre: Place, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns the window of a number, moved into the picture; cut where the picture is smaller than the number."""
    rows, columns = (
        slice(start := max(0, min(middle - size // 2, length - size)), min(start + size, length))
        for middle, size, length in zip(centre, shape, whole, strict=True)
    )
    return rows, columns


def _grown(bitmap: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a bitmap with every pixel that touches one of its pixels."""
    padded = np.pad(bitmap, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    grown: NDArray[np.bool_] = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return grown
