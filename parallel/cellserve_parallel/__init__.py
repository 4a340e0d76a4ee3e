"""Work on one image: shared among threads, cut into bands of rows, and cancelled when nobody wants its result."""

from .bands import BAND_PIXELS, bands
from .cancellation import CancellationToken, WorkCancelledError
from .threads import ThreadGroup

__all__ = ["BAND_PIXELS", "CancellationToken", "ThreadGroup", "WorkCancelledError", "bands"]
