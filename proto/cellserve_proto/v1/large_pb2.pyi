from cellserve_proto.v1 import request_pb2 as _request_pb2
from cellserve_proto.v1 import results_pb2 as _results_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORK_STAGE_UNSPECIFIED: _ClassVar[WorkStage]
    WORK_STAGE_PREPROCESS: _ClassVar[WorkStage]
    WORK_STAGE_DIAMETER: _ClassVar[WorkStage]
    WORK_STAGE_INFERENCE: _ClassVar[WorkStage]
    WORK_STAGE_RECOVERY: _ClassVar[WorkStage]
    WORK_STAGE_ENCODE: _ClassVar[WorkStage]

class ResultArray(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_ARRAY_UNSPECIFIED: _ClassVar[ResultArray]
    RESULT_ARRAY_LABELS: _ClassVar[ResultArray]
    RESULT_ARRAY_FLOWS: _ClassVar[ResultArray]
    RESULT_ARRAY_CELL_PROBABILITY: _ClassVar[ResultArray]
    RESULT_ARRAY_MAPS: _ClassVar[ResultArray]
WORK_STAGE_UNSPECIFIED: WorkStage
WORK_STAGE_PREPROCESS: WorkStage
WORK_STAGE_DIAMETER: WorkStage
WORK_STAGE_INFERENCE: WorkStage
WORK_STAGE_RECOVERY: WorkStage
WORK_STAGE_ENCODE: WorkStage
RESULT_ARRAY_UNSPECIFIED: ResultArray
RESULT_ARRAY_LABELS: ResultArray
RESULT_ARRAY_FLOWS: ResultArray
RESULT_ARRAY_CELL_PROBABILITY: ResultArray
RESULT_ARRAY_MAPS: ResultArray

class Chunk(_message.Message):
    __slots__ = ("offset", "data", "crc32")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    crc32: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class SegmentLargeHeader(_message.Message):
    __slots__ = ("idempotency_key", "segment", "estimate_diameter", "image_bytes")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_DIAMETER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    segment: _request_pb2.SegmentRequest
    estimate_diameter: _request_pb2.EstimateDiameterRequest
    image_bytes: int
    def __init__(self, idempotency_key: _Optional[str] = ..., segment: _Optional[_Union[_request_pb2.SegmentRequest, _Mapping]] = ..., estimate_diameter: _Optional[_Union[_request_pb2.EstimateDiameterRequest, _Mapping]] = ..., image_bytes: _Optional[int] = ...) -> None: ...

class SegmentLargeRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: SegmentLargeHeader
    chunk: Chunk
    def __init__(self, header: _Optional[_Union[SegmentLargeHeader, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class UploadProgress(_message.Message):
    __slots__ = ("received_bytes",)
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    def __init__(self, received_bytes: _Optional[int] = ...) -> None: ...

class WorkProgress(_message.Message):
    __slots__ = ("tiles_done", "tiles_total", "stage", "sections_done", "sections_total", "left_s")
    TILES_DONE_FIELD_NUMBER: _ClassVar[int]
    TILES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_DONE_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LEFT_S_FIELD_NUMBER: _ClassVar[int]
    tiles_done: int
    tiles_total: int
    stage: WorkStage
    sections_done: int
    sections_total: int
    left_s: float
    def __init__(self, tiles_done: _Optional[int] = ..., tiles_total: _Optional[int] = ..., stage: _Optional[_Union[WorkStage, str]] = ..., sections_done: _Optional[int] = ..., sections_total: _Optional[int] = ..., left_s: _Optional[float] = ...) -> None: ...

class ResultChunk(_message.Message):
    __slots__ = ("array", "chunk")
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    array: ResultArray
    chunk: Chunk
    def __init__(self, array: _Optional[_Union[ResultArray, str]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class ObjectBatch(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[_results_pb2.Object]
    def __init__(self, objects: _Optional[_Iterable[_Union[_results_pb2.Object, _Mapping]]] = ...) -> None: ...

class SegmentLargeResponse(_message.Message):
    __slots__ = ("upload", "work", "result", "objects", "chunk", "diameter")
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    upload: UploadProgress
    work: WorkProgress
    result: _results_pb2.SegmentResponse
    objects: ObjectBatch
    chunk: ResultChunk
    diameter: _results_pb2.EstimateDiameterResponse
    def __init__(self, upload: _Optional[_Union[UploadProgress, _Mapping]] = ..., work: _Optional[_Union[WorkProgress, _Mapping]] = ..., result: _Optional[_Union[_results_pb2.SegmentResponse, _Mapping]] = ..., objects: _Optional[_Union[ObjectBatch, _Mapping]] = ..., chunk: _Optional[_Union[ResultChunk, _Mapping]] = ..., diameter: _Optional[_Union[_results_pb2.EstimateDiameterResponse, _Mapping]] = ...) -> None: ...
