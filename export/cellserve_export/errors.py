"""Every failure a user of the export can meet.

ExportError
├── CheckpointError   a file is not a CPnet checkpoint
├── TileError         an image for the parity gate cannot be used
├── MeanError         networks have no mean
├── FamilyError       a family cannot be described or written as asked
├── ParityError       a graph does not compute what its network computes
├── SizeModelError    a file holds no size model
└── PickledFileError  a .npy file holds more than plain data, or is damaged
"""


class ExportError(Exception):
    """Base of all; the message says what was found and what would do."""


class CheckpointError(ExportError):
    """A file is not a CPnet checkpoint."""


class TileError(ExportError):
    """An image for the parity gate cannot be used."""


class MeanError(ExportError):
    """Networks have no mean: they do not come from one line of training, or were made for other images."""


class FamilyError(ExportError):
    """A family cannot be described or written as asked."""


class ParityError(ExportError):
    """A graph does not compute what its network computes."""


class SizeModelError(ExportError):
    """A file holds no size model."""


class PickledFileError(ExportError):
    """A .npy file holds more than plain data, or is damaged."""
