"""Image files sent as the body of a request."""

from __future__ import annotations

from cellserve_formats import Image
from cellserve_formats.isolated import MemoryFile
from cellserve_parallel import CancellationToken

from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.files import ImageFiles


class Upload:
    """An image file.

    Args:
        file: TIFF, PNG or JPEG, in memory that its decoder gets without a copy.
        axes: Axes of a TIFF file that does not name its axes. None if the caller names none.
        series: Number of the image in a TIFF file that holds several. None: the only one.
        files: Decodes the file.
        cancellation: Ends the decoding.
    """

    def __init__(
        self, file: MemoryFile, axes: str | None, series: int | None, files: ImageFiles, cancellation: CancellationToken
    ) -> None:
        self._file: MemoryFile | None = file
        self._axes = axes
        self._series = series
        self._files = files
        self._cancellation = cancellation
        self._image: Image | None = None

    @property
    def image(self) -> Image:
        """The decoded image. Only after `decode`."""
        assert self._image is not None
        return self._image

    def decode(self) -> Decoded:
        """Decodes the file while the calling thread waits; drops the file.

        Raises:
            InvalidImage, ImageTooLarge: The file is damaged, too large, or holds no image of a kind that is taken.
            WorkCancelledError: The call was cancelled.
        """
        file, self._file = self._file, None
        assert file is not None
        self._image = self._files.read(file, self._cancellation, self._axes, self._series)
        return Decoded.of(self._image)
