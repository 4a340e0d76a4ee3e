"""The inputs of a simulation (deployment, images, times) and its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Policy: TypeAlias = Literal[
    "per Triton, random ties", "per Triton, rotating ties", "one dispatcher", "scaled dispatcher"
]
"""How a gateway distributes tiles among Tritons (docs/decisions/0014).

- Per Triton: each Triton has a dispatcher, which sends two batches ahead. A tile goes to the least loaded Triton.
  Tiles of a stopped Triton go to others. Among equally loaded Tritons, a random one is chosen (random ties), or the
  one chosen longest ago, as in the gateway (rotating ties).
- One dispatcher: two batches ahead for all Tritons together, round robin. A stopped Triton fails its images, which
  the clients repeat.
- Scaled dispatcher: the same with two batches for each Triton.
"""


@dataclass(frozen=True, slots=True)
class Image:
    """Size of an image.

    Attributes:
        megapixels: Pixels of the image, in millions.
        tiles: Tiles at the networks' scale.
    """

    megapixels: float
    tiles: int

    @property
    def pixels(self) -> float:
        """Pixels that admission counts."""
        return max(self.megapixels * 1e6, self.tiles * 224.0 * 224.0)


@dataclass(frozen=True, slots=True)
class Work:
    """Processor time of the gateway in seconds: for each image, each of its megapixels, each of its tiles."""

    image: float
    megapixel: float
    tile: float

    def of(self, megapixels: float, tiles: int) -> float:
        """Returns the processor time of an image."""
        return self.image + self.megapixel * megapixels + self.tile * tiles


@dataclass(frozen=True, slots=True)
class Times:
    """Durations in seconds, or samples of durations; see `measure.Measured`."""

    batch_s: Mapping[int, Sequence[float]]
    exchange_s: Sequence[float]
    loop: Work
    threads: Work
    scatter: Sequence[float]
    before: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """Pods and their settings.

    Attributes:
        tritons: Number of Tritons.
        gateways: Number of gateways.
        policy: How a gateway distributes tiles among Tritons.
        gateway_cores: Cores of each gateway.
        shared_cores: Cores of a machine that one gateway and one Triton share. If None, each pod has its own cores.
        max_batch: Tiles that fill a batch.
        delay_s: Time that Triton waits for a batch to fill.
        queue_limit: Tiles that may wait at a Triton.
    """

    tritons: int
    gateways: int
    policy: Policy = "per Triton, random ties"
    gateway_cores: int = 2
    shared_cores: int | None = None
    max_batch: int = 8
    delay_s: float = 0.02
    queue_limit: int = 1024

    @property
    def per_triton(self) -> bool:
        """Whether gateways have a dispatcher for each Triton."""
        return self.policy in ("per Triton, random ties", "per Triton, rotating ties")


@dataclass(slots=True)
class Outcome:
    """What became of the images.

    Attributes:
        started: Images that callers began to request.
        finished: (time, latency) of each answered image, in seconds.
        lost: Images given up after the last retry.
        refusals: Refusals by admission or by a full queue. The caller requests the image again.
        repeats: Retries of an image by the client after the gateway was unavailable.
        batches: (end, tiles, seconds) of each batch.
    """

    started: int = 0
    finished: list[tuple[float, float]] = field(default_factory=list)
    lost: int = 0
    refusals: int = 0
    repeats: int = 0
    batches: list[tuple[float, int, float]] = field(default_factory=list)
