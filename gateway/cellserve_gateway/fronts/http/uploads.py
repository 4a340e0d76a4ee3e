"""Image files sent as the body of a request."""

from __future__ import annotations

from cellserve_formats import Image, Limits

from cellserve_gateway.app.decode import Decoded, read_file


class Upload:
    """An image file.

    Args:
        data: The file: TIFF, PNG or JPEG.
        axes: Axes of a TIFF file that does not name its axes. None if the caller names none.
        limits: Largest image taken.
        series: Number of the image in a TIFF file that holds several. None: the only one.
    """

    def __init__(self, data: bytes, axes: str | None, limits: Limits, series: int | None = None) -> None:
        self._data: bytes | None = data
        self._axes = axes
        self._limits = limits
        self._series = series
        self._image: Image | None = None

    @property
    def image(self) -> Image:
        """The decoded image. Only after `decode`."""
        assert self._image is not None
        return self._image

    def decode(self) -> Decoded:
        """Decodes the file, on the calling thread; drops the file.

        Raises:
            InvalidImage, ImageTooLarge: The file is damaged, too large, or holds no image of a kind that is taken.
        """
        data, self._data = self._data, None
        assert data is not None
        self._image = read_file(data, self._limits, self._axes, self._series)
        return Decoded.of(self._image)
