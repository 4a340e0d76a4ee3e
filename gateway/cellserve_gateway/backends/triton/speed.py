"""How quickly a Triton computes one network, and whether it computes at all, by Triton's own statistics."""

from __future__ import annotations

from typing import Any

FULL_BATCHES = 2
"""Full batches that one measurement needs."""
STALLED_S = 10.0
"""Time without a finished batch, while tiles are at the model, after which the model counts as stalled ..."""
STALLED_BATCHES = 10
"""... unless so many batches of average length take longer."""


class Speed:
    """The best speed that full batches of a network have reached.

    Only full batches count: a model that computes single tiles is slower than it can be. The best measurement counts,
    so that the speed is a bound: other programs on the machine may have slowed any measurement.

    Args:
        batch_size: Tiles of a full batch.
        instances: Instances of the model, which compute at the same time.
    """

    def __init__(self, batch_size: int, instances: int) -> None:
        self._batch_size = batch_size
        self._instances = instances
        self._seen: tuple[int, float] | None = None
        self._least_batch_s: float | None = None

    @property
    def tiles_per_s(self) -> float | None:
        """Tiles per second of all instances together; None: not measured yet."""
        return self._least_batch_s and self._instances * self._batch_size / self._least_batch_s

    def observe(self, batches: int, compute_s: float, whole: bool = True) -> None:
        """Takes Triton's statistics.

        Args:
            batches: Full batches since the start of Triton.
            compute_s: Seconds that their computation took, summed over the batches.
            whole: All tiles since the last statistics had TILE x TILE pixels. Smaller ones tell nothing of the speed.
        """
        if self._seen is None or batches < self._seen[0] or not whole:  # first seen, or Triton has started anew
            self._seen = batches, compute_s
            return
        new, seconds = batches - self._seen[0], compute_s - self._seen[1]
        if new < FULL_BATCHES:
            return
        self._seen = batches, compute_s
        if seconds > 0:
            self._least_batch_s = min(seconds / new, self._least_batch_s or seconds / new)


class Progress:
    """Whether a model still finishes batches. A stopped model process leaves Triton ready."""

    def __init__(self) -> None:
        self._batches = -1
        self._since = 0.0

    def stalled(self, now: float, *, at_model: int, batches: int, compute_s: float) -> bool:
        """Returns whether the model has finished nothing for too long.

        Args:
            now: Seconds.
            at_model: Tiles that this gateway has sent and that are not answered.
            batches: Batches of any size since the start of Triton.
            compute_s: Seconds that their computation took, summed over the batches.
        """
        if not at_model or batches != self._batches:
            self._batches, self._since = batches, now
        return now - self._since > max(STALLED_S, STALLED_BATCHES * compute_s / max(1, batches))


class ModelWork:
    """What Triton's statistics tell of one model; arguments as of `Speed`."""

    def __init__(self, batch_size: int, instances: int) -> None:
        self._batch_size = batch_size
        self._speed = Speed(batch_size, instances)
        self._progress = Progress()
        self._whole = True

    @property
    def tiles_per_s(self) -> float | None:
        """See `Speed`."""
        return self._speed.tiles_per_s

    def note_small(self) -> None:
        """Notes that this gateway has a tile of less than TILE x TILE pixels at the model now."""
        self._whole = False

    def observe(self, statistics: Any, at_model: int, now: float) -> bool:
        """Takes Triton's statistics of the model (`ModelStatistics`); returns whether the model has stalled.

        Args:
            at_model, now: As of `Progress.stalled`.
        """
        seconds = {batch.batch_size: batch.compute_infer.ns / 1e9 for batch in statistics.batch_stats}
        for batch in statistics.batch_stats:
            if batch.batch_size == self._batch_size:
                self._speed.observe(batch.compute_infer.count, seconds[batch.batch_size], self._whole)
        self._whole = True
        batches, compute_s = statistics.execution_count, sum(seconds.values())
        return self._progress.stalled(now, at_model=at_model, batches=batches, compute_s=compute_s)
