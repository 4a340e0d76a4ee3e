"""The one large value of a message: written behind the rest of the message, and taken out of it, without a copy.

Parsing copies every bytes field, and reading the field copies it again, both while no other thread can run. A repeated
field of a message of the greatest size has millions of entries, which stop the process for seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

MAX_STRUCTURE_BYTES = 1 << 16
"""Most bytes of a message besides its payload: names, parameters, shapes."""
MIN_PAYLOAD_BYTES = 4096
"""A smaller value of a bytes field stays in its message."""
MAX_DEPTH = 16

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class MalformedMessageError(ValueError):
    """The bytes are not a message."""


class ComplexMessageError(ValueError):
    """The message has more structure than any request needs."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The one large value of a message.

    Attributes:
        path: Names of the fields on the way to the value, joined by dots.
        data: The value; a view of the message's bytes.
    """

    path: str
    data: memoryview


NO_PAYLOAD = Payload("", memoryview(b""))


@dataclass(frozen=True, slots=True, eq=False)
class Detached(Generic[M]):
    """A message whose one large field is kept outside: its bytes are copied once on the way out, never on the way in.

    Attributes:
        message: The message, complete but for the large field.
        path: Names of the fields that lead from the message to the large field. Empty: there is none.
        data: The content of the large field; the caller's own memory where possible.
    """

    message: M
    path: tuple[str, ...]
    data: bytes | memoryview

    @classmethod
    def parse(cls, data: bytes, kind: type[M]) -> Self:
        """Returns a message of a type; arguments and errors otherwise as in `take_payload`.

        Raises:
            DecodeError: What is left of the bytes is not a message of the type.
        """
        rest, payload = take_payload(data, cast(Descriptor, kind.DESCRIPTOR))
        return cls(kind.FromString(rest), tuple(filter(None, payload.path.split("."))), payload.data)

    def serialize(self) -> bytes:
        """Returns the bytes of the whole message.

        The large field comes last in its message, and so does each message around it. Every message occurs once:
        protobuf's parsers merge a message that occurs twice, but others keep the last one only (protobuf.js 7).
        """
        if not self.path:
            return self.message.SerializeToString()
        return b"".join((_head(self.message, self.path, len(self.data)), self.data))

    def byte_size(self) -> int:
        """Returns the number of bytes of the whole message."""
        if not self.path:
            return self.message.ByteSize()
        return len(_head(self.message, self.path, len(self.data))) + len(self.data)


def take_payload(data: bytes, descriptor: Descriptor) -> tuple[bytes, Payload]:
    """Takes the large value of a bytes field out of a serialized message.

    Args:
        data: The serialized message.
        descriptor: Its type.

    Returns:
        The serialized message without the value, and the value. A message without a large value has an empty payload.

    Raises:
        MalformedMessageError: The bytes are not a message.
        ComplexMessageError: Without the value the message exceeds `MAX_STRUCTURE_BYTES`, or has several large values.
    """
    if len(data) <= MIN_PAYLOAD_BYTES:
        return data, NO_PAYLOAD
    payloads: list[Payload] = []
    rest = _strip(memoryview(data), descriptor, (), payloads, [MAX_STRUCTURE_BYTES])
    return rest, payloads[0] if payloads else NO_PAYLOAD


def _strip(
    data: memoryview, descriptor: Descriptor, path: tuple[str, ...], payloads: list[Payload], budget: list[int]
) -> bytes:
    """Returns a message without its large values. `budget` has the bytes that may still be kept."""
    kept, at, fields = bytearray(), 0, descriptor.fields_by_number
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind != _LENGTH:
            at = _varint(data, at)[1] if kind == _VARINT else at + _fixed(kind)
            _spend(budget, at - start)
            kept += data[start:at]
            continue
        length, at = _varint(data, at)
        value, at = data[at : at + length], at + length
        if len(value) < length:
            raise MalformedMessageError("a field is cut off")
        field: FieldDescriptor | None = fields.get(number)
        if field and field.type == FieldDescriptor.TYPE_BYTES and length >= MIN_PAYLOAD_BYTES:
            if payloads:
                raise ComplexMessageError("the message has more than one large value")
            payloads.append(Payload(".".join((*path, field.name)), value))
        elif field and field.message_type and length >= MIN_PAYLOAD_BYTES and len(path) < MAX_DEPTH:
            inner = _strip(value, field.message_type, (*path, field.name), payloads, budget)
            kept += _encode_varint(tag) + _encode_varint(len(inner)) + inner
        else:
            _spend(budget, at - start)
            kept += data[start:at]
    if at > len(data):
        raise MalformedMessageError("a field is cut off")
    return bytes(kept)


def _spend(budget: list[int], size: int) -> None:
    budget[0] -= size
    if budget[0] < 0:
        raise ComplexMessageError(f"besides its pixels the message exceeds {MAX_STRUCTURE_BYTES:,} bytes")


def _fixed(kind: int) -> int:
    if kind == _FIXED64:
        return 8
    if kind == _FIXED32:
        return 4
    raise MalformedMessageError(f"wire type {kind} does not occur in proto3")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise MalformedMessageError("a number is cut off, or has more than 64 bits")


def _head(message: Message, path: tuple[str, ...], size: int) -> bytes:
    """Returns the bytes of a message before the content of the last field of a path, which has this size."""
    name, *inner = path
    rest, content = message, b""
    if inner:
        content = _head(getattr(message, name), tuple(inner), size)
        rest = type(message)()
        rest.CopyFrom(message)
        rest.ClearField(name)
    tag = message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH
    return rest.SerializeToString() + _encode_varint(tag) + _encode_varint(len(content) + size) + content


def _encode_varint(number: int) -> bytes:
    """Returns a number as protobuf writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
