"""Every failure of an export; `cellserve_networks.errors` has those of reading checkpoints and size models.

ExportError
├── TileError         an image for the parity gate cannot be used
├── MeanError         networks have no mean
├── FamilyError       a family cannot be described or written as asked
└── ParityError       a graph does not compute what its network computes
"""


class ExportError(Exception):
    """Base of all; the message says what was found and what would do."""


class TileError(ExportError):
    """An image for the parity gate cannot be used."""


class MeanError(ExportError):
    """Networks have no mean: they do not come from one line of training, or were made for other images."""


class FamilyError(ExportError):
    """A family cannot be described or written as asked."""


class ParityError(ExportError):
    """A graph does not compute what its network computes."""
