"""Position, axes and angle of objects: what follows from the moments of their pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runs import Runs


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of the pixels of each object along D axes.

    Attributes:
        centroid: float64 [N, D], mean position along each axis.
        covariance: float64 [N, D, D], mean product of the distances from the centroid along two axes.
    """

    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def last(self, axes: int) -> Moments:
        """Returns the moments along the last axes alone."""
        return Moments(self.centroid[:, -axes:], self.covariance[:, -axes:, -axes:])

    def scaled(self, spacing: NDArray[np.float64]) -> Moments:
        """Returns the moments in another unit.

        Args:
            spacing: [D], distance of neighbouring pixels along each axis in that unit.
        """
        return Moments(self.centroid * spacing, self.covariance * np.outer(spacing, spacing))

    def axis_lengths(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns float64 [N] twice: the longest and the shortest axis of the ellipse or ellipsoid of equal moments."""
        axes = self.covariance.shape[-1]
        variances = np.linalg.eigvalsh(self.covariance).clip(0)
        lengths = 2 * np.sqrt((axes + 2) * variances)
        return lengths[:, -1], lengths[:, 0]

    def eccentricity(self) -> NDArray[np.float64]:
        """Returns float64 [N], 0 for circles to 1 for lines; of objects in a plane."""
        major, minor = self.axis_lengths()
        ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
        eccentricity: NDArray[np.float64] = np.sqrt((1 - ratio**2).clip(0))
        return eccentricity

    def orientation(self) -> NDArray[np.float64]:
        """Returns float64 [N], the angle from the first axis to the longest one, -pi/2 to pi/2; of objects in a plane.

        Objects without a longest axis have -pi/4, as in scikit-image.
        """
        mixed = 2 * self.covariance[:, 0, 1]
        difference = self.covariance[:, 0, 0] - self.covariance[:, 1, 1]
        round_ones = (difference == 0) & (mixed == 0)
        return np.where(round_ones, -np.pi / 4, np.arctan2(mixed, difference) / 2)


def moments(runs: Runs) -> Moments:
    """Computes the moments of objects along Z, Y and X, in pixels."""
    length, count = runs.length, runs.count()
    positions = (runs.z, runs.y, (runs.first + runs.end - 1) / 2)
    centroid = np.stack([runs.sums(length * position) / count for position in positions], axis=-1)
    distances = [position - centroid[runs.entry, axis] for axis, position in enumerate(positions)]
    covariance = np.empty((len(count), 3, 3))
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        products = length * distances[i] * distances[j]
        if i == j == 2:
            products += length * (length**2 - 1) / 12  # of the pixels of a run about its middle
        covariance[:, i, j] = covariance[:, j, i] = runs.sums(products) / count
    return Moments(centroid, covariance)
