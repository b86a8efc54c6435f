"""The two streams of a remote collection: chunks out with acknowledgements in, and batches in."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from vecstore.errors import UnavailableError, VecstoreError
from vecstore.types import F32, IdArray
from vecstore.v1 import points_pb2
from vecstore.wire.arrays import batch_from_bytes
from vecstore.wire.records import rows_to_message

if TYPE_CHECKING:
    import pyarrow as pa

    from vecstore.client.transport import Responses, Transport

#: Bytes of vectors in one chunk. Messages above 256 KiB cost several times more a byte to encode.
CHUNK_BYTES = 256 * 1024
#: Chunks sent and not yet acknowledged: enough to keep the server busy, little enough to hold in memory.
WINDOW = 8

Batch = tuple[IdArray, F32, "pa.Table"]


def chunks_of(batch: Batch, *, max_rows: int) -> Iterator[points_pb2.Rows]:
    """Cut one checked batch into messages of about ``CHUNK_BYTES`` and at most ``max_rows`` rows."""
    ids, vectors, metadata = batch
    row_bytes = vectors.shape[1] * vectors.itemsize + metadata.nbytes // max(1, len(ids))
    step = max(1, min(max_rows, CHUNK_BYTES // row_bytes))
    for start in range(0, len(ids), step):
        part = slice(start, start + step)
        yield rows_to_message(ids[part], vectors[part], metadata.slice(start, step))


def send_chunks(
    transport: Transport,
    start: points_pb2.InsertStreamStart,
    batches: Iterable[Batch],
    *,
    max_rows: int,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Write batches over one stream and give the rows that are durable.

    The caller's thread reads ``batches`` and the acknowledgements; grpc's thread only empties a queue. So
    errors of the caller's iterator reach the caller, and no more than ``WINDOW`` chunks are held. What was sent
    before such an error is stored all the same, as an embedded collection would.

    Raises
    ------
    VecstoreError
        What stopped the stream; a note says how many rows are durable.
    """
    outbox: queue.SimpleQueue[points_pb2.InsertStreamRequest | None] = queue.SimpleQueue()
    outbox.put(points_pb2.InsertStreamRequest(start=start))
    answers = transport.exchange(transport.points.InsertStream, iter(outbox.get, None))
    progress = _Progress(answers, on_progress)
    try:
        for batch in batches:
            for chunk in chunks_of(batch, max_rows=max_rows):
                if progress.waiting >= WINDOW:
                    progress.take_one()
                outbox.put(points_pb2.InsertStreamRequest(chunk=chunk))
                progress.waiting += 1
        outbox.put(None)
        while progress.waiting:
            progress.take_one()
        progress.finish()
    except BaseException as error:
        if isinstance(error, Exception):  # an interrupt must not wait for the server
            outbox.put(None)
            progress.drain()
        error.add_note(f"{progress.rows} rows of earlier chunks were acknowledged and are stored")
        raise
    finally:
        outbox.put(None)  # lets grpc's thread end whatever happened
        answers.close()
    return progress.rows


class _Progress:
    """Acknowledgements of one stream."""

    def __init__(
        self, answers: Responses[points_pb2.InsertStreamResponse], on_progress: Callable[[int], None] | None
    ) -> None:
        self._answers = answers
        self._on_progress = on_progress
        self.waiting = 0
        self.rows = 0

    def take_one(self) -> None:
        """Wait for the next acknowledgement."""
        answer = next(self._answers, None)
        if answer is None:
            raise UnavailableError(f"the server ended the stream with {self.waiting} chunks not acknowledged")
        self.waiting -= 1
        self.rows = answer.total
        if self._on_progress is not None:
            self._on_progress(self.rows)

    def drain(self) -> None:
        """After an error, wait for what was sent before it, so that it is stored and counted.

        Where the error was the server's own this ends at once: the stream gives the same error again.
        """
        self._on_progress = None
        with suppress(VecstoreError):
            while self.waiting:
                self.take_one()

    def finish(self) -> None:
        """Wait for the status of the whole call, which is an error when not even ``start`` was good."""
        next(self._answers, None)


def receive_batches(transport: Transport, request: points_pb2.ScanRequest) -> Iterator[pa.RecordBatch]:
    """Start a scan and give its batches as they come.

    Returns once the server has taken the snapshot, so that later writes are not seen.

    Raises
    ------
    VecstoreError
        The request was refused.
    """
    answers = transport.receive(transport.points.Scan, request)
    next(answers, None)
    return _batches(answers)


def _batches(answers: Responses[points_pb2.ScanResponse]) -> Iterator[pa.RecordBatch]:
    try:
        for answer in answers:
            yield batch_from_bytes(answer.batch_arrow)
    finally:
        answers.close()
