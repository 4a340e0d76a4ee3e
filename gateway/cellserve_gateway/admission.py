"""Admission: how much the gateway takes on at once, counted in images, pixels and bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from .errors import Draining, Overloaded
from .metrics import Metrics
from .settings import Settings


class Share:
    """What one piece of work holds of the limits while it is worked on."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held: dict[str, int] = {}

    def change(self, **amounts: int) -> None:
        """Holds these amounts from now on, more or less than before.

        Raises:
            Overloaded: A limit would be exceeded; all stays as it was.
        """
        self._admission.move(self, amounts)


class Admission:
    """Refuses work over the limits at once, instead of queueing what would never finish. Not thread-safe."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._limits = {
            "requests": settings.max_requests_in_flight,
            "pixels": settings.max_pixels_in_flight,
            "bytes": settings.max_bytes_in_flight,
        }
        self._gauges = {resource: metrics.in_flight.labels(resource) for resource in self._limits}
        for resource, limit in self._limits.items():
            metrics.limits.labels(resource).set(limit)
        self._in_flight = dict.fromkeys(self._limits, 0)
        self._draining = False

    def drain(self) -> None:
        """Refuses all new work from now on."""
        self._draining = True

    @contextlib.contextmanager
    def admit(self, **amounts: int) -> Iterator[Share]:
        """Holds the amounts (requests, pixels, bytes) while the body runs, which can change them.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: A limit would be exceeded. What exceeds a limit by itself is let in when nothing else is in
                flight.
        """
        if self._draining:
            raise Draining("the gateway is shutting down; another one will take the request")
        share = Share(self)
        self.move(share, amounts)
        try:
            yield share
        finally:
            self._set(share, dict.fromkeys(share.held, 0))

    def move(self, share: Share, amounts: Mapping[str, int]) -> None:
        """Checks the limits and changes what a share holds; see `Share.change`."""
        for what, amount in amounts.items():
            others, limit = self._in_flight[what] - share.held.get(what, 0), self._limits[what]
            if others and others + amount > limit:
                raise Overloaded(
                    f"the gateway works on {others:,} {what}; {amount:,} more exceed {limit:,}; try again later",
                    resource=what,
                    limit=limit,
                )
        self._set(share, amounts)

    def _set(self, share: Share, amounts: Mapping[str, int]) -> None:
        for what, amount in amounts.items():
            self._in_flight[what] += amount - share.held.get(what, 0)
            self._gauges[what].set(self._in_flight[what])
            share.held[what] = amount
