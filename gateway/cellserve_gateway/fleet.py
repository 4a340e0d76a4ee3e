"""All Tritons behind one name: which there are, which are ready, which takes the next tile (docs/decisions/0014)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping

import numpy as np
import structlog
from numpy.typing import NDArray

from .addresses import Addresses
from .errors import TritonUnavailable
from .families import Family
from .metrics import Metrics
from .triton import Maps, Network, Priority, Triton

log = structlog.get_logger()
ATTEMPTS = 3  # servers that a tile is sent to, one after the other, before its image fails


class Fleet:
    """The Tritons that serve the same model repository.

    Each tile goes to the ready server that has the fewest of its network and lane from this gateway: idle servers are
    used at once, a slow one gets less, and batches fill where there is more than one server's work. A server that
    fails is left until it is ready again, and its tiles go to others.

    Args:
        target: Where they are; see `Addresses`.
        families: The families that should be served, by name.
        metrics: Where servers and requests are counted.
        headers: Gives the headers of a request to Triton.

    Raises:
        ValueError: The target makes no sense.
    """

    def __init__(
        self,
        target: str,
        families: Mapping[str, Family],
        metrics: Metrics,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self._addresses = Addresses(target)
        self._expected = {name: file.sha256 for family in families.values() for name, file in family.networks.items()}
        self._metrics = metrics
        self._headers = headers
        self._servers: dict[str, Triton] = {}
        self._leaving: list[Triton] = []
        self._told: dict[str, str] = {}
        self._turns: dict[Triton, float] = {}  # when each was chosen last: equals take turns
        self._turn = itertools.count(1)

    async def close(self) -> None:
        """Closes all connections."""
        await self._addresses.close()
        for server in [*self._servers.values(), *self._leaving]:
            await server.close()

    async def refresh(self) -> None:
        """Looks up the servers, and at the readiness of each."""
        try:
            addresses = await self._addresses.resolve()
        except OSError as error:
            log.warning("Tritons cannot be looked up", error=str(error))
            addresses = frozenset()
        if addresses:  # a name server that fails or knows none for a moment does not take away the ones we have
            await self._keep(addresses)
        await asyncio.gather(*(server.probe() for server in self._servers.values()))
        ready = self._ready
        for server in [*self._servers.values(), *self._leaving]:
            if ready and (not server.ready or server in self._leaving):
                server.dismiss()
        for address, server in self._servers.items():
            if self._told.get(address) != server.state:
                self._told[address] = server.state
                log.info(f"Triton is {server.state}", address=address, ready=ready, known=len(self._servers))
        self._metrics.triton_servers.labels("known").set(len(self._servers))
        self._metrics.triton_servers.labels("ready").set(ready)

    @property
    def known(self) -> int:
        """Servers there are, ready or not."""
        return len(self._servers)

    @property
    def size(self) -> int:
        """Servers to spread work over: the ready ones, one at least."""
        return max(1, self._ready)

    @property
    def is_ready(self) -> bool:
        """Whether some server served every network when last looked at."""
        return self._ready > 0

    def ready(self, name: str) -> bool:
        """Returns whether some server served the network when last looked at."""
        return any(server.ready and name in server.networks for server in self._servers.values())

    def network(self, name: str) -> Network:
        """Returns a network's limits and version.

        Raises:
            TritonUnavailable: No server has been seen serving it yet.
        """
        for server in sorted(self._servers.values(), key=lambda server: not server.ready):
            if name in server.networks:
                return server.networks[name]
        raise _nobody(name)

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[str, ...], priority: Priority, deadline: float
    ) -> Maps:
        """Runs a network on tiles, on a server that is there; arguments, result and errors as of `Triton.infer`.

        Only what did not run is sent again, and only to servers that it was not sent to before: there is nothing to
        wait for, and the load of servers in trouble is not multiplied.
        """
        failed: list[Triton] = []
        while True:
            server = self._choose(name, priority, failed)
            try:
                return await server.infer(name, tiles, outputs, priority, deadline)
            except TritonUnavailable:
                server.ready = False  # until the next look at it
                failed.append(server)
                others = any(other.ready for other in self._servers.values() if other not in failed)
                if len(failed) == ATTEMPTS or not others:
                    raise
                self._metrics.triton_failovers.labels(name).inc()

    @property
    def _ready(self) -> int:
        return sum(server.ready for server in self._servers.values())

    def _choose(self, name: str, priority: Priority, failed: list[Triton]) -> Triton:
        """Returns the least loaded server; where none is ready, one that may be: a look at it can fail of itself."""
        able = [server for server in self._servers.values() if name in server.networks and server not in failed]
        if not able:
            raise _nobody(name)
        chosen = min(able, key=lambda server: (not server.ready, server.load(name, priority), self._turns[server]))
        self._turns[chosen] = next(self._turn)
        return chosen

    async def _keep(self, addresses: frozenset[str]) -> None:
        """Makes `addresses` the servers; those that are none any more are left once their work is done."""
        for address in addresses - self._servers.keys():
            server = Triton(address, self._expected, self._metrics, self._headers)
            self._servers[address] = server
            self._turns[server] = random.random()  # the first order is another one in each gateway
        for address in self._servers.keys() - addresses:
            server = self._servers.pop(address)
            self._leaving.append(server)
            del self._turns[server]
            self._told.pop(address, None)
            log.info("Triton is gone", address=address, known=len(self._servers))
        idle = [server for server in self._leaving if not server.busy]
        for server in idle:
            self._leaving.remove(server)
            await server.close()


def _nobody(network: str) -> TritonUnavailable:
    return TritonUnavailable("no inference server can be reached, or they still load; try again", network=network)
