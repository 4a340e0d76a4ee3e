"""What can go wrong in a run.

LargeError
    DiskFullError       the run folder has no room
    OtherRunError       the run folder holds another run
"""

from __future__ import annotations

from pathlib import Path


class LargeError(Exception):
    """A run cannot go on. The message says what happened and what to do next."""


class DiskFullError(LargeError):
    """The disk of the run folder is full. No result is half written."""

    def __init__(self, folder: Path, size: int, reason: str) -> None:
        super().__init__(folder, size, reason)

    def __str__(self) -> str:
        """Returns what happened and what to do next."""
        folder, size, reason = self.args
        return (
            f"the run folder {folder} has no room for a result of {size} bytes ({reason}). A run needs up to 12 bytes "
            f"for each pixel of the image. Free some space, and start the run again: it goes on where it was."
        )


class OtherRunError(LargeError):
    """The run folder holds a run of another image, or with other parameters."""

    def __init__(self, folder: Path, differences: list[str]) -> None:
        super().__init__(folder, differences)

    def __str__(self) -> str:
        """Returns what happened and what to do next."""
        folder, differences = self.args
        return (
            f"the run folder {folder} holds another run: {'; '.join(differences)}. Choose another folder, or delete "
            f"this one to start anew."
        )
