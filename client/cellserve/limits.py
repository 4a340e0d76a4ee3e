"""Images against the limits of a server, before anything is sent."""

from __future__ import annotations

import math
import sys

import cellserve_formats
from cellserve_formats import EncodedImage, Image, ImageError, check_sent, image_dtype, time_points

from .errors import from_image_error
from .results import Limits

_NO_LIMIT = sys.maxsize


def check_limits(
    image: Image | EncodedImage, limits: Limits | None, *, source: object = None, packed: bool = False
) -> None:
    """Refuses an image that exceeds a limit of the server, with the error that the server would send.

    The number of tiles follows from the parameters: only the server compares it. The pixels of an `EncodedImage` are
    unknown before it is decoded: only its bytes are compared.

    Args:
        image: An image, or the bytes of a file. Each time point of a series is an image.
        limits: What `Client.limits` returned. None: the limits are unknown, and every image passes.
        source: The file, for the message.
        packed: True: the pixels will be packed (`compression="zlib"`), so that the number of bytes to send is unknown.

    Raises:
        InvalidRequestError: IMAGE_TOO_LARGE, with `resource`, `value` and `limit` in the metadata; IMAGE_EMPTY or
            DATA_TYPE_UNSUPPORTED for pixels that no server takes.
    """
    if limits is None:
        return
    try:
        if isinstance(image, EncodedImage):
            check_sent(len(image.data), limits.max_transfer_bytes or _NO_LIMIT)
            return
        image = next(time_points(image), image)
        itemsize = image_dtype(image.pixels).itemsize
        if not packed:
            check_sent(image.pixels.size * itemsize, limits.max_transfer_bytes or _NO_LIMIT)
        length = dict(zip(image.axes, image.pixels.shape, strict=True))
        height, width, planes = length.pop("Y"), length.pop("X"), length.pop("Z", 1)
        most = cellserve_formats.Limits(
            pixels=limits.max_image_pixels or _NO_LIMIT,
            bytes=limits.max_image_bytes or _NO_LIMIT,
            channels=limits.max_planes or _NO_LIMIT,
            planes=limits.max_stack_planes or _NO_LIMIT,
            voxels=limits.max_stack_voxels or _NO_LIMIT,
        )
        if planes > 1:
            most.check_one("planes", planes)
            most.check_one("voxels", planes * height * width)
        most.check(math.prod(length.values()), height, width, planes * itemsize)
    except ImageError as error:
        raise from_image_error(error, source) from error
