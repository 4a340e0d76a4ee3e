from cellserve_proto.v1 import image_pb2 as _image_pb2
from cellserve_proto.v1 import params_pb2 as _params_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_ACQUISITION: _ClassVar[Priority]
    PRIORITY_BATCH: _ClassVar[Priority]

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_OUTLINES: _ClassVar[Output]
    OUTPUT_FLOWS: _ClassVar[Output]
    OUTPUT_CELL_PROBABILITY: _ClassVar[Output]
    OUTPUT_STYLE: _ClassVar[Output]
    OUTPUT_MAPS: _ClassVar[Output]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_ACQUISITION: Priority
PRIORITY_BATCH: Priority
OUTPUT_UNSPECIFIED: Output
OUTPUT_OUTLINES: Output
OUTPUT_FLOWS: Output
OUTPUT_CELL_PROBABILITY: Output
OUTPUT_STYLE: Output
OUTPUT_MAPS: Output

class SegmentRequest(_message.Message):
    __slots__ = ("request_id", "image", "params", "outputs", "omit_labels", "maps_only", "map_type", "compression", "priority", "work_budget_s")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OMIT_LABELS_FIELD_NUMBER: _ClassVar[int]
    MAPS_ONLY_FIELD_NUMBER: _ClassVar[int]
    MAP_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WORK_BUDGET_S_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image: _image_pb2.Image
    params: _params_pb2.SegmentParams
    outputs: _containers.RepeatedScalarFieldContainer[Output]
    omit_labels: bool
    maps_only: bool
    map_type: _image_pb2.DataType
    compression: _image_pb2.Compression
    priority: Priority
    work_budget_s: float
    def __init__(self, request_id: _Optional[str] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., params: _Optional[_Union[_params_pb2.SegmentParams, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Output, str]]] = ..., omit_labels: _Optional[bool] = ..., maps_only: _Optional[bool] = ..., map_type: _Optional[_Union[_image_pb2.DataType, str]] = ..., compression: _Optional[_Union[_image_pb2.Compression, str]] = ..., priority: _Optional[_Union[Priority, str]] = ..., work_budget_s: _Optional[float] = ...) -> None: ...

class EstimateDiameterRequest(_message.Message):
    __slots__ = ("request_id", "image", "params", "priority", "work_budget_s")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WORK_BUDGET_S_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image: _image_pb2.Image
    params: _params_pb2.SegmentParams
    priority: Priority
    work_budget_s: float
    def __init__(self, request_id: _Optional[str] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., params: _Optional[_Union[_params_pb2.SegmentParams, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ..., work_budget_s: _Optional[float] = ...) -> None: ...
