"""Callers of the simulated gateways (pods.py), and the run of a simulation."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

from cellserve.errors import CellServeError, OverloadedError, UnavailableError
from cellserve.retry import Attempts, Retries

from .deployment import Deployment, Image, Outcome, Times
from .pods import Cluster
from .tiles import Status

IMAGES_PER_CLIENT = 8
"""Images that one client keeps in flight (`segment_many`)."""
RETRY_AFTER_S = 1.0
"""Delay that the gateway advises with a refusal."""
DEADLINE_S = 300.0
"""The client's deadline unless a call says otherwise."""


_ERRORS: dict[str, CellServeError] = {
    "refused": OverloadedError("full", retry_after_s=RETRY_AFTER_S),
    "unavailable": UnavailableError("gone"),
}


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
    """A caller that distributes images among the gateways, round robin, with the retries of the client library."""

    def __init__(self, cluster: Cluster, image: Image, load: Load) -> None:
        self._cluster, self._image, self._load = cluster, image, load
        self._position = cluster.chance.randrange(len(cluster.gateways))
        self._retries = Retries(cluster.clock.time, cluster.chance.random)
        self._retries.reached = True

    def start(self) -> None:
        """Requests an image, unless the load is complete."""
        outcome, now = self._cluster.outcome, self._cluster.clock.time()
        if outcome.started < self._load.images and now < self._load.seconds:
            outcome.started += 1
            self._request(now, Attempts(self._retries, DEADLINE_S))

    def _request(self, begin: float, attempts: Attempts) -> None:
        try:
            pause_s = attempts.pause_s()
        except CellServeError:
            self._lose(attempts)
            return
        if pause_s:
            self._cluster.clock.call_later(pause_s, lambda: self._request(begin, attempts))
            return
        self._position += 1
        gateway = self._cluster.gateways[self._position % len(self._cluster.gateways)]
        gateway.segment(self._image, lambda status: self._answered(status, begin, attempts))

    def _answered(self, status: Status, begin: float, attempts: Attempts) -> None:
        outcome, now = self._cluster.outcome, self._cluster.clock.time()
        outcome.refusals += status == "refused"
        outcome.repeats += status == "unavailable"
        if status == "finished":
            outcome.finished.append((now, now - begin))
            if self._load.in_flight:
                self.start()
        elif attempts.goes_on(_ERRORS[status]):
            self._request(begin, attempts)
        else:
            self._lose(attempts)

    def _lose(self, attempts: Attempts) -> None:
        self._cluster.outcome.lost += 1
        with attempts:  # leaves the line
            pass
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
