"""The backend pool: all Tritons behind one name, and the choice of a server for each tile (docs/decisions/0014)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import structlog
from cellserve_contract.model_card import Family
from cellserve_preprocess import TILE
from numpy.typing import NDArray

from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.networks import Network, TileOutput, TileOutputs
from cellserve_gateway.errors import BackendUnavailable, ServiceError
from cellserve_gateway.ops.metrics import Metrics

from .balancer import LeastLoaded
from .client import NotSent, TritonClient
from .dispatcher import BATCHES_AHEAD
from .resolver import Resolver

log = structlog.get_logger()
ATTEMPTS = 3
"""Servers that a tile is sent to, one after the other, before its image fails."""
PATIENCE_S = 60.0
"""Time that a tile of an image in work waits for a server: a restarted one needs about as long."""
DEADLINE_MARGIN_S = 0.05
"""Such a wait ends before the deadline of the image, so that the caller learns what it was that did not come."""


class BackendPool:
    """The Tritons that serve the same model repository.

    Each tile is sent to the ready server with the fewest tiles of its network and priority class from this gateway.
    Idle servers are used at once, a slow server gets fewer tiles, and batches fill up if there is enough work for
    several servers. A server that fails gets no tiles until a health probe succeeds. Its tiles are sent to others, or
    wait until a server is ready.

    Args:
        target: Addresses of the servers; see `Resolver`.
        families: The families that the servers should serve, by name.
        metrics: Counts servers and requests.
        headers: Returns the headers of a request to Triton.

    Raises:
        ValueError: The target is malformed.
    """

    def __init__(
        self,
        target: str,
        families: Mapping[str, Family],
        metrics: Metrics,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self._resolver = Resolver(target)
        self._expected = {name: file.sha256 for family in families.values() for name, file in family.networks.items()}
        self._metrics = metrics
        self._headers = headers
        self._servers: dict[str, TritonClient] = {}
        self._leaving: list[TritonClient] = []
        self._logged_states: dict[str, str] = {}
        self._balancer: LeastLoaded[TritonClient] = LeastLoaded(random.Random())
        self._refreshed = asyncio.Event()

    async def close(self) -> None:
        """Closes all connections."""
        await self._resolver.close()
        for server in [*self._servers.values(), *self._leaving]:
            await server.close()

    async def refresh(self) -> None:
        """Resolves the name of the servers, and makes a health probe of each."""
        try:
            addresses = await self._resolver.resolve()
        except OSError as error:
            log.warning("the name of the Tritons cannot be resolved", error=str(error))
            addresses = frozenset()
        if addresses:  # a name server that fails for a moment does not take away the known servers
            await self._keep(addresses)
        await asyncio.gather(*(server.probe() for server in self._servers.values()))
        ready = self._ready
        for server in [*self._servers.values(), *self._leaving]:
            if ready and (not server.ready or server in self._leaving):
                server.give_up()
        for address, server in self._servers.items():
            if self._logged_states.get(address) != server.state:
                self._logged_states[address] = server.state
                log.info(f"Triton is {server.state}", address=address, ready=ready, known=len(self._servers))
        self._metrics.triton_servers.labels("known").set(len(self._servers))
        self._metrics.triton_servers.labels("ready").set(ready)
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    @property
    def known(self) -> int:
        """Number of servers, ready or not."""
        return len(self._servers)

    @property
    def is_ready(self) -> bool:
        """Whether some server served every network at its last health probe."""
        return self._ready > 0

    def ready(self, name: str) -> bool:
        """Returns whether some server served the network at its last health probe."""
        return any(server.ready and name in server.networks for server in self._servers.values())

    def check(self, name: str) -> None:
        """Raises BackendUnavailable if tiles of the network cannot be sent now."""
        if not self._able(name):
            raise _unavailable(name)

    def network(self, name: str) -> Network:
        """Returns a network's version and limits. The network takes any size of tiles if it does so on each server.

        Raises:
            BackendUnavailable: No server has served the network yet.
        """
        servers = sorted(self._servers.values(), key=lambda server: not server.ready)
        served = [server.networks[name] for server in servers if name in server.networks]
        if not served:
            raise _unavailable(name)
        return replace(served[0], any_size=all(network.any_size for network in served))

    def tiles_ahead(self, network: Network) -> int:
        """Returns how many tiles of one image in flight keep all ready servers busy."""
        return BATCHES_AHEAD * network.max_batch_size * max(1, self._ready)

    def least_seconds(self, name: str, tiles: int, priority: Priority) -> float | None:
        """Returns a lower bound of the time for tiles; see `cellserve_gateway.app.networks.Backend.least_seconds`."""
        able = self._able(name)
        speeds = [server.tiles_per_s(name) for server in able]
        known = [speed for speed in speeds if speed]
        if not known or len(known) < len(speeds):
            return None
        return (tiles + sum(server.waiting(name, priority) for server in able)) / sum(known)

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[TileOutput, ...], context: RequestContext
    ) -> TileOutputs:
        """Runs a network on tiles; see `cellserve_gateway.app.networks.Backend.infer`.

        Only tiles that no server has computed are sent again, and a server that failed gets none until it is ready
        again. The retry needs no pause, and does not multiply the load of servers in trouble.
        """
        failures = 0
        while True:
            server = await self._choose(name, tiles.shape[2:] == (TILE, TILE), context)
            try:
                return await server.infer(name, tiles, outputs, context)
            except NotSent:
                continue
            except ServiceError as error:
                failures += 1
                bad_answer = error.reason == "TRITON_BAD_ANSWER"
                another = isinstance(error, BackendUnavailable) or (bad_answer and self._able(name))
                if not another or failures == ATTEMPTS:
                    raise
                self._metrics.triton_failovers.labels(name).inc()

    @property
    def _ready(self) -> int:
        return sum(server.ready for server in self._servers.values())

    def _able(self, name: str) -> list[TritonClient]:
        """Returns the servers that may get tiles: those that are ready.

        If no server is ready, these are the silent ones. A health probe can fail although the server works.
        """
        serving = [server for server in self._servers.values() if name in server.networks]
        return [server for server in serving if server.ready] or [server for server in serving if server.silent]

    async def _choose(self, name: str, whole: bool, context: RequestContext) -> TritonClient:
        """Returns the least loaded server that takes tiles of TILE x TILE pixels (`whole`), or of other sizes.

        Waits if no server is ready.

        Raises:
            BackendUnavailable: No server became ready in time, or those that are ready take whole tiles only.
        """
        loop = asyncio.get_running_loop()
        end = min(loop.time() + PATIENCE_S, context.deadline - DEADLINE_MARGIN_S)
        while not (able := self._able(name)):
            try:
                async with asyncio.timeout_at(end):
                    await self._refreshed.wait()
            except TimeoutError:
                raise _unavailable(name) from None
        able = [server for server in able if whole or server.networks[name].any_size]
        if not able:
            raise BackendUnavailable("the inference servers were replaced by others; try again", network=name)
        return self._balancer.choose(able, lambda server: server.load(name, context.priority))

    async def _keep(self, addresses: frozenset[str]) -> None:
        """Makes `addresses` the servers. Connections to former servers are closed once their requests are answered."""
        for address in addresses - self._servers.keys():
            server = TritonClient(address, self._expected, self._metrics, self._headers)
            self._servers[address] = server
            self._balancer.add(server)
        for address in self._servers.keys() - addresses:
            server = self._servers.pop(address)
            self._leaving.append(server)
            self._balancer.remove(server)
            self._logged_states.pop(address, None)
            log.info("Triton is gone", address=address, known=len(self._servers))
        idle = [server for server in self._leaving if not server.busy]
        for server in idle:
            self._leaving.remove(server)
            await server.close()


def _unavailable(network: str) -> BackendUnavailable:
    return BackendUnavailable(
        "no inference server is ready: none is reachable, all still load models, or the model has failed; try again",
        network=network,
    )
