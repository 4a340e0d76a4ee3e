"""Admission: how much the gateway takes on at once, counted in images, pixels and bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .errors import Draining, Overloaded
from .metrics import Metrics
from .settings import Settings


class Admission:
    """Refuses work over the limits at once, instead of queueing what would never finish. Not thread-safe."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._limits = {
            "requests": settings.max_requests_in_flight,
            "pixels": settings.max_pixels_in_flight,
            "bytes": settings.max_bytes_in_flight,
        }
        self._gauges = {
            "requests": metrics.requests_in_flight,
            "pixels": metrics.pixels_in_flight,
            "bytes": metrics.bytes_in_flight,
        }
        self._in_flight = dict.fromkeys(self._limits, 0)
        self._draining = False

    def drain(self) -> None:
        """Refuses all new work from now on."""
        self._draining = True

    @contextlib.contextmanager
    def admit(self, **amounts: int) -> Iterator[None]:
        """Holds the amounts (requests, pixels, bytes) while the body runs.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: A limit would be exceeded. What exceeds a limit by itself is let in when nothing else is in
                flight.
        """
        if self._draining:
            raise Draining("the gateway is shutting down; another one will take the request")
        for what, amount in amounts.items():
            in_flight, limit = self._in_flight[what], self._limits[what]
            if in_flight and in_flight + amount > limit:
                raise Overloaded(
                    f"the gateway works on {in_flight:,} {what}; {amount:,} more exceed {limit:,}; try again later",
                    resource=what,
                    limit=limit,
                )
        self._add(amounts, 1)
        try:
            yield
        finally:
            self._add(amounts, -1)

    def _add(self, amounts: dict[str, int], sign: int) -> None:
        for what, amount in amounts.items():
            self._in_flight[what] += sign * amount
            self._gauges[what].set(self._in_flight[what])
