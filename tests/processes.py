"""Processes that tests look at: which ones are there, and the memory that they take. Linux only."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

SAMPLE_S = 0.002


def below(root: int) -> list[int]:
    """Returns the ids of the processes below a process, whichever of its threads started them."""
    found = [root]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the process has ended
                found += [int(child) for child in tasks.read_text().split()]
    return found[1:]


def resident(process: int, field: str = "VmRSS") -> int:
    """Returns the resident bytes of a process now, or at their peak ("VmHWM")."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(lines[field].split()[0]) << 10


def memory() -> int:
    """Returns the bytes of this process and of those below: their private memory, and the files in memory held here."""
    total = 0
    # Files first: pixels that move from a process into a file meanwhile are then counted once at most, not twice.
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()).startswith("/memfd:"):
                total += descriptor.stat().st_blocks * 512
    for process in (os.getpid(), *below(os.getpid())):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in rollup if line.startswith("Pss_Anon:"))
    return total


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Samples `memory` while the body runs. Yields a function that returns the largest value so far."""
    largest, ended = memory(), threading.Event()

    def sample() -> None:
        nonlocal largest
        while not ended.wait(SAMPLE_S):
            largest = max(largest, memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: largest
    finally:
        ended.set()
        thread.join()
