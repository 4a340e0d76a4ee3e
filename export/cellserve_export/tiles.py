"""Real tiles for the parity gate, normalised and cut the way the gateway does, at the scale of the file."""

from pathlib import Path

from cellserve_formats import ImageError, planes, read_image
from cellserve_preprocess import Normalization, ParameterError, TileGrid, default_channels, normalize, select_channels

from cellserve_export.errors import TileError
from cellserve_export.parity import Tiles


def image_tile(path: Path) -> Tiles:
    """The first tile of an image, float32 [1,2,224,224], normalised by the percentiles of the whole image.

    Raises:
        TileError: the file is no image, or a stack.
    """
    try:
        image = planes(read_image(path, stacks=False))
    except OSError as error:
        raise TileError(f"{path}: {error.strerror or error}") from error
    except ImageError as error:
        raise TileError(f"{path}: {error}") from error
    try:
        channels = default_channels(len(image))
    except ParameterError as error:
        raise TileError(f"{path}: {len(image)} planes, expected grey, cytoplasm and nucleus, or colour") from error
    normalized = normalize(select_channels(image, *channels), Normalization()).planes
    return TileGrid.cover(normalized.shape[1:]).cut(normalized, 0, 1)
