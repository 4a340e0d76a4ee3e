"""The networks behind gateways: tiles are computed by CellServe servers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cellserve.connection import Connection
from cellserve.models import Model, ModelVersion
from cellserve.params import Priority
from cellserve_preprocess import TileGrid
from numpy.typing import NDArray

from .errors import OtherNetworkError

_FACTS_BYTES = 1 << 14  # of a message beside its array
_Part = tuple[slice, TileGrid]
_Halves = tuple[_Part, _Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """CellServe servers as `Networks`. Can be pickled: each process opens a client of its own.

    Calls that fail are made again as `cellserve.retry` says, by any server that answers.

    Attributes:
        connection: How the servers are reached.
        ensemble: All networks of the family, or one.
        network: The network that has to compute all blocks.
        priority: "batch" lets others go first.
        deadline_s: Seconds a call may take, retries included.
        most_bytes: Most bytes of the sums of a call. Larger blocks go as several calls.
        most_tiles: Most tiles of a call.
    """

    connection: Connection
    ensemble: bool
    network: ModelVersion
    priority: Priority = "batch"
    deadline_s: float = 300.0
    most_bytes: int = sys.maxsize
    most_tiles: int = sys.maxsize

    @classmethod
    def meet(cls, connection: Connection, family: str, ensemble: bool, priority: Priority, deadline_s: float) -> Self:
        """Asks a server which network it runs, by an empty tile. A server that sleeps is woken.

        Args:
            connection: How the servers are reached.
            family: Model family.
            ensemble: As the attribute, as are all others.
            priority: See there.
            deadline_s: See there.

        Raises:
            CellServeError: No server computed the tile within the deadline.
        """
        client = connection.client()
        answer = client.run_networks(
            np.zeros((1, 1, 1, 1), np.float32),
            TileGrid.cover((1, 1)),
            model=family,
            ensemble=ensemble,
            priority=priority,
            deadline_s=deadline_s,
        )
        limits = client.limits()
        return cls(
            connection=connection,
            ensemble=ensemble,
            network=answer.model,
            priority=priority,
            deadline_s=deadline_s,
            most_bytes=(limits and limits.max_message_bytes - _FACTS_BYTES) or sys.maxsize,
            most_tiles=(limits and limits.max_tiles) or sys.maxsize,
        )

    def run(self, planes: NDArray[np.float32], grid: TileGrid) -> NDArray[np.int32]:
        """Runs the networks on the tiles of some planes; see `Networks`.

        Raises:
            CellServeError: No server computed the tiles within the deadline.
            OtherNetworkError: Another network answered.
        """
        sums = 3 * 4 * planes[:, 0].size
        if (sums > self.most_bytes or len(planes) * len(grid) > self.most_tiles) and (halves := _halves(planes, grid)):
            return self._joined(planes, grid, halves)
        if not planes[:, 1].any():  # no nuclei: half of the bytes say nothing
            planes = np.ascontiguousarray(planes[:, :1])
        answer = self.connection.client().run_networks(
            planes,
            grid,
            model=self.network.family,
            ensemble=self.ensemble,
            priority=self.priority,
            deadline_s=self.deadline_s,
        )
        if _file(answer.model) != _file(self.network):
            raise OtherNetworkError(answer.model.name, _described(self.network), _described(answer.model))
        return answer.sums

    def _joined(self, planes: NDArray[np.float32], grid: TileGrid, halves: _Halves) -> NDArray[np.int32]:
        """Returns the sums of two parts of a call, added where the parts overlap."""
        rows, columns = grid.extent
        sums = np.zeros((len(planes), 3, *planes.shape[2:]), np.int32)
        for some, part in halves:
            y, x = part.extent
            place = (
                slice(y.start - rows.start, y.stop - rows.start),
                slice(x.start - columns.start, x.stop - columns.start),
            )
            sums[some, :, *place] += self.run(planes[some, :, *place], part)
        return sums

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the outputs of the networks, for JSON."""
        sha256, precision, runtime = _file(self.network)
        return {
            "family": self.network.family,
            "ensemble": self.ensemble,
            "sha256": sha256,
            "precision": precision,
            "runtime": runtime,
        }


def _halves(planes: NDArray[np.float32], grid: TileGrid) -> _Halves | None:
    """Returns two halves: some of the planes, or some of the tiles of a plane; None for one tile."""
    everything = slice(0, len(planes))
    if len(planes) > 1:
        middle = len(planes) // 2
        return (slice(0, middle), grid), (slice(middle, len(planes)), grid)
    if len(grid) == 1:
        return None
    rows, columns = grid.rows, grid.columns
    if len(rows) >= len(columns):
        middle = len(rows) // 2
        return (everything, grid.part(rows[:middle], columns)), (everything, grid.part(rows[middle:], columns))
    middle = len(columns) // 2
    return (everything, grid.part(rows, columns[:middle])), (everything, grid.part(rows, columns[middle:]))


def _file(network: ModelVersion) -> tuple[str, str, str]:
    return network.sha256, network.precision, network.runtime


def _described(network: ModelVersion) -> str:
    precision, runtime = network.precision or "unknown precision", network.runtime or "an unknown runtime"
    return f"sha256 {network.sha256[:12]} in {precision} by {runtime}"


def family_of(connection: Connection, name: str) -> Model:
    """Returns a model family of the servers.

    Args:
        connection: How the servers are reached.
        name: The family; "" for the default.

    Raises:
        CellServeError: No server answers, or there is no such family.
    """
    client = connection.client()
    return client.model(name or client.models().default)
