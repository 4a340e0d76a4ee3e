"""Layers, in which the kit's clients send parameters and take results.

A request is a JSON list of layers. The data of an image is a TIFF file in base64. An answer is a row of MessagePack
messages, each a layer. Both functions run on threads.
"""

from __future__ import annotations

import base64
import binascii
import mmap
from dataclasses import dataclass
from typing import Any

import msgspec
from cellserve_formats.isolated import MemoryFile
from cellserve_parallel import CancellationToken

from cellserve_gateway.errors import InvalidImage, InvalidRequest
from cellserve_gateway.fronts.http.answers import Answer, as_labels_tiff

from .parameters import IMAGE, Value

MEDIA_TYPE = "application/msgpack"
RESULT = "CellServe"
"""Name of the layer with the label image."""
MOST_VALUES = 10_000
"""Values in a request. A client sends about 230. A parsed value can take thirty times the memory of its text."""
MOST_TEXT_BYTES = 4096
_PART_BYTES = 1 << 20  # a multiple of 4: base64 is decoded by parts


class _Layer(msgspec.Struct):
    """A layer as sent. What else a client sends describes the layer for the client itself."""

    name: str
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client sends.

    Attributes:
        values: The parameters by name, without the image.
        image: The image file.
    """

    values: dict[str, Value]
    image: MemoryFile


def read_request(body: MemoryFile, cancellation: CancellationToken) -> Sent:
    """Reads a request. Beside the body the work takes the memory of the image file, three quarters of the body at most.

    Args:
        body: The list of layers.
        cancellation: Ends the work.

    Raises:
        InvalidRequest: The body is no list of layers, or holds too many values.
        InvalidImage: There is no image, or its data is no base64.
        WorkCancelledError: The work was cancelled.
    """
    text = memoryview(mmap.mmap(body.fileno(), body.size, prot=mmap.PROT_READ))
    _check_values(text, cancellation)
    try:
        layers = msgspec.json.decode(text, type=list[_Layer])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(
            f"the body is no list of layers as Imaging Server Kit 0.3 sends them: {error}", reason="MESSAGE_MALFORMED"
        ) from None
    raw = {layer.name: layer.data for layer in layers}
    if len(raw) < len(layers):
        raise InvalidRequest("two layers of the request have one name", field="name")
    image = raw.pop(IMAGE, None)
    return Sent({name: _value(name, data) for name, data in raw.items()}, _image(image, cancellation))


def _check_values(text: memoryview, cancellation: CancellationToken) -> None:
    """Raises InvalidRequest if a JSON text holds more than `MOST_VALUES` values, which commas separate."""
    commas = 0
    for start in range(0, len(text), _PART_BYTES):
        cancellation.raise_if_cancelled()
        commas += bytes(text[start : start + _PART_BYTES]).count(b",")
        if commas > MOST_VALUES:
            raise InvalidRequest(
                f"the request holds more than {MOST_VALUES:,} values beside the image", reason="MESSAGE_TOO_COMPLEX"
            )


def _value(name: str, data: msgspec.Raw) -> Value:
    """Returns the value of a parameter."""
    name = name[:64]
    if len(memoryview(data)) > MOST_TEXT_BYTES:
        raise InvalidRequest(f"the parameter '{name}' has more than {MOST_TEXT_BYTES:,} bytes", field=name)
    try:
        value: Value = msgspec.json.decode(data, type=Value)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"the parameter '{name}' is neither a text nor a number nor true or false", field=name
        ) from None
    return value


def _image(data: msgspec.Raw | None, cancellation: CancellationToken) -> MemoryFile:
    """Returns the file in the data of an image."""
    text = memoryview(data or b"null")
    if text[:1].tobytes() != b'"':
        raise InvalidImage("the request has no image: open or choose one", reason="IMAGE_EMPTY")
    file, packed = MemoryFile(), text[1:-1]
    try:
        for start in range(0, len(packed), _PART_BYTES):
            cancellation.raise_if_cancelled()
            file.write(binascii.a2b_base64(packed[start : start + _PART_BYTES], strict_mode=True))
    except binascii.Error as error:
        raise InvalidImage(f"the data of the image is no base64: {error}", reason="IMAGE_UNDECODABLE") from None
    return file


def answer_bytes(answer: Answer) -> bytes:
    """Returns the label image with the table of the objects, then a notification for each warning.

    The label image comes first: programs take the first layer for the result. Its features are the table of the
    objects, and its metadata say how the answer was made.
    """
    rows = answer.rows
    features = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    meta = {
        "description": "Label image: 0 is background, each object has a number.",
        "merger": "instances",
        "metadata": answer.provenance | {"request_id": answer.request_id},
    }
    layers = [_layer("mask", RESULT, base64.b64encode(as_labels_tiff(answer)).decode(), meta | {"features": features})]
    layers += [
        _layer("notification", one["kind"], f"{one['meaning']} {one['suggestion']}", {"level": "warning"})
        for one in answer.warnings
    ]
    return b"".join(map(msgspec.msgpack.encode, layers))


def _layer(kind: str, name: str, data: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "name": name, "data": data, "meta": meta, "tile_meta": None}
