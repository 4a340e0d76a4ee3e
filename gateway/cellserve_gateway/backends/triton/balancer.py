"""The choice of a server for the next request."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

ServerT = TypeVar("ServerT")


class LeastLoaded(Generic[ServerT]):
    """Chooses the least loaded server. Among equally loaded servers, the one chosen longest ago is next.

    New servers come first, in random order. Several gateways that start together then begin with different servers.

    Args:
        chance: Source of the random order.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._counter = itertools.count(1)
        self._last_chosen: dict[ServerT, float] = {}

    def add(self, server: ServerT) -> None:
        """Adds a server."""
        self._last_chosen[server] = self._chance.random()

    def remove(self, server: ServerT) -> None:
        """Removes a server.

        Raises:
            KeyError: The server was never added.
        """
        del self._last_chosen[server]

    def choose(self, candidates: Sequence[ServerT], load: Callable[[ServerT], Any]) -> ServerT:
        """Returns one of the candidates.

        Args:
            candidates: Servers that were added before.
            load: Returns a server's load: a number, or a tuple whose first items matter most.

        Raises:
            ValueError: There are no candidates.
            KeyError: A least loaded candidate was never added.
        """
        loads = [load(server) for server in candidates]
        least = min(loads)
        equals = [server for server, its_load in zip(candidates, loads, strict=True) if its_load == least]
        chosen = min(equals, key=self._last_chosen.__getitem__)
        self._last_chosen[chosen] = next(self._counter)
        return chosen
