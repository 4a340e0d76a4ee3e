"""Images as callers give them, and as results refer to them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import cellserve_formats
from cellserve_formats import EncodedImage, Image, ImageError

from .errors import from_image_error
from .files import read_image
from .images import ImageLike, with_axes


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """An image as a caller gave it.

    Attributes:
        image: An array, an `Image`, an `EncodedImage` or a path; None: not kept.
        axes: Axes of arrays and of files that do not name them; None: guessed.
        series: Number of the image in a file that holds several; None: the only one.
        stacks: Whether files may hold stacks.
        time_series: Whether files may hold time series.
    """

    image: ImageLike | None
    axes: str | None = None
    series: int | None = None
    stacks: bool = False
    time_series: bool = False

    @property
    def name(self) -> str:
        """Name of the file or image, without folder and ending; "" where there is none."""
        if isinstance(self.image, str | os.PathLike):
            return os.path.splitext(os.path.basename(self.image))[0]  # noqa: PTH119, PTH122
        return self.image.name if isinstance(self.image, Image) else ""

    def without_pixels(self) -> ImageSource:
        """Returns the source without its image, unless that is a path."""
        return self if isinstance(self.image, str | os.PathLike) else replace(self, image=None)

    def to_send(self) -> Image | EncodedImage:
        """Returns the image as it is sent. Files are read; an `EncodedImage` stays as it is.

        Raises:
            InvalidRequestError: The file cannot be read, or the axes are ambiguous or unknown.
        """
        assert self.image is not None
        if isinstance(self.image, str | os.PathLike):
            return read_image(self.image, self.axes, self.series, stacks=self.stacks, time_series=self.time_series)
        return with_axes(self.image, self.axes)

    def image_of(self, given: ImageLike | None = None) -> Image:
        """Returns the pixels of the image.

        Args:
            given: The image, if the caller has it; read with the same axes.

        Raises:
            ValueError: There is no image.
            InvalidRequestError: The image cannot be read.
        """
        source = self if given is None else replace(self, image=given)
        if source.image is None:
            raise ValueError("this result does not hold its image: pass the image as an argument")
        image = source.to_send()
        if isinstance(image, Image):
            return image
        try:
            return cellserve_formats.read_image(
                image.data, axes=self.axes, stacks=self.stacks, time_series=self.time_series, series=self.series
            )
        except ImageError as error:
            raise from_image_error(error) from error


NO_IMAGE = ImageSource(None)
"""The source of a result that knows nothing of its image."""
