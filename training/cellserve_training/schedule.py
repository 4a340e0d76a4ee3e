"""How long, how fast and on what a network trains."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from .augment import PAPER, Augmentation

LENGTHS = ("steps", "early_steps", "warm_up", "decay_start", "decay_every")
"""Attributes of a schedule that follow from the number of steps. A training that is made longer changes them."""


class Preset(StrEnum):
    """Named schedules."""

    PAPER = "paper"
    """Methods, "Training": 500 epochs, better left to a GPU. Beyond the paper, crops are mirrored, look 8 px past the
    image, and have flows of unit length."""
    FAST = "fast"
    """One rise and fall of the rate on smaller crops: hundreds of images, an hour or two of one processor core."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that decides a training, given its images and seed.

    Attributes:
        steps: Batches in all.
        batch: Crops a batch.
        crop: Side of a crop in pixels.
        early_crop: Side of a crop in the first `early_steps` steps: small ones cost less while much is to be learned.
        early_steps: As `early_crop` says.
        weighted: Whether pixels of small objects and between neighbours count more in the loss.
        optimizer: "muon" (with AdamW for what is no matrix) or "sgd" (momentum .9).
        rate: Highest learning rate.
        warm_up: Steps over which the rate rises from 0, in a line.
        decay: After the warm-up: "cosine" falls to 0 at the last step; "halving" stays until `decay_start` and then
            halves every `decay_every` steps.
        decay_start: As `decay` says.
        decay_every: As `decay` says.
        weight_decay: As the optimizer defines it.
        clip: Largest norm of the gradient; 0 for any.
        averaging: Decay per step of the moving average of all weights that becomes the network; 0 for the last weights.
        sampling: "epochs": every image once before any comes again. "balanced": data sets and kinds are drawn by a
            power below one of how many images they have, so that small ones count.
        augmentation: How crops differ from their images.
    """

    steps: int
    batch: int = 8
    crop: int = 160
    early_crop: int = 112
    early_steps: int = 0
    weighted: bool = True
    optimizer: Literal["muon", "sgd"] = "muon"
    rate: float = 2e-3
    warm_up: int = 200
    decay: Literal["cosine", "halving"] = "cosine"
    decay_start: int = 0
    decay_every: int = 1
    weight_decay: float = 1e-2
    clip: float = 1.0
    averaging: float = 0.999
    sampling: Literal["epochs", "balanced"] = "balanced"
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def of(cls, preset: Preset, images: int, steps: int | None = None, crop: int | None = None) -> Schedule:
        """A preset, for a number of training images.

        Args:
            preset: Which.
            images: Training images: an epoch of the paper sees each once.
            steps: Instead of the preset's own; its shape stays.
            crop: Instead of the preset's own, a multiple of eight.
        """
        if preset is Preset.FAST:
            steps = steps or 5000
            crop = crop or 160
            return cls(
                steps=steps,
                crop=crop,
                early_crop=min(crop, 112),
                early_steps=steps * 3 // 4,
                warm_up=max(1, min(200, steps // 10)),
            )
        epoch = math.ceil(images / 8)
        total = steps or 500 * epoch
        return cls(
            steps=total,
            crop=crop or 224,
            weighted=False,
            optimizer="sgd",
            rate=0.2,
            warm_up=max(1, total // 50),
            decay="halving",
            decay_start=total * 4 // 5,
            decay_every=max(1, total // 50),
            weight_decay=1e-5,
            clip=0.0,
            averaging=0.0,
            sampling="epochs",
            augmentation=PAPER,
        )

    def crop_at(self, step: int) -> int:
        """Side of the crops of a step, the first being 0."""
        return self.early_crop if step < self.early_steps else self.crop

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, the first being 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up if self.decay == "cosine" else self.rate * step / self.warm_up
        if self.decay == "cosine":
            return self.rate / 2 * (1 + math.cos(math.pi * (step - self.warm_up) / max(1, self.steps - self.warm_up)))
        return self.rate * 0.5 ** max(0, math.ceil((step + 1 - self.decay_start) / self.decay_every))
