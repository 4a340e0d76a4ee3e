"""The images of files that microscopes write in formats of their own, by bioio and its plug-ins."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from cellserve_contract.extras import MissingExtraError
from numpy.typing import NDArray

from cellserve_formats.channel_names import fitting_names
from cellserve_formats.errors import ImageError
from cellserve_formats.image import Image, PixelSize, check_pixels
from cellserve_formats.limits import Limits
from cellserve_formats.losses import alpha_ignored
from cellserve_formats.pixel_size import number, plausible_size

from .image_file import Contents, Position, check_size, squeezed

PLUGINS: Mapping[str, str] = MappingProxyType(
    {
        ".czi": "bioio-czi",
        ".dv": "bioio-dv",
        ".ims": "bioio-bioformats",
        ".lei": "bioio-bioformats",
        ".lif": "bioio-lif",
        ".mvd2": "bioio-bioformats",
        ".nd2": "bioio-nd2",
        ".oib": "bioio-bioformats",
        ".oif": "bioio-bioformats",
        ".r3d": "bioio-dv",
        ".sld": "bioio-bioformats",
        ".sldy": "bioio-sldy",
        ".vsi": "bioio-bioformats",
        ".zvi": "bioio-bioformats",
    }
)
"""Plug-in of bioio that reads a file, by the end of its name in lower case."""
_MADE_UP = re.compile(r"(Channel:|C:)\d+(:\d+)?")  # what bioio and its plug-ins call a channel without a name
_RGBA = 4  # samples, of which the last one is alpha
_BLUE_FIRST = (".czi",)  # the format has blue, green, red, and the plug-in leaves them in this order


def microscope_contents(path: Path, limits: Limits) -> Contents:
    """Opens a file by the plug-in of bioio that takes it; arguments and errors as in `open_images`."""
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ModuleNotFoundError as error:
        raise _without_plugin(path) from error
    try:
        file = BioImage(path)
        scenes = tuple(file.scenes)
    except UnsupportedFileFormatError as error:
        raise _without_plugin(path, error) from error
    except (MemoryError, OSError):
        raise
    except Exception as error:  # plug-ins fail in many ways on damaged files
        raise _undecodable(error) from error
    if len(scenes) > limits.pages:
        raise ImageError(
            f"the file holds {len(scenes):,} images; the limit is {limits.pages:,}",
            "IMAGE_TOO_LARGE",
            resource="pages",
            value=len(scenes),
            limit=limits.pages,
        )
    positions = tuple(_described(file, scene, name) for scene, name in enumerate(scenes))

    def load(scene: int, time_point: int) -> Image:
        position = positions[scene]
        assert position.dtype is not None
        check_size(position.axes, position.shape, position.dtype, limits)
        if "S" in position.axes:  # may be read whole
            limits.check_one("bytes", math.prod(position.shape) * position.dtype.itemsize)
        kept = position.axes.replace("T", "")
        try:
            file.set_scene(scene)
            pixels = _pixels(file, kept, {"T": time_point} if "T" in file.dims.order else {})
        except (MemoryError, OSError):
            raise
        except Exception as error:
            raise _undecodable(error) from error
        check_pixels(pixels)
        if not kept.endswith("S"):
            return Image(pixels, kept, position.pixel_size)
        colours = pixels[..., : position.shape[-1]]
        if path.suffix.lower() in _BLUE_FIRST:
            colours = colours[..., ::-1]
        alpha = pixels[..., -1] if pixels.shape[-1] == _RGBA else np.empty(0)
        return Image(colours, kept, position.pixel_size, warnings=alpha_ignored(alpha))

    return Contents(positions, load, (path,))


def _pixels(file: Any, axes: str, chosen: Mapping[str, int]) -> NDArray[Any]:
    """Reads a part of the scene that is chosen."""
    if "S" in axes:  # bioio-czi 3.0 repeats the first sample of a pixel in arrays of Dask
        return np.asarray(file.get_image_data(axes, **chosen))
    delayed: Any = file.get_image_dask_data(axes, **chosen)  # the other way, some plug-ins read the whole scene
    return np.asarray(delayed.compute(scheduler="synchronous"))


def _described(file: Any, scene: int, name: str) -> Position:
    """Returns what a plug-in says of a scene."""
    try:
        file.set_scene(scene)
        axes, shape = squeezed(file.dims.order, tuple(map(int, file.shape)))
        if axes.endswith("S") and shape[-1] == _RGBA:
            shape = (*shape[:-1], _RGBA - 1)
        return Position(
            scene,
            str(name),
            axes,
            shape,
            np.dtype(file.dtype).newbyteorder("="),
            fitting_names(_names(file), axes, shape),
            _pixel_size(file),
            _interval_s(file) if "T" in axes else None,
        )
    except ImageError as error:
        return Position(scene, str(name), error=error)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        return Position(scene, str(name), error=_undecodable(error))


def _names(file: Any) -> list[str]:
    """Returns the names of channels; none if bioio has made up all of them."""
    names = [str(name) for name in file.channel_names or ()]
    return [] if all(_MADE_UP.fullmatch(name) for name in names) else names


def _pixel_size(file: Any) -> PixelSize | None:
    """Returns the pixel size, which bioio gives in micrometres; None if the file states none."""
    try:
        size = file.physical_pixel_sizes
        return plausible_size(*(number(length) for length in (size.Y, size.X, size.Z)))
    except Exception:  # plug-ins fail on files without a scale
        return None


def _interval_s(file: Any) -> float | None:
    """Returns the frame interval; None if the plug-in tells none with a unit."""
    try:
        interval = file.time_interval
    except Exception:  # plug-ins fail on files without times
        return None
    seconds = interval.total_seconds() if isinstance(interval, datetime.timedelta) else math.nan
    return seconds if 0 < seconds < math.inf else None


def _without_plugin(path: Path, error: Exception | None = None) -> Exception:
    """Returns the error of a file that no installed plug-in reads."""
    plugin = PLUGINS[path.suffix.lower()]
    if error is not None and _is_installed(plugin):
        return ImageError(f"{plugin} cannot read the file; it is damaged or cut off", "IMAGE_UNDECODABLE")
    return MissingExtraError(
        f"Files that end in {path.suffix} need {plugin}, a plug-in of bioio, which is not installed. Install both:\n"
        f"    pip install bioio {plugin}"
    )


def _is_installed(plugin: str) -> bool:
    try:
        metadata.distribution(plugin)
    except metadata.PackageNotFoundError:
        return False
    return True


def _undecodable(error: Exception) -> ImageError:
    return ImageError(f"the file cannot be read by bioio ({type(error).__name__}: {error})", "IMAGE_UNDECODABLE")
