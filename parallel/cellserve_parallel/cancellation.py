"""Cancellation of work that runs on other threads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class WorkCancelledError(Exception):
    """The work was cancelled before its end. There is no result."""


class CancellationToken:
    """Cancels work that runs on other threads. A cancelled token stays cancelled.

    Attributes:
        flag: uint8 [1], not zero once cancelled. Kernels that may run for long read the flag.
    """

    __slots__ = ("flag",)

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, np.uint8)

    def cancel(self) -> None:
        """Ask the work to end."""
        self.flag[0] = 1

    def raise_if_cancelled(self) -> None:
        """Raise `WorkCancelledError` if the token is cancelled."""
        if self.flag[0]:
            raise WorkCancelledError
