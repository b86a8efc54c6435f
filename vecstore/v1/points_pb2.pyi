from vecstore.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WriteMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITE_MODE_UNSPECIFIED: _ClassVar[WriteMode]
    WRITE_MODE_INSERT: _ClassVar[WriteMode]
    WRITE_MODE_UPSERT: _ClassVar[WriteMode]
WRITE_MODE_UNSPECIFIED: WriteMode
WRITE_MODE_INSERT: WriteMode
WRITE_MODE_UPSERT: WriteMode

class Rows(_message.Message):
    __slots__ = ("ids", "vectors", "metadata_arrow")
    IDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    METADATA_ARROW_FIELD_NUMBER: _ClassVar[int]
    ids: _common_pb2.Ids
    vectors: _common_pb2.Vectors
    metadata_arrow: bytes
    def __init__(self, ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., vectors: _Optional[_Union[_common_pb2.Vectors, _Mapping]] = ..., metadata_arrow: _Optional[bytes] = ...) -> None: ...

class InsertRequest(_message.Message):
    __slots__ = ("collection", "mode", "rows")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    mode: WriteMode
    rows: Rows
    def __init__(self, collection: _Optional[str] = ..., mode: _Optional[_Union[WriteMode, str]] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ...) -> None: ...

class InsertResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class InsertStreamRequest(_message.Message):
    __slots__ = ("start", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: InsertStreamStart
    chunk: Rows
    def __init__(self, start: _Optional[_Union[InsertStreamStart, _Mapping]] = ..., chunk: _Optional[_Union[Rows, _Mapping]] = ...) -> None: ...

class InsertStreamStart(_message.Message):
    __slots__ = ("collection", "mode")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    mode: WriteMode
    def __init__(self, collection: _Optional[str] = ..., mode: _Optional[_Union[WriteMode, str]] = ...) -> None: ...

class InsertStreamResponse(_message.Message):
    __slots__ = ("chunk", "count", "total")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    chunk: int
    count: int
    total: int
    def __init__(self, chunk: _Optional[int] = ..., count: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class GetPointsRequest(_message.Message):
    __slots__ = ("collection", "ids", "columns", "no_vectors")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NO_VECTORS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _common_pb2.Ids
    columns: _common_pb2.Columns
    no_vectors: bool
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., columns: _Optional[_Union[_common_pb2.Columns, _Mapping]] = ..., no_vectors: _Optional[bool] = ...) -> None: ...

class GetPointsResponse(_message.Message):
    __slots__ = ("found", "vectors", "metadata_arrow")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    METADATA_ARROW_FIELD_NUMBER: _ClassVar[int]
    found: _containers.RepeatedScalarFieldContainer[bool]
    vectors: _common_pb2.Vectors
    metadata_arrow: bytes
    def __init__(self, found: _Optional[_Iterable[bool]] = ..., vectors: _Optional[_Union[_common_pb2.Vectors, _Mapping]] = ..., metadata_arrow: _Optional[bytes] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "ids", "where")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _common_pb2.Ids
    where: str
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., where: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "where")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    where: str
    def __init__(self, collection: _Optional[str] = ..., where: _Optional[str] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "queries", "k", "where", "ef", "exact", "columns", "recall", "funnel")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    FUNNEL_FIELD_NUMBER: _ClassVar[int]
    collection: str
    queries: _common_pb2.Vectors
    k: int
    where: str
    ef: int
    exact: bool
    columns: _common_pb2.Columns
    recall: float
    funnel: _containers.RepeatedCompositeFieldContainer[FunnelStage]
    def __init__(self, collection: _Optional[str] = ..., queries: _Optional[_Union[_common_pb2.Vectors, _Mapping]] = ..., k: _Optional[int] = ..., where: _Optional[str] = ..., ef: _Optional[int] = ..., exact: _Optional[bool] = ..., columns: _Optional[_Union[_common_pb2.Columns, _Mapping]] = ..., recall: _Optional[float] = ..., funnel: _Optional[_Iterable[_Union[FunnelStage, _Mapping]]] = ...) -> None: ...

class FunnelStage(_message.Message):
    __slots__ = ("dims", "rows")
    DIMS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    dims: int
    rows: int
    def __init__(self, dims: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("counts", "ids", "distances", "metadata_arrow", "k")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    METADATA_ARROW_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    ids: _common_pb2.Ids
    distances: bytes
    metadata_arrow: bytes
    k: int
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., distances: _Optional[bytes] = ..., metadata_arrow: _Optional[bytes] = ..., k: _Optional[int] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("collection", "where", "batch_size", "columns", "no_vectors")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NO_VECTORS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    where: str
    batch_size: int
    columns: _common_pb2.Columns
    no_vectors: bool
    def __init__(self, collection: _Optional[str] = ..., where: _Optional[str] = ..., batch_size: _Optional[int] = ..., columns: _Optional[_Union[_common_pb2.Columns, _Mapping]] = ..., no_vectors: _Optional[bool] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("batch_arrow",)
    BATCH_ARROW_FIELD_NUMBER: _ClassVar[int]
    batch_arrow: bytes
    def __init__(self, batch_arrow: _Optional[bytes] = ...) -> None: ...
