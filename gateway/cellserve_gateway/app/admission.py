"""Admission: how much the gateway processes at the same time, counted in requests, pixels and bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from cellserve_gateway.errors import Draining, Overloaded
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings


class Reservation:
    """Amounts of the limits that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held: dict[str, int] = {}

    def resize(self, **amounts: int) -> None:
        """Changes the amounts that are held.

        Raises:
            Overloaded: A limit would be exceeded. The reservation stays as it was.
        """
        self._admission.resize(self, amounts)


class Admission:
    """Refuses work over the limits at once, instead of queueing work that would never finish. Not thread-safe."""

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
    def admit(self, **amounts: int) -> Iterator[Reservation]:
        """Reserves the amounts (requests, pixels, bytes) while the body runs. The body may resize them.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: A limit would be exceeded. A request that exceeds a limit alone is admitted if nothing else is
                in flight.
        """
        if self._draining:
            raise Draining("the gateway is shutting down; another one will take the request")
        reservation = Reservation(self)
        self.resize(reservation, amounts)
        try:
            yield reservation
        finally:
            self._set(reservation, dict.fromkeys(reservation.held, 0))

    def resize(self, reservation: Reservation, amounts: Mapping[str, int]) -> None:
        """Checks the limits and resizes a reservation; see `Reservation.resize`."""
        for what, amount in amounts.items():
            others, limit = self._in_flight[what] - reservation.held.get(what, 0), self._limits[what]
            if others and others + amount > limit:
                raise Overloaded(
                    f"{others:,} {what} are in flight; {amount:,} more exceed the limit of {limit:,}; try again later",
                    resource=what,
                    limit=limit,
                )
        self._set(reservation, amounts)

    def _set(self, reservation: Reservation, amounts: Mapping[str, int]) -> None:
        for what, amount in amounts.items():
            self._in_flight[what] += amount - reservation.held.get(what, 0)
            self._gauges[what].set(self._in_flight[what])
            reservation.held[what] = amount
