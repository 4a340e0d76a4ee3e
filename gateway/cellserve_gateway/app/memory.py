"""Memory of the process: how much it has, and what the allocator can give back."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import Any

import structlog

from cellserve_gateway.settings import Settings

from .admission import Admission

log = structlog.get_logger()
CHECK_S, IDLE_CHECK_S = 0.05, 1.0
"""Intervals of the checks: during uploads, and otherwise."""
WORKING_BYTES_PER_PIXEL = 28
"""Memory of an image in work, beside the image itself."""
MARGIN_BYTES = 768 << 20
"""Memory beyond `max_bytes_in_flight` and the images in work at which uploads on trust are ended."""
UNUSED_BYTES = 64 << 20
"""Memory that nothing in flight explains, and that the allocator is asked to give back."""
IDLE_S = 30.0
"""Time without an image in work after which unused memory is given back. Images soon ask for it again, page by page."""
SHORT_TRIM_INTERVAL_S = 0.5
"""Interval at which memory is given back during the work if the process has more than half of its limit."""

_STATM = "/proc/self/statm"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryGuard:
    """Keeps the resident memory of the process in step with what is in flight.

    Received messages leave free memory behind that the C library keeps for its own use. The guard returns such memory
    to the system. If the process nevertheless exceeds its limit, a caller has declared a wrong size. Uploads of
    declared size are then ended.
    """

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self._limit = settings.max_bytes_in_flight + MARGIN_BYTES
        self._admission = admission
        self._trim = _trim_function()
        self._least: int | None = None
        self._busy = self._trimmed = 0.0

    async def run(self) -> None:
        """Guards until cancelled. Does nothing where the system does not tell the memory of a process (not Linux)."""
        try:
            statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            while True:
                await self._check(_resident_bytes(statm))
                await self._admission.wait_upload(IDLE_CHECK_S)
                await asyncio.sleep(CHECK_S)
        finally:
            os.close(statm)

    async def _check(self, resident: int) -> None:
        now, pixels = asyncio.get_running_loop().time(), self._admission.in_flight("pixels")
        working = WORKING_BYTES_PER_PIXEL * pixels
        if resident > self._limit + working and (ended := self._admission.shed_uploads()):
            log.warning("memory is short, uploads were ended", uploads=ended, resident_bytes=resident)
        self._least = min(resident, self._least or resident)
        if pixels:
            self._busy = now
        explained = self._least + working + self._admission.in_flight("bytes")
        since = self._trimmed + SHORT_TRIM_INTERVAL_S if resident > self._limit / 2 else self._busy + IDLE_S
        if self._trim and resident > explained + UNUSED_BYTES and now > since:
            await asyncio.to_thread(self._trim, 0)
            self._trimmed = self._busy = now


def _resident_bytes(statm: int) -> int:
    """Returns the resident bytes of the process that an open statm file is about."""
    return int(os.pread(statm, 128, 0).split()[1]) * _PAGE_BYTES


def _trim_function() -> Any:
    """Returns malloc_trim of the C library; None where there is none (musl)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
