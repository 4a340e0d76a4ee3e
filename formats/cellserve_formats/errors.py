"""The one error of this package."""

from typing import Any


class ImageError(ValueError):
    """An image or an image file that cannot be used.

    Attributes:
        message: One sentence for a person, without the name of the file.
        reason: IMAGE_EMPTY, IMAGE_SIZE_MISMATCH, IMAGE_UNDECODABLE, AXES_UNKNOWN, DATA_TYPE_UNSUPPORTED,
            PIXELS_NOT_FINITE or IMAGE_TOO_LARGE; docs/reference/errors.md explains them.
        metadata: Facts for programs, such as the limit and the value that exceeds it.
    """

    def __init__(self, message: str, reason: str, **metadata: Any) -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason
        self.metadata = metadata

    def __str__(self) -> str:
        return self.message
