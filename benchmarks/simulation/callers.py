"""Callers of gateways and Tritons (pods.py), and the run of it all."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

from .deployment import Deployment, Outcome, Picture, Times
from .pods import World
from .tiles import End

CALLER = 8
"""Images a client keeps in flight (`segment_many`)."""
REFUSED_AGAIN_S = 1.0
"""The gateway's advice with a refusal."""
ATTEMPTS, BACKOFF_S, JITTER = 5, 0.2, 0.2
"""Of the client, for what is unavailable (client/cellserve/channel.py); the wait doubles each time."""
RETRY_TOKENS, TOKENS_PER_SUCCESS = 1000, 0.1
"""A failure costs a token; a client that has spent half of them does not retry."""


@dataclass(frozen=True, slots=True)
class Load:
    """What callers do.

    Attributes:
        in_flight: Images always under way; 0 if they come by `rate`.
        rate: Images a second, coming at random.
        images: No image starts after so many,
        seconds: or after this time.
    """

    in_flight: int = 0
    rate: float = 0.0
    images: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Failure:
    """Tritons vanish without a word.

    Attributes:
        at_s: When.
        share: Of all Tritons.
        avoided_s: So long afterwards gateways send nothing more to them,
        noticed_s: and so long afterwards they give up what they have sent.
    """

    at_s: float
    share: float
    avoided_s: float
    noticed_s: float


class Client:
    """A caller: goes round the gateways, repeats what it may."""

    def __init__(self, world: World, picture: Picture, load: Load) -> None:
        self._world, self._picture, self._load = world, picture, load
        self._turn = world.chance.randrange(len(world.gateways))
        self._tokens = float(RETRY_TOKENS)

    def start(self) -> None:
        """Asks for an image, if another may start."""
        world = self._world
        if world.outcome.started < self._load.images and world.clock.now < self._load.seconds:
            world.outcome.started += 1
            self._ask(world.clock.now, 1)

    def _ask(self, begin: float, attempt: int) -> None:
        self._turn += 1
        gateway = self._world.gateways[self._turn % len(self._world.gateways)]
        gateway.segment(self._picture, lambda how: self._answer(how, begin, attempt))

    def _ask_later(self, seconds: float, begin: float, attempt: int) -> None:
        jitter = self._world.chance.uniform(1 - JITTER, 1 + JITTER)
        self._world.clock.after(seconds * jitter, lambda: self._ask(begin, attempt))

    def _answer(self, how: End, begin: float, attempt: int) -> None:
        world, outcome = self._world, self._world.outcome
        if how == "refused":
            outcome.refusals += 1
            self._ask_later(REFUSED_AGAIN_S, begin, attempt)
            return
        if how == "unavailable":
            self._tokens -= 1
            if attempt < ATTEMPTS and self._tokens > RETRY_TOKENS / 2:
                outcome.repeats += 1
                self._ask_later(BACKOFF_S * 2 ** (attempt - 1), begin, attempt + 1)
                return
            outcome.lost += 1
        else:
            self._tokens = min(RETRY_TOKENS, self._tokens + TOKENS_PER_SUCCESS)
            outcome.finished.append((world.clock.now, world.clock.now - begin))
        if self._load.in_flight:
            self.start()


def simulate(
    deployment: Deployment,
    times: Times,
    picture: Picture,
    load: Load,
    *,
    seed: int = 0,
    until_s: float = math.inf,
    failure: Failure | None = None,
) -> Outcome:
    """Runs pods until a time, or until every image that started has ended; the same seed gives the same outcome."""
    world = World(deployment, times, seed)
    if load.in_flight:
        clients = [Client(world, picture, load) for _ in range(-(-load.in_flight // CALLER))]
        for image in range(load.in_flight):
            clients[image % len(clients)].start()
    else:
        clients = [Client(world, picture, load) for _ in world.gateways]
        _arrive(world, clients, load)
    if failure:
        world.clock.at(failure.at_s, lambda: world.vanish(failure.share, failure.avoided_s, failure.noticed_s))
    gc.disable()  # millions of small objects come and go, none in cycles: looking for those takes a quarter of the time
    try:
        world.clock.run(until_s)
    finally:
        gc.enable()
    return world.outcome


def _arrive(world: World, clients: list[Client], load: Load) -> None:
    if world.clock.now < load.seconds and world.outcome.started < load.images:
        world.clock.after(world.chance.expovariate(load.rate), lambda: _arrive(world, clients, load))
        if world.clock.now:
            world.chance.choice(clients).start()
