"""Image files on their way in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import cellserve_formats
from cellserve_contract.extras import MissingExtraError
from cellserve_formats import Image, ImageError

from .errors import from_image_error, refusal


def read_image(
    path: str | os.PathLike[str],
    axes: str | None = None,
    series: int | None = None,
    *,
    stacks: bool = False,
    time_series: bool = False,
) -> Image:
    """Reads a TIFF (OME and ImageJ files too), PNG or JPEG file, whatever its name ends in.

    Args:
        path: The file.
        axes: Axes of a TIFF file that does not name them itself, once those of length one are gone; other files
            ignore it.
        series: Number of the image in a TIFF file that holds several, from 0.
        stacks: Whether stacks are taken. If not, they are refused before their pixels are read.
        time_series: Whether time series are taken. If not, they are refused before their pixels are read.

    Returns:
        Pixels, their axes, and the pixel size where the file states it, as `cellserve_formats.read_image` reads them.
        The planes of an OME-TIFF image that are in other files of the same folder are read, too.

    Raises:
        InvalidRequestError: The file cannot be read, holds several images of which none is chosen, or holds a
            stack or a time series.
    """
    with reading(path):
        return cellserve_formats.read_image(
            path, axes=axes, stacks=stacks, time_series=time_series, threads=None, series=series
        )


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Translates the errors of readers of files, and names the file.

    Raises:
        InvalidRequestError: FILE_UNREADABLE; EXTRA_MISSING if a library that reads the file is not installed; the
            reason of an ImageError.
    """
    try:
        yield
    except MissingExtraError as error:
        raise refusal(f"{path}: {error}", "EXTRA_MISSING") from error
    except OSError as error:
        raise refusal(f"{path}: {error.strerror or error}", "FILE_UNREADABLE") from error
    except ImageError as error:
        raise from_image_error(error, path) from error
