from cellserve_proto.v1 import image_pb2 as _image_pb2
from cellserve_proto.v1 import models_pb2 as _models_pb2
from cellserve_proto.v1 import request_pb2 as _request_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TileRange(_message.Message):
    __slots__ = ("first", "end")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    first: int
    end: int
    def __init__(self, first: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class TileGrid(_message.Message):
    __slots__ = ("height", "width", "starts_y", "starts_x", "augment", "rows", "columns")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    STARTS_Y_FIELD_NUMBER: _ClassVar[int]
    STARTS_X_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    starts_y: _containers.RepeatedScalarFieldContainer[int]
    starts_x: _containers.RepeatedScalarFieldContainer[int]
    augment: bool
    rows: TileRange
    columns: TileRange
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., starts_y: _Optional[_Iterable[int]] = ..., starts_x: _Optional[_Iterable[int]] = ..., augment: _Optional[bool] = ..., rows: _Optional[_Union[TileRange, _Mapping]] = ..., columns: _Optional[_Union[TileRange, _Mapping]] = ...) -> None: ...

class RunNetworksRequest(_message.Message):
    __slots__ = ("request_id", "grid", "model", "ensemble", "priority", "work_budget_s", "planes")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WORK_BUDGET_S_FIELD_NUMBER: _ClassVar[int]
    PLANES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    grid: TileGrid
    model: str
    ensemble: bool
    priority: _request_pb2.Priority
    work_budget_s: float
    planes: _image_pb2.Array
    def __init__(self, request_id: _Optional[str] = ..., grid: _Optional[_Union[TileGrid, _Mapping]] = ..., model: _Optional[str] = ..., ensemble: _Optional[bool] = ..., priority: _Optional[_Union[_request_pb2.Priority, str]] = ..., work_budget_s: _Optional[float] = ..., planes: _Optional[_Union[_image_pb2.Array, _Mapping]] = ...) -> None: ...

class RunNetworksResponse(_message.Message):
    __slots__ = ("request_id", "model", "server_version", "sums")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: _models_pb2.ModelVersion
    server_version: str
    sums: _image_pb2.Array
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[_models_pb2.ModelVersion, _Mapping]] = ..., server_version: _Optional[str] = ..., sums: _Optional[_Union[_image_pb2.Array, _Mapping]] = ...) -> None: ...
