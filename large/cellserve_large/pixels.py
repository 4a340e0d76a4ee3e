"""The planes that the networks look at, read from the image once and kept in the run folder.

Storage is read in whole chunks, each chunk once. Sections of any direction are then read from blocks that are not
compressed, whatever the storage of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.channels import MEAN, NONE
from cellserve_contract.params import ParameterError
from cellserve_formats.lazy import LazyImage
from cellserve_preprocess import select_channels
from numpy.typing import NDArray

from .digits import count_digits
from .errors import LargeError
from .geometry import Box, Grid
from .store import Store

BLOCK_BYTES = 32 << 20
"""Bytes that are read at once, unless a chunk of the storage is larger. All channels that are read count: those of a
mean, and those between two wanted ones if the storage interleaves them."""


@dataclass(frozen=True, slots=True)
class Channels:
    """The planes of an image that the networks look at: cytoplasm, and nucleus if there is one.

    Attributes:
        image: Axes YX or ZYX, and C or S.
        cytoplasm: As in `select_channels`.
        nucleus: As in `select_channels`.

    Raises:
        LargeError: The image has other axes.
        ParameterError: The image has no such channel.
    """

    image: LazyImage
    cytoplasm: int
    nucleus: int

    def __post_init__(self) -> None:
        axes = self.image.axes
        if "T" in axes or {"C", "S"} <= set(axes):
            raise LargeError(
                f"the image has axes {axes} and shape {self.image.shape}: a time series, or channels and colour "
                "samples at once. Segment one time point, with one axis of channels, at a time."
            )
        for name, channel in (("cytoplasm_channel", self.cytoplasm), ("nucleus_channel", self.nucleus)):
            if not -1 <= channel < self._length(self._letter, 1):
                raise ParameterError(name, channel, f"-1 to {self._length(self._letter, 1) - 1}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X); Z is 1 for an image that is no stack."""
        return tuple(self._length(letter, 1) for letter in "ZYX")

    @property
    def count(self) -> int:
        """1, or 2 with nuclei."""
        return 1 if self.nucleus == NONE else 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the planes."""
        one = np.zeros((1, 1, 1), self.image.dtype)
        return select_channels(one, MEAN if self.cytoplasm == MEAN else 0, NONE).dtype

    def grid(self) -> Grid:
        """Returns blocks of whole chunks: as many chunks as fit, in boxes of about equal sides."""
        shape = self.shape
        read = sum(map(len, self._parts)) * self.image.dtype.itemsize
        most = BLOCK_BYTES // max(read, self.count * self.dtype.itemsize)
        sides = [min(self._chunk(letter), length) for letter, length in zip("ZYX", shape, strict=True)]
        while growing := [axis for axis in (2, 1, 0) if sides[axis] < shape[axis]]:
            axis = min(growing, key=lambda axis: sides[axis])
            if 2 * math.prod(sides) > most:
                break
            sides[axis] *= 2
        return Grid(tuple((*range(0, n, side), n) for n, side in zip(shape, sides, strict=True)))

    def read(self, box: Box) -> NDArray[Any]:
        """Returns the planes of a box, [1 or 2, Z, Y, X]."""
        cytoplasm, nucleus = self.cytoplasm, self.nucleus
        if cytoplasm != MEAN:
            channels = [channel for part in self._parts for channel in part]
            cytoplasm, nucleus = channels.index(cytoplasm), NONE if nucleus == NONE else channels.index(nucleus)
        pixels = np.concatenate([self._read(box, part) for part in self._parts])
        selected: NDArray[Any] = select_channels(pixels, cytoplasm, nucleus)[: self.count]
        return selected

    @property
    def _parts(self) -> list[range]:
        """The channels that are read: each range of them at once."""
        if self.cytoplasm == MEAN:
            return [range(self._length(self._letter, 1))]
        wanted = sorted({self.cytoplasm, self.nucleus} - {NONE})
        if self._chunk(self._letter) == 1:
            return [range(channel, channel + 1) for channel in wanted]
        return [range(wanted[0], wanted[-1] + 1)]

    def _read(self, box: Box, channels: range) -> NDArray[Any]:
        """Returns some channels of a box, [C, Z, Y, X]."""
        axes = self.image.axes
        slices = {letter: slice(*box.span(axis)) for axis, letter in enumerate("ZYX")}
        slices[self._letter] = slice(channels.start, channels.stop)
        pixels = self.image.read([slices[letter] for letter in axes])
        order = [letter for letter in f"{self._letter}ZYX" if letter in axes]
        pixels = np.transpose(pixels, [axes.index(letter) for letter in order])
        return np.ascontiguousarray(pixels).reshape(len(channels), *box.shape)

    @property
    def _letter(self) -> str:
        return "S" if "S" in self.image.axes else "C"

    def _length(self, letter: str, missing: int) -> int:
        axes = self.image.axes
        return self.image.shape[axes.index(letter)] if letter in axes else missing

    def _chunk(self, letter: str) -> int:
        axes = self.image.axes
        return self.image.chunks[axes.index(letter)] if letter in axes else 1


@dataclass(frozen=True, slots=True)
class Pixels:
    """The planes in the run folder.

    Attributes:
        store: The run folder.
        grid: Blocks of the planes, which have axes [Z, Y, X].
        count: Number of planes, 1 or 2.
        dtype: Type of the planes.
    """

    store: Store
    grid: Grid
    count: int
    dtype: np.dtype[Any]

    def read(self, box: Box) -> NDArray[Any]:
        """Returns the planes of a box, [1 or 2, Z, Y, X]."""
        return self.store.read("pixels", "planes", self.grid, box, self.dtype, (self.count,))

    def block(self, block: int, plane: int) -> NDArray[Any]:
        """Returns a block of a plane, [Z, Y, X], mapped from its file."""
        pixels: NDArray[Any] = self.store.map("pixels", block, "planes")[plane]
        return pixels


def read_block(pixels: Pixels, channels: Channels, block: int) -> None:
    """Read a block of the planes from the image, and count its intensities."""
    if pixels.store.has("pixels", block):
        return
    planes = channels.read(pixels.grid.box(block))
    tables = {}
    for number, plane in enumerate(planes):
        (counts,) = count_digits(plane, 0, [0])
        tables[f"digits-{number}"] = np.flatnonzero(counts).astype(np.uint16)
        tables[f"counts-{number}"] = counts[tables[f"digits-{number}"]]
    axes = (1, 2, 3)
    pixels.store.save(
        "pixels", block, planes=planes, lowest=planes.min(axis=axes), highest=planes.max(axis=axes), **tables
    )
