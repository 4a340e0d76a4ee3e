"""How well one image or volume is segmented, and many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import aggregated_jaccard_index, average_precision, boundary_scores
from .sample import Kind, Sample

THRESHOLDS = (0.25, 0.5, 0.75, 0.9)
"""Of the intersection over union, for the average precision."""
MAIN_THRESHOLD = 0.5
"""The one of THRESHOLDS by which images are ranked and sources compared."""
_MAIN = THRESHOLDS.index(MAIN_THRESHOLD)

_FEWEST_FOR_CORRELATION = 3


@dataclass(frozen=True, slots=True)
class ImageScore:
    """Agreement of one segmentation with the truth.

    Attributes:
        name: The sample's.
        group: The sample's.
        kind: The sample's.
        average_precision: At each of THRESHOLDS.
        aggregated_jaccard: Aggregated Jaccard index.
        boundary_precision: With objects resized to 30 pixels, as the two below. All three are None for a volume.
        boundary_recall: Share of the true boundary that was found.
        boundary_f: Harmonic mean of the two above.
        true_objects: Number of objects in the truth.
        found_objects: Number of objects in the segmentation.
        true_diameter: Median over the true objects' sections in YX planes, pixels; None where there are none.
        used_diameter: What the segmentation was told or estimated; None where unknown.
    """

    name: str
    group: str
    kind: Kind
    average_precision: tuple[float, ...]
    aggregated_jaccard: float
    boundary_precision: float | None
    boundary_recall: float | None
    boundary_f: float | None
    true_objects: int
    found_objects: int
    true_diameter: float | None
    used_diameter: float | None

    @property
    def precision(self) -> float:
        """Average precision at MAIN_THRESHOLD."""
        return self.average_precision[_MAIN]


def score(sample: Sample, labels: NDArray[Any], used_diameter: float | None = None) -> ImageScore:
    """Compares a segmentation with the truth.

    Args:
        sample: The truth.
        labels: Integers of the axes of the truth, 0 is background; gaps in numbers count for nothing.
        used_diameter: Diameter the segmentation was made with, pixels.

    Raises:
        ValueError: The labels are not of the image's shape, or no integers.
    """
    boundary = (None,) * 3 if sample.is_volume else boundary_scores(sample.labels, labels)
    return ImageScore(
        name=sample.name,
        group=sample.group,
        kind=sample.kind,
        average_precision=tuple(average_precision(sample.labels, labels, THRESHOLDS).tolist()),
        aggregated_jaccard=aggregated_jaccard_index(sample.labels, labels),
        boundary_precision=boundary[0],
        boundary_recall=boundary[1],
        boundary_f=boundary[2],
        true_objects=_count(sample.labels),
        found_objects=_count(labels),
        true_diameter=sample.diameter,
        used_diameter=used_diameter,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over the images of a set, a kind, or both.

    Attributes:
        group: The set; None: all.
        kind: The kind; None: all.
        images: Number of images scored.
        failed: Number of images without a segmentation; the means leave them out.
        average_precision: Mean at each of THRESHOLDS; all means are None where no image was scored.
        aggregated_jaccard: Mean.
        boundary_precision: Mean over the images that are no volumes, as the two below; None where all are volumes.
        boundary_recall: Mean.
        boundary_f: Mean.
        true_objects: Sum.
        found_objects: Sum.
    """

    group: str | None
    kind: Kind | None
    images: int
    failed: int
    average_precision: tuple[float, ...] | None
    aggregated_jaccard: float | None
    boundary_precision: float | None
    boundary_recall: float | None
    boundary_f: float | None
    true_objects: int
    found_objects: int

    @property
    def precision(self) -> float | None:
        """Mean average precision at MAIN_THRESHOLD; None where no image was scored."""
        return self.average_precision[_MAIN] if self.average_precision else None


def summarize(scores: Sequence[ImageScore], failed: Sequence[Sample]) -> list[Summary]:
    """Summarizes images per set, per kind, per set and kind where that says more, and in all.

    Args:
        scores: Of the images that were segmented.
        failed: The images that were not.
    """
    entries: list[ImageScore | Sample] = [*scores, *failed]
    present = sorted({(entry.group, entry.kind) for entry in entries})
    groups, kinds = sorted({group for group, _ in present}), sorted({kind for _, kind in present})
    selections: list[tuple[str | None, Kind | None]] = []
    for group in groups:
        selections.append((group, None))
        within = [(name, kind) for name, kind in present if name == group]
        selections += within if len(within) > 1 else []
    selections += [(None, kind) for kind in kinds] if len(kinds) > 1 else []
    return [_summary(scores, failed, *selection) for selection in (*selections, (None, None))]


@dataclass(frozen=True, slots=True)
class DiameterAgreement:
    """Estimated diameters against true ones.

    Attributes:
        images: Images with true objects and an estimate.
        correlation: Pearson, of the diameters.
        log_correlation: Pearson, of their logarithms.
        error: Median of |estimated / true - 1|.
    """

    images: int
    correlation: float
    log_correlation: float
    error: float


def compare_diameters(scores: Iterable[ImageScore]) -> DiameterAgreement | None:
    """Compares true with used diameters; None where fewer than three images have both, or all have the same."""
    pairs = np.array([(s.true_diameter, s.used_diameter) for s in scores if s.true_diameter and s.used_diameter]).T
    if pairs.size < 2 * _FEWEST_FOR_CORRELATION or (np.ptp(pairs, axis=1) == 0).any():
        return None
    true, used = pairs
    return DiameterAgreement(
        images=true.size,
        correlation=float(np.corrcoef(true, used)[0, 1]),
        log_correlation=float(np.corrcoef(np.log(true), np.log(used))[0, 1]),
        error=float(np.median(np.abs(used / true - 1))),
    )


def _summary(scores: Sequence[ImageScore], failed: Sequence[Sample], group: str | None, kind: Kind | None) -> Summary:
    def belongs(entry: ImageScore | Sample) -> bool:
        return group in (None, entry.group) and kind in (None, entry.kind)

    chosen = [entry for entry in scores if belongs(entry)]
    return Summary(
        group=group,
        kind=kind,
        images=len(chosen),
        failed=sum(belongs(entry) for entry in failed),
        average_precision=tuple(np.mean([s.average_precision for s in chosen], axis=0).tolist()) if chosen else None,
        aggregated_jaccard=_mean(s.aggregated_jaccard for s in chosen),
        boundary_precision=_mean(s.boundary_precision for s in chosen),
        boundary_recall=_mean(s.boundary_recall for s in chosen),
        boundary_f=_mean(s.boundary_f for s in chosen),
        true_objects=sum(s.true_objects for s in chosen),
        found_objects=sum(s.found_objects for s in chosen),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there; None where none is."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _count(labels: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.unique(labels)))
