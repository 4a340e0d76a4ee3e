"""What is deployed, what is asked of it, and what came of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Policy = Literal["feed per Triton", "feeds in turn", "one feed", "scaled feed"]
"""How a gateway shares tiles among Tritons (docs/decisions/0014).

Feed per Triton: two batches to each, a tile to the one with the fewest, chance decides between equals; tiles of one
that vanishes go to others. Feeds in turn: the same, but equals take turns. One feed: two batches to all Tritons
together, each tile to the next one in turn; one that vanishes fails its image, which the client repeats. Scaled feed:
as one feed, with two batches for each Triton.
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """What an image asks for."""

    megapixels: float
    tiles: int

    @property
    def pixels(self) -> float:
        """What admission counts."""
        return max(self.megapixels * 1e6, self.tiles * 224.0 * 224.0)


@dataclass(frozen=True, slots=True)
class Work:
    """Processor time of the gateway, in seconds: for each image, each of its megapixels, each of its tiles."""

    image: float
    megapixel: float
    tile: float

    def of(self, megapixels: float, tiles: int) -> float:
        """Returns what an image takes."""
        return self.image + self.megapixel * megapixels + self.tile * tiles


@dataclass(frozen=True, slots=True)
class Times:
    """What durations are drawn from, in seconds; see `measure.Measured`."""

    batch_s: Mapping[int, Sequence[float]]
    exchange_s: Sequence[float]
    loop: Work
    threads: Work
    scatter: Sequence[float]
    before: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed.

    Attributes:
        gateway_cores: Of each gateway.
        shared_cores: One gateway and one Triton share a machine of so many cores; None: each pod has its own.
        delay_s: Triton waits so long for a batch to fill.
        queue_limit: Tiles that may wait at a Triton.
    """

    tritons: int
    gateways: int
    policy: Policy = "feed per Triton"
    gateway_cores: int = 2
    shared_cores: int | None = None
    max_batch: int = 8
    delay_s: float = 0.02
    queue_limit: int = 1024

    @property
    def per_triton(self) -> bool:
        """Whether gateways know their Tritons one by one."""
        return self.policy in ("feed per Triton", "feeds in turn")


@dataclass(slots=True)
class Outcome:
    """What became of the images.

    Attributes:
        started: Images that callers began to ask for.
        finished: (time, latency) of each image answered.
        lost: Images given up after the last retry.
        refusals: Times an image was sent back by admission or a full queue; its caller asks again.
        repeats: Times a client repeated an image whose gateway was not available.
        batches: (end, tiles, seconds) of each batch.
    """

    started: int = 0
    finished: list[tuple[float, float]] = field(default_factory=list)
    lost: int = 0
    refusals: int = 0
    repeats: int = 0
    batches: list[tuple[float, int, float]] = field(default_factory=list)
