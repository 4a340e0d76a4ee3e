"""What a caller of the reader chooses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Choices of one reading; `read_image` explains each of them."""

    axes: str | None = None
    stacks: bool = True
    time_series: bool = True
    threads: int | None = 1
    series: int | None = None
    as_stored: bool = False
