"""From messages to the objects of the core."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from cellserve_contract import wire
from cellserve_contract.arrays import DTYPES, ArrayError, is_packed
from cellserve_contract.axes import axes_problem
from cellserve_contract.packing import IMAGE_DTYPES
from cellserve_contract.params import SegmentParams
from cellserve_contract.payload import Payload
from cellserve_formats import FileFormat, Limits, PixelSize, check_one_time_point
from cellserve_preprocess import TileGrid
from cellserve_proto import v1 as pb
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from cellserve_gateway.app import decode
from cellserve_gateway.app.context import Priority
from cellserve_gateway.app.decode import Decoded, Layout
from cellserve_gateway.app.grids import part_of_grid
from cellserve_gateway.app.results import Output, Wanted
from cellserve_gateway.errors import InvalidImage, InvalidRequest, NotImplementedYet

T = TypeVar("T")
Work = pb.SegmentRequest | pb.EstimateDiameterRequest
DecodeFile = Callable[[bytes | memoryview, FileFormat, int | None], Decoded]

OUTPUTS = {number: cast(Output, word) for word, number in wire.words(pb.Output).items()}
PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.BATCH,
    pb.PRIORITY_BATCH: Priority.BATCH,
    pb.PRIORITY_ACQUISITION: Priority.ACQUISITION,
}
MAP_TYPES: dict[int, type[np.floating[Any]]] = {
    pb.DATA_TYPE_UNSPECIFIED: np.float32,
    pb.DATA_TYPE_FLOAT32: np.float32,
    pb.DATA_TYPE_FLOAT16: np.float16,
}
FILE_FORMATS: dict[int, FileFormat] = {
    pb.EncodedImage.FORMAT_PNG: "png",
    pb.EncodedImage.FORMAT_TIFF: "tiff",
    pb.EncodedImage.FORMAT_JPEG: "jpeg",
}
MOST_OUTPUTS = 16  # entries of `outputs`; there are fewer different ones
MOST_AXES = 8  # entries of `shape`; there are fewer letters


def to_image(image: pb.Image, payload: Payload, limits: Limits, decode_file: DecodeFile) -> Decoded:
    """Returns an image, decoded.

    Args:
        image: The image; large data of it may be missing.
        payload: The large data of the request.
        limits: Largest image taken.
        decode_file: Decodes an image file of a format.

    Returns:
        Pixels that are a read-only view of the message's bytes where possible. A pixel size that the message states
        wins over that of the file.

    Raises:
        InvalidImage, ImageTooLarge: As `check_image`, and as in `decode`.
    """
    layout = check_image(image, limits)
    if layout is None:
        file = image.encoded
        series = file.series if file.HasField("series") else None
        decoded = decode_file(_data(file.data, payload, "encoded.data"), FILE_FORMATS[file.format], series)
    else:
        array = image.raw.pixels
        data = _data(array.data, payload, "raw.pixels.data")
        decoded = decode.from_array(data, _is_packed(array), layout, limits)
    return replace(decoded, pixel_size=to_pixel_size(image) or decoded.pixel_size)


def check_image(image: pb.Image, limits: Limits) -> Layout | None:
    """Refuses an image for what its message says of it. The bytes of the image may be missing.

    Returns:
        What is said of a raw image; None for a file.

    Raises:
        InvalidImage, ImageTooLarge: As in `decode`.
    """
    to_pixel_size(image)
    match image.WhichOneof("content"):
        case "raw":
            array = image.raw.pixels
            _check_type(array, IMAGE_DTYPES)
            layout = _layout(array, image.raw.axes)
            _is_packed(array)
            layout.check(limits)
            return layout
        case "encoded" if image.encoded.format in FILE_FORMATS:
            return None
        case "encoded":
            raise InvalidImage("the file format is not set; PNG, TIFF and JPEG are taken", reason="IMAGE_UNDECODABLE")
        case _:
            raise InvalidImage("the request holds no image", reason="IMAGE_EMPTY")


def to_grid(grid: pb.TileGrid) -> TileGrid:
    """Returns a part of a grid of tiles. Raises InvalidRequest as in `part_of_grid`."""
    rows, columns = (range(some.first, some.end) for some in (grid.rows, grid.columns))
    return part_of_grid((grid.height, grid.width), (grid.starts_y, grid.starts_x), (rows, columns), grid.augment)


def check_planes(array: pb.Array, limits: Limits) -> Layout:
    """Returns what a message says of planes, whose bytes may be missing. Errors as in `decode`."""
    _check_type(array, (DTYPES[pb.DATA_TYPE_FLOAT32],))
    layout = _layout(array, "ZCYX")
    _is_packed(array)
    layout.check(limits)
    return layout


def to_planes(array: pb.Array, payload: Payload, limits: Limits) -> Decoded:
    """Returns planes that are ready for the networks; arguments and errors as in `to_image`."""
    data = _data(array.data, payload, "planes.data")
    return decode.from_array(data, _is_packed(array), check_planes(array, limits), limits)


@dataclass
class ImageDecoder:
    """Decodes the image of a request, once.

    Attributes:
        pixel_size: That of the image; None before the call, and where it is unknown.
    """

    image: pb.Image
    take: Callable[[], Payload]
    limits: Limits
    decode_file: DecodeFile
    pixel_size: PixelSize | None = None

    def __call__(self) -> Decoded:
        """Returns the image; errors as in `to_image`."""
        decoded = to_image(self.image, self.take(), self.limits, self.decode_file)
        self.pixel_size = decoded.pixel_size
        return decoded


def check_known(message: Message) -> None:
    """Refuses a request with a field that this version of the contract does not have: protobuf would ignore the field.

    Raises:
        NotImplementedYet: The request, or a message in it, has such a field.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        name, number = message.DESCRIPTOR.name, unknown[0].field_number
        raise NotImplementedYet(
            f"this gateway does not know field {number} of {name}: the caller is newer than the gateway; "
            "leave the field out, or call a newer gateway",
            feature=f"{name}.{number}",
        )
    for field, value in message.ListFields():
        if field.message_type:
            for part in [value] if isinstance(value, Message) else value:
                check_known(part)


