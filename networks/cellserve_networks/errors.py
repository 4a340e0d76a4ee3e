"""Every failure of reading a file of a network or a size model.

ModelFileError
├── CheckpointError   a file is not a CPnet checkpoint
├── SizeModelError    a file holds no size model
└── PickledFileError  a .npy file holds more than plain data, or is damaged
"""


class ModelFileError(Exception):
    """Base of all. The message names the file and says what was found."""


class CheckpointError(ModelFileError):
    """A file is not a CPnet checkpoint."""


class SizeModelError(ModelFileError):
    """A file holds no size model."""


class PickledFileError(ModelFileError):
    """A .npy file holds more than plain data, or is damaged."""
