"""Admission: how much the gateway processes at the same time, counted in requests, pixels and bytes.

Bytes count from the first byte of an upload to the last byte of its answer. Work over a limit is refused at once.
Uploads alone wait until memory is free: see `Admission.upload`. Parked bytes, which nobody works on, give way to both.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from cellserve_gateway.errors import Draining, Overloaded, UploadTooSlow
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings

WAKE_S = 0.25
"""Interval at which a waiting upload looks for one that has to give way."""


class Reservation:
    """Amounts of the limits that one request holds. As a context manager it holds nothing after its body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held: dict[str, int] = {}

    def resize(self, **amounts: int) -> None:
        """Changes the amounts that are held.

        Raises:
            Overloaded: A limit would be exceeded. The reservation stays as it was.
        """
        self._admission.resize(self, amounts)

    def hold(self, **amounts: int) -> None:
        """Changes the amounts that are held, limits or not: for memory that is in use already."""
        self._admission.hold(self, amounts)

    def start(self) -> None:
        """Counts the request itself, before any work.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: The gateway processes as many requests as it may.
        """
        self._admission.check_draining()
        self.resize(requests=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Holds nothing any more."""
        self._admission.hold(self, dict.fromkeys(self.held, 0))

    def take(self, other: Reservation) -> None:
        """Takes over what another reservation holds. Nobody can take the memory in between."""
        for what, amount in other.held.items():
            self.held[what] = self.held.get(what, 0) + amount
        other.held = {}


@dataclass(eq=False, slots=True)
class _Upload:
    """A message that is being received.

    Attributes:
        size: Bytes reserved.
        message: Most bytes of a message.
        since: Event loop time at which the upload could start.
        gives_way: Event loop time after which the upload is ended if another one waits for memory.
        limit: Ends the upload.
        trusted: The sender declared the size. Until the message is there, nobody can check the declaration.
    """

    size: int
    message: int
    since: float
    gives_way: float
    limit: asyncio.Timeout
    trusted: bool


@dataclass(eq=False, slots=True)
class _Waiting:
    reservation: Reservation
    size: int
    message: int
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """Counts what is in flight, and keeps it below the limits. Not thread-safe."""

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
        self._max_uploading = settings.max_bytes_uploading
        self._max_receiving = settings.max_bytes_receiving
        self._uploading = self._receiving = 0
        self._uploads: set[_Upload] = set()
        self._upload_begun = asyncio.Event()
        self._waiting: deque[_Waiting] = deque()
        self._parked: dict[Reservation, Callable[[], None]] = {}  # the one parked first comes first

    def drain(self) -> None:
        """Refuses all new work from now on, and ends the uploads."""
        self._draining = True
        self._end(self._uploads)
        self._drop_parked()

    def check_draining(self) -> None:
        """Raises Draining if the gateway is shutting down."""
        if self._draining:
            raise Draining("the gateway is shutting down; another one will take the request")

    def in_flight(self, what: str) -> int:
        """Returns the requests, pixels or bytes that are in flight."""
        return self._in_flight[what]

    @contextlib.contextmanager
    def admit(self, **amounts: int) -> Iterator[Reservation]:
        """Reserves the amounts (requests, pixels, bytes) while the body runs. The body may resize them.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: A limit would be exceeded. A request that exceeds a limit alone is admitted if nothing else is
                in flight.
        """
        self.check_draining()
        reservation = self.reservation()
        self.resize(reservation, amounts)
        try:
            yield reservation
        finally:
            reservation.release()

    def reservation(self) -> Reservation:
        """Returns a reservation that holds nothing yet. Its owner releases it."""
        return Reservation(self)

    def resize(self, reservation: Reservation, amounts: Mapping[str, int]) -> None:
        """Checks the limits and resizes a reservation; see `Reservation.resize`."""
        for what, amount in amounts.items():
            if amount > reservation.held.get(what, 0) and not self._fits(reservation, what, amount):
                others, limit = self._in_flight[what] - reservation.held.get(what, 0), self._limits[what]
                raise Overloaded(
                    f"{others:,} {what} are in flight; {amount:,} more exceed the limit of {limit:,}; try again later",
                    resource=what,
                    limit=limit,
                )
        self.hold(reservation, amounts)

    def hold(self, reservation: Reservation, amounts: Mapping[str, int]) -> None:
        """Resizes a reservation without a check; see `Reservation.hold`."""
        self._set(reservation, amounts)
        self._admit_waiting()

    def park(self, reservation: Reservation, drop: Callable[[], None]) -> None:
        """Notes that a reservation holds bytes that nobody works on. Whoever would otherwise wait or fail gets them.

        Args:
            reservation: Holds bytes only.
            drop: Is called when the bytes are taken: the memory has to be freed.
        """
        if self._draining:
            self._drop(reservation, drop)
        else:
            self._parked[reservation] = drop

    def unpark(self, reservation: Reservation) -> None:
        """Notes that a parked reservation is needed again."""
        del self._parked[reservation]

    @contextlib.asynccontextmanager
    async def upload(
        self,
        reservation: Reservation,
        size: int,
        *,
        grace_s: float,
        message: int | None = None,
        time_limit_s: float | None = None,
        patience_s: float | None = None,
        trusted: bool = False,
        resumed: bool = False,
    ) -> AsyncIterator[None]:
        """Reserves bytes for an upload before it is received; the body receives it.

        Waits until the bytes are free, in the order of arrival.

        Args:
            reservation: Gets `size` bytes.
            size: Most bytes that the upload can have.
            grace_s: Seconds after which the upload gives way to one that waits for memory.
            message: Most bytes of a message of the upload. None: the upload is one message.
            time_limit_s: Seconds for the body. None: no limit.
            patience_s: Seconds to wait for the bytes. None: no limit.
            trusted: The sender declared the size; see `shed_uploads`.
            resumed: The reservation has the bytes already, but for a message. The upload waits at the head of the line:
                the others may wait for its bytes.

        Raises:
            Draining: The gateway is shutting down.
            Overloaded: The bytes did not become free in time.
            UploadTooSlow: The body took too long, or gave way.
        """
        self.check_draining()
        message = size if message is None else message
        await self._wait_for_memory(_Waiting(reservation, size, message), patience_s, resumed)
        now, limit = asyncio.get_running_loop().time(), asyncio.timeout(time_limit_s)
        upload = _Upload(size, message, now, now + grace_s, limit, trusted)
        self._uploads.add(upload)
        self._upload_begun.set()
        try:
            self.check_draining()
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            self.check_draining()
            raise UploadTooSlow(
                "the message did not arrive in time; send it over a faster connection, or in smaller parts",
                seconds=round(asyncio.get_running_loop().time() - upload.since, 1),
            ) from None
        finally:
            self._uploads.discard(upload)
            self._ended(upload)

    async def wait_upload(self, timeout_s: float) -> None:
        """Waits until an upload is under way, `timeout_s` seconds at most."""
        if self._uploads:
            return
        self._upload_begun.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._upload_begun.wait(), timeout_s)

    def shed_uploads(self) -> int:
        """Ends the uploads of declared size; returns their number. For a process that runs out of memory.

        Parked bytes are dropped, too.
        """
        self._drop_parked()
        return self._end({upload for upload in self._uploads if upload.trusted})

    def _end(self, uploads: set[_Upload]) -> int:
        ending = list(uploads)
        self._uploads = self._uploads.difference(ending)
        for upload in ending:
            upload.limit.reschedule(upload.since)
        return len(ending)

    def _set(self, reservation: Reservation, amounts: Mapping[str, int]) -> None:
        for what, amount in amounts.items():
            self._in_flight[what] += amount - reservation.held.get(what, 0)
            self._gauges[what].set(self._in_flight[what])
            reservation.held[what] = amount

    def _fits(self, reservation: Reservation, what: str, amount: int) -> bool:
        """Tells whether a reservation may have an amount. Drops parked bytes, the oldest first, if that helps."""
        others = self._in_flight[what] - reservation.held.get(what, 0)
        if not others or others + amount <= self._limits[what]:
            return True
        lacking = others + amount - self._limits[what]
        if what != "bytes" or lacking > sum(parked.held["bytes"] for parked in self._parked):
            return False
        self._drop_parked(lacking)
        return True

    def _drop_parked(self, lacking: float = math.inf) -> None:
        """Drops parked reservations, the oldest first, until so many bytes are free."""
        while self._parked and lacking > 0:
            oldest = next(iter(self._parked))
            lacking -= oldest.held["bytes"]
            self._drop(oldest, self._parked.pop(oldest))

    def _drop(self, reservation: Reservation, drop: Callable[[], None]) -> None:
        self._set(reservation, dict.fromkeys(reservation.held, 0))
        drop()

    def _ended(self, upload: _Upload | _Waiting) -> None:
        self._uploading -= upload.size
        self._receiving -= upload.message
        self._admit_waiting()

    async def _wait_for_memory(self, waiting: _Waiting, patience_s: float | None, at_head: bool) -> None:
        loop = asyncio.get_running_loop()
        end = math.inf if patience_s is None else loop.time() + patience_s
        (self._waiting.appendleft if at_head else self._waiting.append)(waiting)
        self._admit_waiting()
        try:
            while not waiting.granted.done():
                self.check_draining()
                now, first = loop.time(), min(self._uploads, key=lambda upload: upload.gives_way, default=None)
                if now >= end:
                    raise Overloaded(
                        f"uploads wait for memory: {self._in_flight['bytes']:,} bytes are in flight; try again later",
                        resource="bytes",
                        limit=self._limits["bytes"],
                    )
                if first and now >= first.gives_way:
                    self._end({first})
                await asyncio.wait({waiting.granted}, timeout=min(end - now, WAKE_S))
        except BaseException:
            if waiting.granted.done():
                self._ended(waiting)
            else:
                self._waiting.remove(waiting)
                self._admit_waiting()
            raise

    def _admit_waiting(self) -> None:
        """Reserves bytes for the uploads that wait, as far as bytes are free."""
        while self._waiting:
            first = self._waiting[0]
            if self._uploading and self._uploading + first.size > self._max_uploading:
                return
            if self._receiving and self._receiving + first.message > self._max_receiving:
                return
            if not self._fits(first.reservation, "bytes", first.size):
                return
            self._waiting.popleft()
            self._uploading += first.size
            self._receiving += first.message
            first.granted.set_result(None)
            self.hold(first.reservation, {"bytes": first.size})
