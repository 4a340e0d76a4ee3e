"""What can go wrong in a run.

LargeError
    DiskFullError       the run folder has no room
    FolderBusyError     another run works in the run folder
    ForeignFolderError  the run folder holds files that are of no run
    OtherRunError       the run folder holds another run
    OtherNetworkError   a gateway answered with another network than the others
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
            f"the run folder {folder} has no room for a result of {size} bytes ({reason}). A run needs about 25 bytes "
            f"for each pixel of an image and 60 for each voxel of a volume, more if the networks work at a larger "
            f"scale. Free some space, and start the run again: it goes on where it was."
        )


class ForeignFolderError(LargeError):
    """The run folder holds files that are of no run. Run folders are deleted at the end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)

    def __str__(self) -> str:
        """Returns what happened and what to do next."""
        return (
            f"the run folder {self.args[0]} has to be new or empty: it is deleted when the results are complete. It "
            f"holds other files, or is to hold the results. Choose another folder, such as {self.args[0] / 'run'}."
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


class OtherNetworkError(LargeError):
    """A gateway answered with another network than the run began with. No block is of the other network."""

    def __init__(self, name: str, begun: str, other: str) -> None:
        super().__init__(name, begun, other)

    def __str__(self) -> str:
        """Returns what happened and what to do next."""
        name, begun, other = self.args
        return (
            f"a gateway answered with another network than the run began with: {name} is {other}, the run began with "
            f"{begun}. Let all gateways serve one network. The run then goes on where it was, if the network is that "
            f"which it began with; otherwise delete the run folder to start anew."
        )


class FolderBusyError(LargeError):
    """Another run works in the run folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)

    def __str__(self) -> str:
        """Returns what happened and what to do next."""
        return f"another run works in the run folder {self.args[0]}. Wait until it ends, or choose another folder."