def to_pixel_size(image: pb.Image) -> PixelSize | None:
    """Returns the pixel size that a request states; None if it states none.

    Raises:
        InvalidImage: A distance is not above 0.
    """
    if not image.HasField("pixel_size"):
        return None
    size = image.pixel_size
    lengths = {"y_um": size.y_um, "x_um": size.x_um} | ({"z_um": size.z_um} if size.HasField("z_um") else {})
    for name, length in lengths.items():
        if not 0 < length < math.inf:
            raise InvalidImage(
                f"pixel_size.{name} is {length}; allowed: micrometres, above 0", reason="PIXEL_SIZE_INVALID", field=name
            )
    return PixelSize(size.y_um, size.x_um, lengths.get("z_um"))


def to_params(message: pb.SegmentParams, default_model: str) -> SegmentParams:
    """Returns the parameters of a request, defaults filled in.

    Raises:
        ParameterError: A value is outside its range.
        InvalidRequest: An enumeration has an unknown value.
    """
    try:
        params = wire.read_params(message)
    except wire.UnknownWordError as error:
        raise InvalidRequest(str(error), field=error.field, value=error.value) from error
    return replace(params, model=params.model or default_model)


def to_wanted(request: pb.SegmentRequest) -> Wanted:
    """Returns the parts wanted. Raises InvalidRequest for unknown parts, and for outlines without masks."""
    if len(request.outputs) > MOST_OUTPUTS:
        raise InvalidRequest(f"outputs has {len(request.outputs)} entries; name each output once", field="outputs")
    outputs = frozenset(_lookup(OUTPUTS, output, "outputs") for output in request.outputs)
    if request.maps_only and "outlines" in outputs:
        raise InvalidRequest("maps_only recovers no masks, so there are no outlines", field="outputs")
    map_type = _lookup(MAP_TYPES, request.map_type, "map_type")
    return Wanted(outputs, request.maps_only, not request.omit_labels, map_type)


def to_priority(priority: int) -> Priority:
    """Returns the priority class. Raises InvalidRequest for an unknown one."""
    return _lookup(PRIORITIES, priority, "priority")


def to_compression(request: pb.SegmentRequest) -> int:
    """Returns how the arrays of the answer are packed. Raises InvalidRequest for an unknown compression."""
    if request.compression not in (0, *wire.words(pb.Compression).values()):
        raise InvalidRequest(
            f"compression has the unknown value {request.compression}", field="compression", value=request.compression
        )
    return request.compression


def to_work_budget(request: Work | pb.RunNetworksRequest) -> float | None:
    """Returns the seconds of work allowed, None without a budget. Raises InvalidRequest unless they are above 0."""
    if not request.HasField("work_budget_s"):
        return None
    if not 0 < request.work_budget_s < math.inf:
        raise InvalidRequest(
            f"work_budget_s is {request.work_budget_s}; allowed: seconds, above 0", field="work_budget_s"
        )
    return request.work_budget_s


def _check_type(array: pb.Array, taken: Sequence[np.dtype[Any]]) -> None:
    if DTYPES.get(array.data_type, np.dtype(object)) not in taken:
        name = f"number {array.data_type}" if array.data_type else "'unspecified'"
        raise decode.unsupported_dtype(name, taken)


def _layout(array: pb.Array, axes: str) -> Layout:
    """Returns what is said of a raw image, in the words of `decode`: T, and Z of length one, are left out."""
    if len(array.shape) > MOST_AXES:
        raise InvalidImage(f"the shape has {len(array.shape)} axes", reason="IMAGE_SIZE_MISMATCH")
    shape = tuple(array.shape)
    if len(axes) != len(shape) and not axes_problem(axes, len(axes)):
        raise InvalidImage(f"the shape has {len(shape)} axes, '{axes}' names {len(axes)}", reason="IMAGE_SIZE_MISMATCH")
    if problem := axes_problem(axes, len(shape)):
        raise InvalidImage(f"axes are {problem}", reason="AXES_UNKNOWN")
    if 0 in shape:
        raise InvalidImage(f"the image is empty: axes {axes} of {'x'.join(map(str, shape))}", reason="IMAGE_EMPTY")
    with decode.translated_image_errors():
        check_one_time_point(axes, shape)
    kept = [pair for pair in zip(axes, shape, strict=True) if pair[0] not in "TZ" or (pair[0] == "Z" and pair[1] > 1)]
    names = "".join(letter for letter, _ in kept)
    if "C" not in names:
        names = names.replace("S", "C")
    return Layout(DTYPES[array.data_type], tuple(length for _, length in kept), names)


def _data(small: bytes, payload: Payload, path: str) -> bytes | memoryview:
    """Returns the value of a bytes field: as it is in the message, or as taken out of the message."""
    return payload.data if payload.path.endswith(path) else small


def _is_packed(array: pb.Array) -> bool:
    try:
        return is_packed(array)
    except ArrayError as error:
        raise InvalidRequest(str(error), field="compression", value=array.compression) from error


def _lookup(table: Mapping[Any, T], value: int, field: str) -> T:
    try:
        return table[value]
    except KeyError:
        raise InvalidRequest(f"{field} has the unknown value {value}", field=field, value=value) from None
