"""The images of a TIFF file, or of the set of OME-TIFF files that it belongs to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cellserve_formats.channel_names import channel_names
from cellserve_formats.errors import ImageError
from cellserve_formats.frame_interval import frame_interval_s
from cellserve_formats.image import Image, time_points
from cellserve_formats.limits import Limits
from cellserve_formats.ome import OmeDocument, OmeImage
from cellserve_formats.options import ReadOptions
from cellserve_formats.pixel_size import pixel_size
from cellserve_formats.tiff_directories import damaged
from cellserve_formats.tiff_file import (
    OpenImage,
    TiffSource,
    check_set,
    images_of,
    open_document,
    open_ome_image,
    reopened,
    with_pages,
)
from cellserve_formats.tiff_layout import layout_of, time_point_of
from cellserve_formats.tiff_reader import read_opened, translated

from .image_file import Contents, Position

Opener = Callable[[contextlib.ExitStack], OpenImage]
"""Opens an image; what it holds open goes to the stack."""


def tiff_contents(source: TiffSource, axes: str | None, limits: Limits) -> Contents:
    """Opens a TIFF file; arguments and errors as in `open_images`."""
    path = source.path
    assert path is not None
    with contextlib.ExitStack() as stack, translated(source):
        file, document = open_document(source, limits, stack)
        openers: list[tuple[str, Opener]]
        if document is not None and document.set:
            openers = _of_document(document, file, source, limits, stack)
            names = dict.fromkeys(name for image in document.set for name in image.places)
            files = tuple(path.with_name(name) for name in names if name and Path(name).name == name) or (path,)
        else:
            root = None if document is None else document.root
            openers = [("", _opened(file, series, root)) for series in images_of(file)]
            files = (path,)
        images = _Images(source, axes, limits, [opener for _, opener in openers])
        stack.callback(images.close)
        positions = tuple(images.describe(number, name) for number, (name, _) in enumerate(openers))
        return Contents(positions, images.load, files, stack.pop_all().close)


class _Images:
    """The images of a file, of which one is open at a time.

    Args:
        source: The file.
        axes: Axes that the caller names, if any.
        limits: Largest time point taken.
        openers: Open the images.
    """

    def __init__(self, source: TiffSource, axes: str | None, limits: Limits, openers: Sequence[Opener]) -> None:
        self._source = source
        self._options = ReadOptions(axes, threads=None)
        self._limits = limits
        self._openers = openers
        self._stack = contextlib.ExitStack()
        self._open: tuple[int, OpenImage] | None = None
        self._whole: list[Image] = []

    def describe(self, number: int, name: str) -> Position:
        """Returns what the file says of an image."""
        try:
            with translated(self._source):
                image = self._opened(number)
                layout = layout_of(image, self._options)
                return Position(
                    number,
                    name,
                    layout.axes,
                    layout.shape,
                    layout.dtype.newbyteorder("="),
                    channel_names(image.file, image.series, layout.axes, layout.shape, image.ome),
                    pixel_size(image.file, image.series.keyframe, image.ome),
                    frame_interval_s(image.file, image.ome) if "T" in layout.axes else None,
                )
        except ImageError as error:
            return Position(number, name, error=error)

    def load(self, number: int, time_point: int) -> Image:
        """Reads a time point: its pages, or the image, once for all of its time points."""
        with translated(self._source):
            image = self._opened(number)
            stored = layout_of(image, self._options).stored
            if "T" not in stored:
                return read_opened(image, self._source, self._limits, self._options)
            if place := time_point_of(image.series, stored, time_point):
                return read_opened(image, self._source, self._limits, self._options, place)
            if not self._whole:
                self._whole = list(time_points(read_opened(image, self._source, self._limits, self._options)))
            return self._whole[time_point]

    def close(self) -> None:
        """Closes the image that is open."""
        self._open = None
        self._whole = []
        self._stack.close()

    def _opened(self, number: int) -> OpenImage:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = (number, self._openers[number](self._stack))
        return self._open[1]


def _opened(file: Any, series: Any, root: Any) -> Opener:
    return lambda _: with_pages(file, series, root)


def _of_document(
    document: OmeDocument, file: Any, source: TiffSource, limits: Limits, stack: contextlib.ExitStack
) -> list[tuple[str, Opener]]:
    """Returns names of the images of a document, and what opens them: all at once where the parser finds them all."""
    images, together = document.set, {}
    if len(images) > 1:
        whole = [image for image in images if not image.files or _is_there(image, source, limits)]
        together = dict(zip(map(id, whole), _together(whole, document, source, stack), strict=False))

    def opener(image: OmeImage) -> Opener:
        if id(image) in together:
            return _opened(*together[id(image)])
        return lambda stack: _alone(open_ome_image(image, document, file, source, limits, stack), len(images))

    return [(image.element.get("Name", ""), opener(image)) for image in images]


def _alone(image: OpenImage, images: int) -> OpenImage:
    """Refuses an image among several that the parser takes for the pages of the file, as its description is wrong."""
    if images > 1 and image.series.kind != "ome":
        raise damaged("its OME-XML does not fit its pages")
    return image


def _is_there(image: OmeImage, source: TiffSource, limits: Limits) -> bool:
    try:
        check_set(image.files, source, limits)
    except (ImageError, OSError):
        return False
    return True


def _together(
    images: Sequence[OmeImage], document: OmeDocument, source: TiffSource, stack: contextlib.ExitStack
) -> list[tuple[Any, Any, Any]]:
    """Returns open file, image of the parser and description for each image; nothing if the parser finds others."""
    with contextlib.ExitStack() as tried, contextlib.suppress(Exception):  # each image then says what it lacks
        file = reopened(source, document.only(images), any(image.files for image in images), tried)
        found = images_of(file)
        if [series.name for series in found] == [image.element.get("Name", "") for image in images]:
            stack.enter_context(tried.pop_all())
            return [(file, series, document.only([image])) for series, image in zip(found, images, strict=True)]
    return []
