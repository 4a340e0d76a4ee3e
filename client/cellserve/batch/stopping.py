"""Ctrl-C and SIGTERM: the first lets the images under way end, the second ends them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the run should stop.

    Attributes:
        signal: Number of the signal that asked for it; None: nobody asked.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stopping(first: Callable[[], None]) -> Iterator[Stop]:
    """Handles the signals while the body runs. Only the main thread of a program can.

    Args:
        first: Called at the first signal. The second raises KeyboardInterrupt.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.signal = number
        first()

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
