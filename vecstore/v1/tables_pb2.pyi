from vecstore.v1 import collections_pb2 as _collections_pb2
from vecstore.v1 import common_pb2 as _common_pb2
from vecstore.v1 import points_pb2 as _points_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnUnknown(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_UNKNOWN_UNSPECIFIED: _ClassVar[OnUnknown]
    ON_UNKNOWN_ERROR: _ClassVar[OnUnknown]
    ON_UNKNOWN_HASH: _ClassVar[OnUnknown]
ON_UNKNOWN_UNSPECIFIED: OnUnknown
ON_UNKNOWN_ERROR: OnUnknown
ON_UNKNOWN_HASH: OnUnknown

class ListTablesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTablesResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetTableRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTableResponse(_message.Message):
    __slots__ = ("fields", "dim", "version", "rows", "nbytes", "overhead_bytes", "parts")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[TableField]
    dim: int
    version: int
    rows: int
    nbytes: int
    overhead_bytes: int
    parts: _containers.RepeatedCompositeFieldContainer[TablePart]
    def __init__(self, fields: _Optional[_Iterable[_Union[TableField, _Mapping]]] = ..., dim: _Optional[int] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., nbytes: _Optional[int] = ..., overhead_bytes: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[TablePart, _Mapping]]] = ...) -> None: ...

class TableField(_message.Message):
    __slots__ = ("name", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class TablePart(_message.Message):
    __slots__ = ("scheme", "fields", "rows", "bytes")
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    scheme: _collections_pb2.Scheme
    fields: _containers.RepeatedScalarFieldContainer[str]
    rows: int
    bytes: int
    def __init__(self, scheme: _Optional[_Union[_collections_pb2.Scheme, _Mapping]] = ..., fields: _Optional[_Iterable[str]] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("lookups", "on_unknown")
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    ON_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    lookups: _containers.RepeatedCompositeFieldContainer[TableLookup]
    on_unknown: OnUnknown
    def __init__(self, lookups: _Optional[_Iterable[_Union[TableLookup, _Mapping]]] = ..., on_unknown: _Optional[_Union[OnUnknown, str]] = ...) -> None: ...

class TableLookup(_message.Message):
    __slots__ = ("table", "field", "ids", "columns")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    table: str
    field: str
    ids: bytes
    columns: int
    def __init__(self, table: _Optional[str] = ..., field: _Optional[str] = ..., ids: _Optional[bytes] = ..., columns: _Optional[int] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("vectors",)
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[_common_pb2.Vectors]
    def __init__(self, vectors: _Optional[_Iterable[_Union[_common_pb2.Vectors, _Mapping]]] = ...) -> None: ...

class SearchTableRequest(_message.Message):
    __slots__ = ("table", "field", "queries", "k", "metric")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    table: str
    field: str
    queries: _common_pb2.Vectors
    k: int
    metric: _collections_pb2.Metric
    def __init__(self, table: _Optional[str] = ..., field: _Optional[str] = ..., queries: _Optional[_Union[_common_pb2.Vectors, _Mapping]] = ..., k: _Optional[int] = ..., metric: _Optional[_Union[_collections_pb2.Metric, str]] = ...) -> None: ...

class TableVersionsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class TableVersionsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[TableVersion]
    def __init__(self, versions: _Optional[_Iterable[_Union[TableVersion, _Mapping]]] = ...) -> None: ...

class TableVersion(_message.Message):
    __slots__ = ("number", "created", "nbytes", "current")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    created: str
    nbytes: int
    current: bool
    def __init__(self, number: _Optional[int] = ..., created: _Optional[str] = ..., nbytes: _Optional[int] = ..., current: _Optional[bool] = ...) -> None: ...

class PutTableRequest(_message.Message):
    __slots__ = ("start", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: PutTableStart
    chunk: ArrayChunk
    def __init__(self, start: _Optional[_Union[PutTableStart, _Mapping]] = ..., chunk: _Optional[_Union[ArrayChunk, _Mapping]] = ...) -> None: ...

class PutTableStart(_message.Message):
    __slots__ = ("name", "scheme", "dim", "keep", "arrays")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    scheme: _collections_pb2.Scheme
    dim: int
    keep: int
    arrays: _containers.RepeatedCompositeFieldContainer[ArrayInfo]
    def __init__(self, name: _Optional[str] = ..., scheme: _Optional[_Union[_collections_pb2.Scheme, _Mapping]] = ..., dim: _Optional[int] = ..., keep: _Optional[int] = ..., arrays: _Optional[_Iterable[_Union[ArrayInfo, _Mapping]]] = ...) -> None: ...

class ArrayInfo(_message.Message):
    __slots__ = ("name", "dtype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class ArrayChunk(_message.Message):
    __slots__ = ("data", "crc32")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    crc32: int
    def __init__(self, data: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class PutTableResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class RollBackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DropTableRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropTableResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
