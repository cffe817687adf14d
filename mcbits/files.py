"""A file or folder that mcbits writes is on disk whole, or it is not there and what it would have replaced still is."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from mcbits.errors import DataError

_PREFIX = ".mcbits-"


@contextmanager
def whole_or_nothing(path: Path, folder: bool = False, keep: Path | None = None) -> Iterator[Path]:
    """Yield a draft path, of a file or of a `folder` to be made, that becomes `path` when the block ends well.

    The draft lies beside `path`, or beside what it links to, is synced to disk and then renamed; when the block
    raises, it is removed. The file that stood at `path` is lost, unless `keep` names where it is to go. Raises
    DataError as `check_target` does, and when the disk refuses.
    """
    target = check_target(path, folder)
    with writing(path):
        workspace = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{target.name}-", dir=target.parent))
    try:
        draft = workspace / target.name
        with writing(path, workspace):
            yield draft
        with writing(path):
            for written in [*(sorted(draft.iterdir()) if folder else ()), draft]:
                sync(written)
            if keep is not None and target.exists():
                os.replace(target, keep)
            os.replace(draft, target)
            sync(target.parent)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file as `whole_or_nothing` does; errors as there."""
    with whole_or_nothing(path, keep=keep) as draft:
        draft.write_bytes(data)


def remove_drafts(path: Path) -> None:
    """Remove what a killed process left of drafts of `path`; only for who knows that no other process writes there."""
    for workspace in path.parent.glob(f"{_PREFIX}{path.name}-*"):
        shutil.rmtree(workspace, ignore_errors=True)


def check_target(path: str | PathLike[str], folder: bool = False) -> Path:
    """Return where a file, or a `folder`, of that name is to be written: the path with every link followed.

    Raises DataError where its parent is missing, or where something stands that is neither a regular file to
    replace nor, for a folder, an empty one.
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
    """Turn what the disk refuses into a DataError about `path`, unless it is about a file outside `workspace`."""
    try:
        yield
    except OSError as error:
        if workspace and error.filename is not None and not str(error.filename).startswith(str(workspace)):
            raise
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Make what was written to a file, or renamed within a folder, lasting."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
