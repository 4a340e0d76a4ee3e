"""Segmentation by a network that is not served yet, so that it can be scored before it is exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cellserve_contract.params import RecoveryParams
from cellserve_evaluation.sample import Sample
from cellserve_evaluation.scores import score
from cellserve_evaluation.sources import DEFAULT_DIAMETER, Prediction, PredictionError
from cellserve_networks.network import CPnet
from cellserve_postprocess import MapSums, recover_masks
from cellserve_preprocess import Normalization, TileGrid, normalize, rescaled_shape, resize
from numpy.typing import NDArray

from .precision import autocast

BATCH = 4


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """One network, run by torch and told the true diameters; a source for `cellserve_evaluation`.

    The steps are those of the service, with its default parameters. Objects below 8.7 px are the exception: the service
    has finer rules for them.

    Attributes:
        network: In evaluation mode, on the device to run on.
        name: What tables call the source.
    """

    network: CPnet
    name: str
    estimates: bool = False

    def predict(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Prediction | PredictionError]]:
        """As `cellserve_evaluation.sources.Source.predict`."""
        for sample in samples:
            if sample.is_volume:
                yield sample, PredictionError("networks that are not served segment 2-D images alone")
                continue
            diameter = sample.diameter or DEFAULT_DIAMETER
            yield sample, Prediction(self._segment(sample, diameter), diameter)

    def _segment(self, sample: Sample, diameter: float) -> NDArray[np.uint16] | NDArray[np.uint32]:
        planes = normalize(sample.planes(), Normalization()).planes
        shape = planes.shape[1:]
        scaled = resize(planes, rescaled_shape(shape, float(self.network.get_buffer("diam_mean")) / diameter))
        return recover_masks(resize(self._maps(scaled), shape), RecoveryParams()).labels

    def _maps(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        device, grid = self.network.get_buffer("diam_mean").device, TileGrid.cover(scaled.shape[1:])
        sums = MapSums(grid)
        with torch.inference_mode(), autocast(device):
            for start in range(0, len(grid), BATCH):
                tiles = torch.from_numpy(grid.cut(scaled, start, min(start + BATCH, len(grid))))
                maps = self.network(tiles.to(device, memory_format=torch.channels_last))[0].float().cpu().numpy()
                for index, tile in enumerate(maps, start):
                    sums.add(index, tile)
        return sums.maps()


def mean_precision(network: CPnet, samples: Sequence[Sample]) -> float:
    """Returns the mean average precision at IoU .5 of a network on labelled images, told their true diameters."""
    source = LocalNetwork(network, "network")
    scores = [score(sample, found.labels) for sample, found in source.predict(samples) if isinstance(found, Prediction)]
    return float(np.mean([entry.precision for entry in scores]))
