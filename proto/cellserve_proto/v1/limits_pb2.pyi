from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Limits(_message.Message):
    __slots__ = ("max_image_pixels", "max_image_bytes", "max_planes", "max_tiles", "max_transfer_bytes", "max_message_bytes", "default_deadline_s", "max_deadline_s", "max_stack_planes", "max_stack_voxels", "max_stack_tiles")
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PLANES_FIELD_NUMBER: _ClassVar[int]
    MAX_TILES_FIELD_NUMBER: _ClassVar[int]
    MAX_TRANSFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    MAX_DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    MAX_STACK_PLANES_FIELD_NUMBER: _ClassVar[int]
    MAX_STACK_VOXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_STACK_TILES_FIELD_NUMBER: _ClassVar[int]
    max_image_pixels: int
    max_image_bytes: int
    max_planes: int
    max_tiles: int
    max_transfer_bytes: int
    max_message_bytes: int
    default_deadline_s: float
    max_deadline_s: float
    max_stack_planes: int
    max_stack_voxels: int
    max_stack_tiles: int
    def __init__(self, max_image_pixels: _Optional[int] = ..., max_image_bytes: _Optional[int] = ..., max_planes: _Optional[int] = ..., max_tiles: _Optional[int] = ..., max_transfer_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., default_deadline_s: _Optional[float] = ..., max_deadline_s: _Optional[float] = ..., max_stack_planes: _Optional[int] = ..., max_stack_voxels: _Optional[int] = ..., max_stack_tiles: _Optional[int] = ...) -> None: ...
