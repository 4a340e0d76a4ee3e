"""Arrays in messages: element types, packing, bytes. No copy of the pixels is made without need."""

from __future__ import annotations

import math
import zlib
from typing import Any, Literal, cast

import numpy as np
from cellserve_proto import v1 as pb
from numpy.typing import NDArray

from .packing import PackingError, inflate

Packing = Literal["none", "zlib"]

DTYPES: dict[int, np.dtype[Any]] = {
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
}
"""Element types by their number in the contract."""

PACK_LABELS_ABOVE = 1 << 20
"""Bytes of a label image from which it is packed if the caller leaves the choice open."""

ZLIB_LEVEL = 1
"""Label images shrink twentyfold at the fastest level already; images gain 60 % of what level 9 gains."""

_NUMBERS = {dtype.newbyteorder("="): number for number, dtype in DTYPES.items()}
_PACKINGS: dict[Packing, pb.Compression] = {"none": pb.COMPRESSION_NONE, "zlib": pb.COMPRESSION_ZLIB}


class ArrayError(ValueError):
    """The bytes of an array do not fit what the message says of them.

    Attributes:
        kind: "type", "size" or "packing".
    """

    def __init__(self, message: str, kind: Literal["type", "size", "packing"]) -> None:
        super().__init__(message)
        self.kind = kind


def describe_array(message: pb.Array, array: NDArray[Any], packing: Packing = "none") -> bytes | memoryview:
    """Fills all of a message but the bytes of the array.

    Args:
        message: Empty.
        array: Of one of `DTYPES`, in any byte order and memory layout.
        packing: How to pack the bytes.

    Returns:
        The bytes: the array's own memory if it has the layout of a message and is not packed.

    Raises:
        ArrayError: The element type has no number in the contract.
    """
    native = array.dtype.newbyteorder("=")
    if native not in _NUMBERS:
        raise ArrayError(f"an array of type {array.dtype} has no place in a message", "type")
    number = _NUMBERS[native]
    message.data_type = cast(pb.DataType, number)
    message.shape.extend(array.shape)
    message.compression = _PACKINGS[packing]
    data = np.ascontiguousarray(array, DTYPES[number]).reshape(-1).view(np.uint8).data
    return zlib.compress(data, ZLIB_LEVEL) if packing == "zlib" else data


def fill_array(message: pb.Array, array: NDArray[Any], packing: Packing = "none") -> None:
    """Puts an array into a message that is already in its place in a larger one.

    A message that is handed to another message's constructor is copied. Filled in place, plain pixels are copied twice:
    into bytes, and from there into the message. Arguments and errors are those of `describe_array`.
    """
    message.data = bytes(describe_array(message, array, packing))


def view_array(message: pb.Array, data: bytes | memoryview | None = None) -> NDArray[Any]:
    """Returns the array of a message, little-endian; to be read only.

    Args:
        message: The message.
        data: The bytes of the array. None: they are in the message.

    Raises:
        ArrayError: Unknown type or packing, or bytes that do not fit the shape.
    """
    if message.data_type not in DTYPES:
        raise ArrayError(f"data type {message.data_type} is unknown", "type")
    dtype, shape = DTYPES[message.data_type], tuple(message.shape)
    data = message.data if data is None else data
    size = math.prod(shape) * dtype.itemsize
    if is_packed(message):
        try:
            data = inflate(data, size)
        except PackingError as error:
            raise ArrayError(str(error), "packing") from error
    if len(data) != size:
        raise ArrayError(
            f"an array of shape {shape} and type {dtype.name} has {len(data)} bytes instead of {size}", "size"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def is_packed(message: pb.Array) -> bool:
    """Tells whether the bytes of an array are a zlib stream.

    Raises:
        ArrayError: Unknown packing.
    """
    if message.compression not in (pb.COMPRESSION_UNSPECIFIED, *_PACKINGS.values()):
        raise ArrayError(f"compression {message.compression} is unknown", "packing")
    return message.compression == pb.COMPRESSION_ZLIB


def packing_of_labels(compression: int, size: int) -> Packing:
    """Returns how a label image is packed.

    Args:
        compression: What the request says.
        size: Bytes of the label image.
    """
    if compression == pb.COMPRESSION_UNSPECIFIED:
        return "zlib" if size >= PACK_LABELS_ABOVE else "none"
    return "zlib" if compression == pb.COMPRESSION_ZLIB else "none"
