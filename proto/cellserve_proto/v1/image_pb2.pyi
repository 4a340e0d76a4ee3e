from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_UINT16: _ClassVar[DataType]
    DATA_TYPE_UINT32: _ClassVar[DataType]
    DATA_TYPE_INT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]

class Compression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPRESSION_UNSPECIFIED: _ClassVar[Compression]
    COMPRESSION_NONE: _ClassVar[Compression]
    COMPRESSION_ZLIB: _ClassVar[Compression]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_UINT32: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_INT32: DataType
COMPRESSION_UNSPECIFIED: Compression
COMPRESSION_NONE: Compression
COMPRESSION_ZLIB: Compression

class Array(_message.Message):
    __slots__ = ("data_type", "shape", "compression", "data")
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    compression: Compression
    data: bytes
    def __init__(self, data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., compression: _Optional[_Union[Compression, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("pixels", "axes")
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    pixels: Array
    axes: str
    def __init__(self, pixels: _Optional[_Union[Array, _Mapping]] = ..., axes: _Optional[str] = ...) -> None: ...

class EncodedImage(_message.Message):
    __slots__ = ("format", "data", "series")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[EncodedImage.Format]
        FORMAT_PNG: _ClassVar[EncodedImage.Format]
        FORMAT_TIFF: _ClassVar[EncodedImage.Format]
        FORMAT_JPEG: _ClassVar[EncodedImage.Format]
    FORMAT_UNSPECIFIED: EncodedImage.Format
    FORMAT_PNG: EncodedImage.Format
    FORMAT_TIFF: EncodedImage.Format
    FORMAT_JPEG: EncodedImage.Format
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    format: EncodedImage.Format
    data: bytes
    series: int
    def __init__(self, format: _Optional[_Union[EncodedImage.Format, str]] = ..., data: _Optional[bytes] = ..., series: _Optional[int] = ...) -> None: ...

class PixelSize(_message.Message):
    __slots__ = ("y_um", "x_um", "z_um")
    Y_UM_FIELD_NUMBER: _ClassVar[int]
    X_UM_FIELD_NUMBER: _ClassVar[int]
    Z_UM_FIELD_NUMBER: _ClassVar[int]
    y_um: float
    x_um: float
    z_um: float
    def __init__(self, y_um: _Optional[float] = ..., x_um: _Optional[float] = ..., z_um: _Optional[float] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("raw", "encoded", "pixel_size")
    RAW_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    raw: RawImage
    encoded: EncodedImage
    pixel_size: PixelSize
    def __init__(self, raw: _Optional[_Union[RawImage, _Mapping]] = ..., encoded: _Optional[_Union[EncodedImage, _Mapping]] = ..., pixel_size: _Optional[_Union[PixelSize, _Mapping]] = ...) -> None: ...
