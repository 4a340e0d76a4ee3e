"""Opens the images of a file or store of any kind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cellserve_formats.encoded import file_format
from cellserve_formats.errors import ImageError
from cellserve_formats.files import FileBytes, map_bytes, read_bytes
from cellserve_formats.limits import DEFAULT_LIMITS, Limits
from cellserve_formats.tiff_file import TiffSource, is_slide

from .image_file import Contents, ImageFile
from .microscope import PLUGINS, microscope_contents
from .plain import jpeg_contents, png_contents
from .regions import region_contents
from .tiff import tiff_contents
from .zarr_node import is_array, is_store
from .zarr_store import zarr_contents


def open_images(path: str | os.PathLike[str], *, axes: str | None = None, limits: Limits = DEFAULT_LIMITS) -> ImageFile:
    """Opens the images of a file, a set of files or a store, and reads what is said of them; no pixels.

    Args:
        path: A TIFF file (OME and ImageJ files too), a PNG or JPEG file, a slide, or the folder of a Zarr store: an
            OME-Zarr image, several of them (bioformats2raw.layout), a plate, a well, an array. Files of microscopes,
            such as .czi, need bioio and a plug-in: `PLUGINS` names them.
        axes: Axes of images that the file does not name itself, without axes of length one.
        limits: Largest time point taken. Pages, descriptions and images in a store are limited, too.

    Returns:
        The images; close them, or use them in a `with` statement. A damaged or missing image among several does not
        hinder the others: its position says why it cannot be read.

    Raises:
        ImageError: The file is damaged as a whole, too large, or of an unknown kind.
        MissingExtraError: A library that reads the file is not installed. The message has the line that installs it.
        OSError: The file cannot be read.
    """
    path = Path(path)
    return ImageFile(path, _contents(path, axes, limits), limits)


def _contents(path: Path, axes: str | None, limits: Limits) -> Contents:
    if path.is_dir():
        if not is_store(path):
            raise ImageError("the folder is no Zarr store: it has neither zarr.json nor .zgroup", "IMAGE_UNDECODABLE")
        return region_contents(path, axes, limits) if is_array(path, limits) else zarr_contents(path, limits)
    if path.suffix.lower() in PLUGINS and path.is_file():  # before its content: .vsi is a TIFF file of a preview
        return microscope_contents(path, limits)
    data = _bytes(path, limits)
    kind = file_format(data)
    if kind is None:
        raise ImageError(
            "the file is neither TIFF nor PNG nor JPEG, and its name does not end as those of microscopes: "
            f"{', '.join(PLUGINS)}",
            "IMAGE_UNDECODABLE",
        )
    if kind == "png":
        return png_contents(path, data, limits)
    if kind == "jpeg":
        return jpeg_contents(path, data, limits)
    if not isinstance(data, bytes) and is_slide(path):
        return region_contents(path, axes, limits)
    return tiff_contents(TiffSource(data, path), axes, limits)


def _bytes(path: Path, limits: Limits) -> FileBytes:
    """Returns the bytes of a file: mapped, or those of a pipe in memory."""
    if stat.S_ISREG(path.stat().st_mode):
        return map_bytes(path)
    data = read_bytes(path, 2 * limits.bytes)
    if data is None:
        raise ImageError(
            f"the file has more than {2 * limits.bytes:,} bytes", "IMAGE_TOO_LARGE", limit=2 * limits.bytes
        )
    return data
