"""Publishing files and folders so that a crash leaves the old state or the new one.

A folder is written under a temporary name, every file and the folder itself are flushed to the disk, and
only then it gets its name. The order is what makes it safe; see ``docs/durability.md``.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vecstore.errors import StorageFull

#: Suffix of names that are not published yet; swept when a writer opens the store.
TEMPORARY = ".tmp"


def fsync_path(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write and flush a new file (its folder is flushed when that is published)."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` at once: a reader sees the old bytes or the new ones."""
    temporary = path.with_name(path.name + TEMPORARY)
    write_file(temporary, data)
    temporary.rename(path)
    fsync_path(path.parent)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends, and vanishes when it raises.

    Raises
    ------
    StorageFull
        The disk ran full while the block wrote.
    """
    unfinished = path.with_name(path.name + TEMPORARY)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        for file in sorted(unfinished.iterdir()):
            fsync_path(file)
        fsync_path(unfinished)
        unfinished = unfinished.rename(path)
        fsync_path(path.parent)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise full_disk(error, path) or error from None
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Remove a published folder; it loses its name first, so that others find all of it or nothing.

    Trouble is left for the sweep of the next writer: by now nothing refers to the folder.
    """
    doomed = path.with_name(path.name + TEMPORARY)
    with suppress(OSError):
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def full_disk(error: Exception, path: Path) -> StorageFull | None:
    """Give a :class:`StorageFull` when ``error`` came of a full disk or quota, else None.

    LMDB reports a full disk as EIO, so the free space is looked at as well, but not where the error has a cause of
    its own (no permission, say): some file systems, as /proc, have no free space at any time.
    """
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _storage_full(path)
    if isinstance(error, OSError) and code not in (None, errno.EIO):
        return None
    if free_bytes(path) < 1 << 20:
        return _storage_full(path)
    return None


def free_bytes(path: Path) -> int:
    """Give the bytes free for this user on the disk that holds ``path`` (or its nearest existing parent)."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _storage_full(path: Path) -> StorageFull:
    return StorageFull(
        f"{path}: no space left on the disk; nothing of this write was kept. Free some space and write again",
        field=str(path),
    )
