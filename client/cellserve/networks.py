"""The networks alone: planes that are ready for them, and the sums of their tiles."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from cellserve_contract.arrays import describe_array, view_array
from cellserve_contract.payload import Detached
from cellserve_contract.tiles import MARGIN
from cellserve_proto import v1 as pb
from numpy.typing import NDArray

from .errors import invalid_answer
from .messages import decode_version, number_of
from .models import ModelVersion
from .params import Priority


class Grid(Protocol):
    """A part of a grid of tiles; `cellserve_preprocess.TileGrid` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) of the whole plane at the scale of the networks."""

    @property
    def starts_y(self) -> Sequence[int]:
        """First row of each row of tiles of the whole plane, in the frame of zeros around the plane; the first is 0."""

    @property
    def starts_x(self) -> Sequence[int]:
        """First column of each column of tiles, likewise."""

    @property
    def augment(self) -> bool:
        """Whether tiles of odd rows are flipped along X, those of odd columns along Y."""

    @property
    def rows(self) -> range:
        """The rows of tiles of this part."""

    @property
    def columns(self) -> range:
        """The columns of tiles of this part."""


@dataclass(frozen=True, slots=True, eq=False)
class TileSums:
    """The sums of the tiles of a part of a grid.

    The sums of all parts of the grid, added where the parts overlap, are those of the whole plane, bit for bit if the
    arithmetic of the network is float32.

    Attributes:
        sums: int32 [N, 3, y, x], read-only, not always aligned in memory: 5 * flow along y, 5 * flow along x and
            logit, each times 2^20.
        model: The network that answered.
        server_version: Version of the server.
        request_id: Finds the request in the server's log.
    """

    sums: NDArray[np.int32]
    model: ModelVersion
    server_version: str
    request_id: str


def networks_request(
    planes: NDArray[np.float32], grid: Grid, model: str, ensemble: bool, priority: Priority, request_id: str | None
) -> Detached[pb.RunNetworksRequest]:
    """Makes the request for planes; arguments and errors as in `Client.run_networks`."""
    message = pb.RunNetworksRequest(
        request_id=request_id or uuid.uuid4().hex,
        grid=pb.TileGrid(
            height=grid.shape[0],
            width=grid.shape[1],
            starts_y=[start - MARGIN for start in grid.starts_y],
            starts_x=[start - MARGIN for start in grid.starts_x],
            augment=grid.augment,
            rows=pb.TileRange(first=grid.rows.start, end=grid.rows.stop),
            columns=pb.TileRange(first=grid.columns.start, end=grid.columns.stop),
        ),
        model=model,
        ensemble=ensemble,
        priority=number_of(pb.Priority, priority, "priority"),
    )
    data = describe_array(message.planes, np.asarray(planes, np.float32))
    return Detached(message, ("planes", "data"), data)


def decode_sums(answer: Detached[pb.RunNetworksResponse], request: Detached[pb.RunNetworksRequest]) -> TileSums:
    """Unpacks the answer to a request.

    Raises:
        ServerError: The answer makes no sense.
    """
    message = answer.message
    planes, _, height, width = request.message.planes.shape
    try:
        sums: NDArray[Any] = view_array(message.sums, answer.data if answer.path else None)
    except ValueError as error:
        raise invalid_answer(str(error), message.request_id) from error
    if sums.dtype != np.int32 or sums.shape != (planes, 3, height, width):
        raise invalid_answer(f"the sums are {sums.dtype} of shape {sums.shape}", message.request_id)
    return TileSums(sums, decode_version(message.model), message.server_version, message.request_id)
