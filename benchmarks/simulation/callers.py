"""Callers of the simulated gateways (pods.py), and the run of a simulation."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

from .deployment import Deployment, Image, Outcome, Times
from .pods import Cluster
from .tiles import Status

IMAGES_PER_CLIENT = 8
"""Images that one client keeps in flight (`segment_many`)."""
RETRY_AFTER_S = 1.0
"""Delay that the gateway advises with a refusal."""
ATTEMPTS, BACKOFF_S, JITTER = 5, 0.2, 0.2
"""The client's retries if a gateway is unavailable (client/cellserve/channel.py). The delay doubles each time."""
RETRY_TOKENS, TOKENS_PER_SUCCESS = 1000, 0.1
"""Retry throttling of the client. A failure costs one token; below half of the tokens the client does not retry."""


@dataclass(frozen=True, slots=True)
class Load:
    """The images that callers request.

    Attributes:
        in_flight: Images always in flight. If 0, images come at `rate`.
        rate: Images per second, at random times.
        images: Number of images after which none starts.
        seconds: Time after which no image starts.
    """

    in_flight: int = 0
    rate: float = 0.0
    images: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Failure:
    """Tritons that stop without notice.

    Attributes:
        at_s: Time of the failure.
        share: Share of all Tritons that stop.
        avoided_s: Delay after which gateways send no more tiles to the stopped Tritons.
        cancelled_s: Delay after which gateways cancel the tiles sent to the stopped Tritons.
    """

    at_s: float
    share: float
    avoided_s: float
    cancelled_s: float


class Client:
    """A caller that distributes images among the gateways, round robin, and retries as the client library does."""

    def __init__(self, cluster: Cluster, image: Image, load: Load) -> None:
        self._cluster, self._image, self._load = cluster, image, load
        self._position = cluster.chance.randrange(len(cluster.gateways))
        self._tokens = float(RETRY_TOKENS)

    def start(self) -> None:
        """Requests an image, unless the load is complete."""
        outcome, now = self._cluster.outcome, self._cluster.clock.time()
        if outcome.started < self._load.images and now < self._load.seconds:
            outcome.started += 1
            self._request(now, 1)

    def _request(self, begin: float, attempt: int) -> None:
        self._position += 1
        gateway = self._cluster.gateways[self._position % len(self._cluster.gateways)]
        gateway.segment(self._image, lambda status: self._answered(status, begin, attempt))

    def _request_later(self, delay_s: float, begin: float, attempt: int) -> None:
        jitter = self._cluster.chance.uniform(1 - JITTER, 1 + JITTER)
        self._cluster.clock.call_later(delay_s * jitter, lambda: self._request(begin, attempt))

    def _answered(self, status: Status, begin: float, attempt: int) -> None:
        outcome = self._cluster.outcome
        if status == "refused":
            outcome.refusals += 1
            self._request_later(RETRY_AFTER_S, begin, attempt)
            return
        if status == "unavailable":
            self._tokens -= 1
            if attempt < ATTEMPTS and self._tokens > RETRY_TOKENS / 2:
                outcome.repeats += 1
                self._request_later(BACKOFF_S * 2 ** (attempt - 1), begin, attempt + 1)
                return
            outcome.lost += 1
        else:
            self._tokens = min(RETRY_TOKENS, self._tokens + TOKENS_PER_SUCCESS)
            now = self._cluster.clock.time()
            outcome.finished.append((now, now - begin))
        if self._load.in_flight:
            self.start()


def simulate(
    deployment: Deployment,
    times: Times,
    image: Image,
    load: Load,
    *,
    seed: int = 0,
    until_s: float = math.inf,
    failure: Failure | None = None,
) -> Outcome:
    """Runs a simulation until a time, or until every image that started has ended.

    The same seed gives the same outcome.
    """
    cluster = Cluster(deployment, times, seed)
    if load.in_flight:
        clients = [Client(cluster, image, load) for _ in range(-(-load.in_flight // IMAGES_PER_CLIENT))]
        for number in range(load.in_flight):
            clients[number % len(clients)].start()
    else:
        clients = [Client(cluster, image, load) for _ in cluster.gateways]
        _arrive(cluster, clients, load)
    if failure:
        cluster.clock.call_at(failure.at_s, lambda: cluster.fail(failure.share, failure.avoided_s, failure.cancelled_s))
    gc.disable()  # a quarter of the time: there are millions of small objects, and none of them is in a cycle
    try:
        cluster.clock.run(until_s)
    finally:
        gc.enable()
    return cluster.outcome


def _arrive(cluster: Cluster, clients: list[Client], load: Load) -> None:
    now = cluster.clock.time()
    if now < load.seconds and cluster.outcome.started < load.images:
        cluster.clock.call_later(cluster.chance.expovariate(load.rate), lambda: _arrive(cluster, clients, load))
        if now:
            cluster.chance.choice(clients).start()
