"""Uploads that broke: their bytes wait a while for a call that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .admission import Admission, Reservation

B = TypeVar("B")
MOST_OF_A_CALLER = 8
"""Parked uploads of one caller. One more drops the oldest of them."""
MOST = 64
"""Parked uploads of all callers. One more drops the oldest."""


@dataclass(frozen=True, slots=True)
class UploadKey:
    """The name of an upload: another caller with the same key has another upload.

    Attributes:
        caller: Name of the caller.
        key: The caller's idempotency key.
    """

    caller: str
    key: str


@dataclass(eq=False, slots=True)
class Live:
    """An upload under way.

    Attributes:
        header: What the caller declared, as bytes.
        stop: Ends the upload, and parks its bytes.
    """

    header: bytes
    stop: Callable[[], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Parked(Generic[B]):
    header: bytes
    content: B
    reservation: Reservation
    expiry: asyncio.TimerHandle


class Parking(Generic[B]):
    """The uploads that have a key: those under way, and those that broke.

    A parked upload keeps its memory until it is continued or expires, the gateway drains, or other work needs the
    memory (`Admission.park`). The newest call with a key continues the upload, whether or not the older call has
    broken.

    Args:
        admission: Counts the memory.
        keep_s: Seconds that a parked upload is kept. 0: none is.
    """

    def __init__(self, admission: Admission, keep_s: float) -> None:
        self._admission = admission
        self._keep_s = keep_s
        self._live: dict[UploadKey, Live] = {}
        self._parked: dict[UploadKey, _Parked[B]] = {}  # the one parked first comes first

    async def begin(
        self, key: UploadKey, header: bytes, reservation: Reservation, stop: Callable[[], Awaitable[None]]
    ) -> tuple[Live, B | None]:
        """Begins an upload, or continues that of an earlier call with the same key and header.

        Bytes that were sent with another header are dropped.

        Args:
            key: Name of the upload. Without an idempotency key, the upload can neither be continued nor parked.
            header: What the caller declared.
            reservation: Gets the memory of the bytes that are there.
            stop: Ends the upload when a newer call continues it.

        Returns:
            The upload, to be handed to `end` or `park`, and what is there of it. None: nothing is.
        """
        live = Live(header, stop)
        if not key.key:
            return live, None
        while (older := self._live.get(key)) and older.header == header:
            await older.stop()
        self._live[key] = live
        parked = self._parked.get(key)
        if parked is None:
            return live, None
        self._admission.unpark(parked.reservation)
        self._forget(key)
        if parked.header != header:
            parked.reservation.release()
            return live, None
        reservation.take(parked.reservation)
        return live, parked.content

    def end(self, key: UploadKey, live: Live) -> None:
        """Ends an upload, complete or refused: nobody can continue it."""
        if self._live.get(key) is live:
            del self._live[key]

    def park(self, key: UploadKey, live: Live, content: B, reservation: Reservation, size: int) -> None:
        """Ends an upload that broke, and keeps what is there of it.

        Args:
            key: As for `begin`.
            live: The upload.
            content: What is there of it.
            reservation: Holds the memory of the upload. Holds nothing afterwards.
            size: Bytes of the whole, which remain reserved.
        """
        owns = self._live.get(key) is live
        self.end(key, live)
        if not owns or not self._keep_s:
            return
        ours = [parked for parked in self._parked if parked.caller == key.caller]
        if len(ours) >= MOST_OF_A_CALLER or len(self._parked) >= MOST:
            oldest = ours[0] if len(ours) >= MOST_OF_A_CALLER else next(iter(self._parked))
            self._drop(oldest)
        kept = self._admission.reservation()
        kept.take(reservation)
        kept.hold(bytes=size)
        expiry = asyncio.get_running_loop().call_later(self._keep_s, self._drop, key)
        self._parked[key] = _Parked(live.header, content, kept, expiry)
        self._admission.park(kept, lambda: self._forget(key))

    def _drop(self, key: UploadKey) -> None:
        reservation = self._parked[key].reservation
        self._admission.unpark(reservation)
        self._forget(key)
        reservation.release()

    def _forget(self, key: UploadKey) -> None:
        self._parked.pop(key).expiry.cancel()
