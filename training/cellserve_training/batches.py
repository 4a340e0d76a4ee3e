"""Which crops make which batch: a pure function of seed and step, so that a resumed training meets the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .augment import Example, cut_crop
from .schedule import Schedule

BALANCE = 0.7
"""How much the size of a data set counts: 0 not at all, 1 as it is."""


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Batches by step, for a `torch.utils.data.DataLoader`.

    Args:
        examples: Training images.
        schedule: Batch, crop, sampling and augmentation.
        diam_mean: Common object size in pixels.
        seed: Decides order and augmentation.
    """

    def __init__(self, examples: Sequence[Example], schedule: Schedule, diam_mean: float, seed: int) -> None:
        self._examples = examples
        self._schedule = schedule
        self._diam_mean = diam_mean
        self._seed = seed
        self._shares = balanced_shares(examples)

    def __len__(self) -> int:
        return self._schedule.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Input [batch, 2, crop, crop] and target [batch, 5, crop, crop] of a step, float32."""
        rng = np.random.default_rng((self._seed, step))
        size = self._schedule.crop_at(step)
        crops = [
            cut_crop(self._examples[index], size, self._diam_mean, self._schedule.augmentation, rng)
            for index in self._indices(step, rng)
        ]
        images, targets = zip(*crops, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))

    def _indices(self, step: int, rng: np.random.Generator) -> list[int]:
        """Images of a batch, as the sampling says."""
        if self._schedule.sampling == "balanced":
            return [int(index) for index in rng.choice(len(self._examples), self._schedule.batch, p=self._shares)]
        places = range(step * self._schedule.batch, (step + 1) * self._schedule.batch)
        return [self._epoch(place // len(self._examples))[place % len(self._examples)] for place in places]

    def _epoch(self, epoch: int) -> list[int]:
        # 2**32 keeps this stream apart from those of the steps.
        order: list[int] = np.random.default_rng((self._seed, 2**32, epoch)).permutation(len(self._examples)).tolist()
        return order


def balanced_shares(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Chance of each image, [n]: the size of its (data set, kind) to the power `BALANCE`, shared among its members."""
    members = [(example.sample.group, example.sample.kind) for example in examples]
    sizes = Counter(members)
    shares = np.array([sizes[member] ** (BALANCE - 1) for member in members])
    normalized: NDArray[np.float64] = shares / shares.sum()
    return normalized
