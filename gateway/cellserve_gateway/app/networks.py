"""What the core needs of a backend: networks that run on tiles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, Protocol

import numpy as np
from cellserve_contract.model_card import Family
from numpy.typing import NDArray

from .context import Priority, RequestContext

TileOutput = Literal["maps", "style"]


class Precision(Enum):
    """Number format that a network computes in, the finest first. The values are words of the contract."""

    FLOAT32 = "float32"
    TENSORFLOAT32 = "tensorfloat32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as a backend serves it.

    Attributes:
        version: Version at the backend.
        sha256: SHA-256 of the network file, lower-case hexadecimal.
        max_batch_size: Largest number of tiles in one request.
        runtime: Program that runs the network, with its version where the program tells; "" if unknown.
        precision: Number format that the network computes in.
        any_size: Whether the network takes tiles of other sizes than TILE x TILE pixels.
    """

    name: str
    version: str
    sha256: str
    max_batch_size: int
    runtime: str = ""
    precision: Precision = Precision.UNKNOWN
    any_size: bool = False


_STORED = {"fp16": Precision.FLOAT16, "fp32": Precision.FLOAT32, None: Precision.UNKNOWN}


def weights_of(family: Family, name: str) -> Precision:
    """Returns the number format of the weights in the file of a network."""
    file = family.networks.get(name)
    return _STORED[file.weights if file else None]


def used(networks: Collection[Network]) -> Network:
    """Returns a network as several servers of the pool served it for one image.

    An answer is as exact as its coarsest tile: the coarsest precision is named, and every runtime.
    """
    order = list(Precision)
    coarsest = max((network.precision for network in networks), key=order.index)
    runtimes = sorted({network.runtime for network in networks} - {""})
    return replace(next(iter(networks)), runtime=", ".join(runtimes), precision=coarsest)


@dataclass(frozen=True, slots=True)
class TileOutputs:
    """Outputs of a network for tiles.

    Attributes:
        maps: float32 [n, 3, Y, X] of the tiles: 5 * flow_y, 5 * flow_x, cell probability (logit). None: not wanted.
        style: float32 [n, 256]. None: not wanted.
        network: The network, as the servers that computed the tiles serve it.
    """

    maps: NDArray[np.float32] | None
    style: NDArray[np.float32] | None
    network: Network


class Backend(Protocol):
    """Servers that run networks on tiles, and batch the tiles of all requests."""

    def ready(self, name: str) -> bool:
        """Returns whether some server served the network at its last health probe."""

    def check(self, name: str) -> None:
        """Raises BackendUnavailable if tiles of the network cannot be sent now."""

    def network(self, name: str) -> Network:
        """Returns a network's version and limits.

        Raises:
            BackendUnavailable: No server has served the network yet.
        """

    def tiles_ahead(self, network: Network) -> int:
        """Returns how many tiles of one image in flight keep all servers busy."""

    def least_seconds(self, name: str, tiles: int, priority: Priority) -> float | None:
        """Returns the seconds that tiles take at least, behind those that wait: at the best speed that was measured.

        None: no speed was measured yet, or not of each server.
        """

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[TileOutput, ...], context: RequestContext
    ) -> TileOutputs:
        """Runs a network on tiles.

        Args:
            name: Name of the network.
            tiles: float32 [n, 2, Y, X] of TILE x TILE pixels, or of any multiples of 8 if the network takes any size;
                C-contiguous, n at most the network's `max_batch_size`.
            outputs: Outputs wanted.
            context: Its priority class orders the server's queue. The server drops tiles once its deadline has passed.

        Tiles of a server that fails are sent to others, or wait for one.

        Raises:
            BackendUnavailable: Several servers failed, or none became ready in time.
            Overloaded, DeadlinePassed: As they say.
            InternalError: The server refused the tiles, or no server's answer fits them.
        """
