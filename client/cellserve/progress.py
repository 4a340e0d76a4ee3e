"""How far the work on one image is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["upload", "preprocess", "diameter", "inference", "recovery", "encode", ""]
"""Stage of the work, in this order. "": a stage that this client does not know, because the server is newer."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on one image is.

    Attributes:
        stage: The image is sent ("upload"), normalised ("preprocess"), its diameter is estimated ("diameter"), the
            networks run ("inference"), the masks are recovered ("recovery"), the answer is packed ("encode").
        sections_done: Sections whose maps are complete. A stack that is segmented as a volume has sections along three
            axes; other stacks have those along z, their planes; an image has one.
        sections_total: All sections; 0 while unknown.
        tiles_done: Tiles that the networks have run on, for the estimate of the diameter or for the segmentation.
        tiles_total: All tiles of the segmentation; 0 while unknown.
        left_s: Seconds until the last tile, by the speed so far; the recovery follows. None while unknown, and in other
            stages than "inference".
    """

    stage: Stage
    sections_done: int = 0
    sections_total: int = 0
    tiles_done: int = 0
    tiles_total: int = 0
    left_s: float | None = None


ProgressCallback = Callable[[Progress], None]
