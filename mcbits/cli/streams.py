"""`-` and pipes are files for as long as a command runs, so that what must seek can."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcbits.errors import DataError

STANDARD = "-"


@contextmanager
def as_file(path: str | Path) -> Iterator[Path]:
    """Yield the path of a file that can be read anywhere: `path`, or a copy of standard input or of a pipe."""
    path = Path(path)
    if str(path) != STANDARD and not _is_pipe(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mcbits-") as folder:
        copy = Path(folder) / "stdin"
        try:
            with open(copy, "wb") as file:
                if str(path) == STANDARD:
                    shutil.copyfileobj(sys.stdin.buffer, file)
                else:
                    with open(path, "rb") as source:
                        shutil.copyfileobj(source, file)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from None
        yield copy


@contextmanager
def to_output(path: str | Path) -> Iterator[Path]:
    """Yield the path where a file is to be written: `path`, or for `-` a draft that then goes to standard output."""
    if str(path) != STANDARD:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="mcbits-") as folder:
        draft = Path(folder) / "stdout"
        yield draft
        with open(draft, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)
