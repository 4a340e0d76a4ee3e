"""Memory of the process: how much it has, and what the allocator can give back."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Any

import structlog

from cellserve_gateway.settings import Settings

from .admission import Admission

log = structlog.get_logger()
CHECK_S = 0.05
WORKING_BYTES_PER_PIXEL = 28
"""Memory of an image in work, beside the image itself."""
MARGIN_BYTES = 768 << 20
"""Memory beyond `max_bytes_in_flight` and the images in work at which uploads on trust are ended."""
UNUSED_BYTES = 64 << 20
"""Memory that nothing in flight explains, and that the allocator is asked to give back."""
MIN_TRIM_INTERVAL_S = 0.5

_STATM = Path("/proc/self/statm")


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

    async def run(self) -> None:
        """Guards until cancelled."""
        loop, trimmed = asyncio.get_running_loop(), 0.0
        while resident := resident_bytes():
            working = WORKING_BYTES_PER_PIXEL * self._admission.in_flight("pixels")
            if resident > self._limit + working and (ended := self._admission.shed_uploads()):
                log.warning("memory is short, uploads were ended", uploads=ended, resident_bytes=resident)
            self._least = min(resident, self._least or resident)
            explained = self._least + working + self._admission.in_flight("bytes")
            # Memory that is given back during the work on images is soon asked for again, page by page.
            timely = not working or resident > self._limit / 2
            unused = resident > explained + UNUSED_BYTES
            if self._trim and timely and unused and loop.time() > trimmed + MIN_TRIM_INTERVAL_S:
                await asyncio.to_thread(self._trim, 0)
                trimmed = loop.time()
            await asyncio.sleep(CHECK_S)


def resident_bytes() -> int:
    """Returns the resident bytes of this process; 0 where the system does not tell (not Linux)."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _trim_function() -> Any:
    """Returns malloc_trim of the C library; None where there is none (musl)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
