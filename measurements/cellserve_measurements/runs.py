"""Objects as runs: pixels of one label side by side in a row. An object has far fewer runs than pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a label image [Z, Y, X], in the order of its pixels.

    Attributes:
        shape: Planes, rows and columns of the label image.
        labels: int64 [N], labels of the objects, ascending.
        entry: int64 [R], place of the run's object in `labels`.
        z: int64 [R], plane of the run.
        y: int64 [R], row of the run.
        first: int64 [R], first column of the run.
        end: int64 [R], one past its last column.
    """

    shape: tuple[int, int, int]
    labels: NDArray[np.int64]
    entry: NDArray[np.int64]
    z: NDArray[np.int64]
    y: NDArray[np.int64]
    first: NDArray[np.int64]
    end: NDArray[np.int64]

    @property
    def length(self) -> NDArray[np.int64]:
        """int64 [R], pixels of each run."""
        return self.end - self.first

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Returns float64 [N], the sum over the runs of each object, of one value per run."""
        return np.bincount(self.entry, values, len(self.labels)).astype(np.float64, copy=False)

    def count(self) -> NDArray[np.float64]:
        """Returns float64 [N], the number of pixels of each object."""
        return self.sums(self.length)


def runs_of(labels: NDArray[np.integer[Any]]) -> Runs:
    """Finds the runs of a label image.

    Args:
        labels: [Z, Y, X], 0 is background.
    """
    planes, rows, columns = labels.shape
    begins = np.empty(labels.shape, bool)
    begins[..., :1] = True
    np.not_equal(labels[..., 1:], labels[..., :-1], out=begins[..., 1:])
    place = np.flatnonzero(begins)
    value = labels[begins]
    after = np.append(place[1:], labels.size)
    place, after, value = place[value != 0], after[value != 0], value[value != 0]
    numbers, entry = np.unique(value, return_inverse=True)
    line = place // max(columns, 1)
    first = place - line * columns
    return Runs(
        shape=(planes, rows, columns),
        labels=numbers.astype(np.int64),
        entry=entry.astype(np.int64),
        z=line // max(rows, 1),
        y=line % max(rows, 1),
        first=first,
        end=first + (after - place),
    )
