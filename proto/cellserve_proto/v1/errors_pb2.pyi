from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_EMPTY: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_SIZE_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_UNDECODABLE: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_AXES_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_STACK_MODE_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_DATA_TYPE_UNSUPPORTED: _ClassVar[ErrorReason]
    ERROR_REASON_PIXELS_NOT_FINITE: _ClassVar[ErrorReason]
    ERROR_REASON_PIXEL_SIZE_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_PARAMETER_OUT_OF_RANGE: _ClassVar[ErrorReason]
    ERROR_REASON_FIELD_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_MESSAGE_MALFORMED: _ClassVar[ErrorReason]
    ERROR_REASON_MESSAGE_TOO_COMPLEX: _ClassVar[ErrorReason]
    ERROR_REASON_MESSAGE_SIZE_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_ANSWER_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_CHUNK_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_UPLOAD_CONTINUED: _ClassVar[ErrorReason]
    ERROR_REASON_SERVICE_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_UPLOAD_TOO_SLOW: _ClassVar[ErrorReason]
    ERROR_REASON_ANSWER_NOT_TAKEN: _ClassVar[ErrorReason]
    ERROR_REASON_FRAME_ID_IN_USE: _ClassVar[ErrorReason]
    ERROR_REASON_TOKEN_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_TOKEN_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_GATEWAY_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_TRITON_QUEUE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_DRAINING: _ClassVar[ErrorReason]
    ERROR_REASON_TRITON_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_WORK_BUDGET_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_IMPLEMENTED: _ClassVar[ErrorReason]
    ERROR_REASON_TRITON_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_TRITON_BAD_ANSWER: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]

class WarningKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_KIND_UNSPECIFIED: _ClassVar[WarningKind]
    WARNING_KIND_NOTHING_FOUND: _ClassVar[WarningKind]
    WARNING_KIND_DIAMETER_NOT_MEASURED: _ClassVar[WarningKind]
    WARNING_KIND_DIAMETER_UNCERTAIN: _ClassVar[WarningKind]
    WARNING_KIND_DIAMETER_AT_LIMIT: _ClassVar[WarningKind]
    WARNING_KIND_SIZE_UNTESTED: _ClassVar[WarningKind]
    WARNING_KIND_CONSTANT_PLANE: _ClassVar[WarningKind]
    WARNING_KIND_PERCENTILES_EQUAL: _ClassVar[WarningKind]
    WARNING_KIND_BORDER_LEFT_OUT: _ClassVar[WarningKind]
    WARNING_KIND_VALUES_CLIPPED: _ClassVar[WarningKind]
    WARNING_KIND_ALPHA_IGNORED: _ClassVar[WarningKind]
    WARNING_KIND_PLANES_IGNORED: _ClassVar[WarningKind]
    WARNING_KIND_ORIENTATION_IGNORED: _ClassVar[WarningKind]
    WARNING_KIND_TILES_MISSING: _ClassVar[WarningKind]
    WARNING_KIND_ANISOTROPY_UNKNOWN: _ClassVar[WarningKind]
    WARNING_KIND_SINGLE_PLANE: _ClassVar[WarningKind]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_IMAGE_EMPTY: ErrorReason
ERROR_REASON_IMAGE_SIZE_MISMATCH: ErrorReason
ERROR_REASON_IMAGE_UNDECODABLE: ErrorReason
ERROR_REASON_IMAGE_UNKNOWN: ErrorReason
ERROR_REASON_AXES_UNKNOWN: ErrorReason
ERROR_REASON_STACK_MODE_MISSING: ErrorReason
ERROR_REASON_DATA_TYPE_UNSUPPORTED: ErrorReason
ERROR_REASON_PIXELS_NOT_FINITE: ErrorReason
ERROR_REASON_PIXEL_SIZE_INVALID: ErrorReason
ERROR_REASON_IMAGE_TOO_LARGE: ErrorReason
ERROR_REASON_PARAMETER_OUT_OF_RANGE: ErrorReason
ERROR_REASON_FIELD_INVALID: ErrorReason
ERROR_REASON_MESSAGE_MALFORMED: ErrorReason
ERROR_REASON_MESSAGE_TOO_COMPLEX: ErrorReason
ERROR_REASON_MESSAGE_SIZE_MISMATCH: ErrorReason
ERROR_REASON_ANSWER_TOO_LARGE: ErrorReason
ERROR_REASON_CHUNK_INVALID: ErrorReason
ERROR_REASON_UPLOAD_CONTINUED: ErrorReason
ERROR_REASON_SERVICE_UNKNOWN: ErrorReason
ERROR_REASON_UPLOAD_TOO_SLOW: ErrorReason
ERROR_REASON_ANSWER_NOT_TAKEN: ErrorReason
ERROR_REASON_FRAME_ID_IN_USE: ErrorReason
ERROR_REASON_TOKEN_MISSING: ErrorReason
ERROR_REASON_TOKEN_UNKNOWN: ErrorReason
ERROR_REASON_MODEL_UNKNOWN: ErrorReason
ERROR_REASON_GATEWAY_FULL: ErrorReason
ERROR_REASON_TRITON_QUEUE_FULL: ErrorReason
ERROR_REASON_DRAINING: ErrorReason
ERROR_REASON_TRITON_UNAVAILABLE: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_WORK_BUDGET_EXCEEDED: ErrorReason
ERROR_REASON_NOT_IMPLEMENTED: ErrorReason
ERROR_REASON_TRITON_REFUSED: ErrorReason
ERROR_REASON_TRITON_BAD_ANSWER: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
WARNING_KIND_UNSPECIFIED: WarningKind
WARNING_KIND_NOTHING_FOUND: WarningKind
WARNING_KIND_DIAMETER_NOT_MEASURED: WarningKind
WARNING_KIND_DIAMETER_UNCERTAIN: WarningKind
WARNING_KIND_DIAMETER_AT_LIMIT: WarningKind
WARNING_KIND_SIZE_UNTESTED: WarningKind
WARNING_KIND_CONSTANT_PLANE: WarningKind
WARNING_KIND_PERCENTILES_EQUAL: WarningKind
WARNING_KIND_BORDER_LEFT_OUT: WarningKind
WARNING_KIND_VALUES_CLIPPED: WarningKind
WARNING_KIND_ALPHA_IGNORED: WarningKind
WARNING_KIND_PLANES_IGNORED: WarningKind
WARNING_KIND_ORIENTATION_IGNORED: WarningKind
WARNING_KIND_TILES_MISSING: WarningKind
WARNING_KIND_ANISOTROPY_UNKNOWN: WarningKind
WARNING_KIND_SINGLE_PLANE: WarningKind

class Warning(_message.Message):
    __slots__ = ("kind", "message", "suggestion", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SUGGESTION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    kind: WarningKind
    message: str
    suggestion: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[_Union[WarningKind, str]] = ..., message: _Optional[str] = ..., suggestion: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...
