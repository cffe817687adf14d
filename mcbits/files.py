"""A file or folder that mcbits writes appears on disk whole, or not at all; then the old file stays."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from mcbits.errors import DataError

_PREFIX = ".mcbits-"

CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP}
"""What a file system answers that knows no sync or no locks, as some across a network: no failure of a disk."""


@contextmanager
def whole_or_nothing(path: Path, folder: bool = False, keep: Path | None = None) -> Iterator[Path]:
    """Yield a draft path. When the `with` block ends without an error, the draft becomes `path`.

    The block must make a file there, or with `folder` a folder. The draft lies beside `path`, or beside the target if
    `path` is a link. It is synced to disk and then renamed. If the block raises, the draft is removed. An old file at
    `path` is replaced, or moved to `keep` if that is given.
    Raises DataError as `check_target` does, and if the file cannot be written.
    """
    target = check_target(path, folder)
    with writing(path):
        workspace = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{target.name}-", dir=target.parent))
    try:
        draft = workspace / target.name
        with writing(path, workspace):
            yield draft
        with writing(path):
            if folder:
                os.sync()  # all at once: what follows then waits for nothing, and only finds what could not be written
            for place, _, names in os.walk(os.fsencode(draft)) if folder else ():
                for written in (*(os.path.join(place, name) for name in names), place):
                    sync(written)
            if not folder:
                sync(draft)
            if keep is not None and target.exists():
                os.replace(target, keep)
            os.replace(draft, target)
        with suppress(OSError):  # the file is there, even where the folder may not be read or cannot be synced
            sync(target.parent)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file, whole or not at all. Takes `keep` and raises errors as `whole_or_nothing` does."""
    with whole_or_nothing(path, keep=keep) as draft:
        draft.write_bytes(data)


def remove_drafts(path: Path) -> None:
    """Remove drafts of `path` that a killed process left. Call it only if no other process is writing `path`."""
    for workspace in path.parent.glob(f"{_PREFIX}{path.name}-*"):
        shutil.rmtree(workspace, ignore_errors=True)


def is_path(text: str) -> bool:
    """Whether text is a path rather than a name: it has a slash, or something is there."""
    return "/" in text or os.path.exists(text)


def check_target(path: str | PathLike[str], folder: bool = False) -> Path:
    """Return the path where a file, or with `folder` a folder, will be written: `path` with every link followed.

    Raises DataError if the parent folder is missing, or if something is there that is neither a regular file to replace
    nor, for a folder, an empty folder.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise DataError(f"cannot write {path}: there is no folder {target.parent}, make it first")
    if target.is_dir():
        if not folder:
            raise DataError(f"cannot write {path}: it is a folder, name a file in it")
        if any(target.iterdir()):
            raise DataError(f"cannot write {path}: it is not empty, remove it or choose another folder")
    elif target.is_file():
        if folder:
            raise DataError(f"cannot write {path}: it is a file, remove it or choose another folder")
    elif os.path.lexists(target):
        raise DataError(f"cannot write {path}: it is neither a regular file nor a folder, choose another name")
    return target


@contextmanager
def writing(path: Path, workspace: Path | None = None) -> Iterator[None]:
    """Turn an OSError into a DataError about `path`, unless the OSError names a file outside `workspace`."""
    try:
        yield
    except OSError as error:
        if workspace and error.filename is not None and not str(error.filename).startswith(str(workspace)):
            raise
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def sync(path: Path | bytes) -> None:
    """Sync a file, or the renames within a folder, to disk, as far as the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_open(descriptor)
    finally:
        os.close(descriptor)


def sync_open(descriptor: int) -> None:
    """Sync an open file to disk, as far as the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
