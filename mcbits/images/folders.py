"""Every file below a folder is listed once, in natural order, or refused by name; a restored folder appears whole."""

from __future__ import annotations

import io
import mmap
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError, FormatError
from mcbits.files import whole_or_nothing
from mcbits.images.png import write_png
from mcbits.images.wrappers import FILE, Unwrapped, rewrap, unwrap

_LARGE = 1 << 20
"""Files of so many bytes are mapped into memory, not read."""


class Entry:
    """A file that is to be compressed. `restored_name`: the path under which it comes back, parts joined by slashes."""

    __slots__ = ("_read", "_source", "restored_name")

    def __init__(self, name: bytes, source: Any, read: Callable[[Any], NDArray[np.uint8]]) -> None:
        self.restored_name, self._source, self._read = name, source, read

    def below(self, folder: bytes) -> Entry:
        """Return the same file, which comes back below a folder, whose name ends in a slash."""
        return Entry(folder + self.restored_name, self._source, self._read)

    def unwrap(self, metadata: bool = True) -> Unwrapped:
        """Read the file. Raises DataError, which names it, if it cannot be read."""
        try:
            return unwrap(self._read(self._source), metadata)
        except OSError as error:
            shown = os.fsdecode(self.restored_name)
            raise DataError(f"cannot read {shown}: {error.strerror or error}") from None


@contextmanager
def entries(path: Path, follow: bool = False) -> Iterator[list[Entry]]:
    """Yield the files of a folder and of those in it, of a zip or tar archive, or the one file that `path` is.

    An empty folder is an entry whose name ends in a slash. follow: take what symbolic links lead to.
    Raises DataError for what cannot be kept: links unless `follow`, devices, members with unsafe names.
    """
    with ExitStack() as scope:
        try:
            found = _entries(path, follow, scope)
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        if not found:
            raise DataError(f"{path} holds no files: give a folder with pictures")
        yield sorted(found, key=lambda entry: _natural(entry.restored_name))


def _entries(path: Path, follow: bool, scope: ExitStack) -> list[Entry]:
    if path.is_dir():
        return list(_below(os.fsencode(path), b"", follow, frozenset()))
    if zipfile.is_zipfile(path) and not is_npz(path):
        return _zip_entries(path, scope)
    if tarfile.is_tarfile(path):
        return _tar_entries(path, scope)
    return [Entry(os.fsencode(path.name), os.fsencode(path), _read_file)]


def checked_name(name: bytes) -> bytes:
    """Return a name that leads to no place outside the folder it is restored to. Raises FormatError for any other."""
    parts = name.removesuffix(b"/").split(b"/")
    if any(part in (b"", b".", b"..") for part in parts) or b"\0" in name:
        raise FormatError(f"a name would lead out of the folder, or nowhere: {os.fsdecode(name)!r}")
    return name


class FolderWriter:
    """A folder that is being restored. Get it from `restoring`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._taken = os.fsencode(folder), set[bytes]()
        folder.mkdir(exist_ok=True)

    def add(self, name: bytes, way: int, wrapper: bytes, parts: Iterable[NDArray[Any]]) -> None:
        """Restore an entry, whose items come in parts. Raises FormatError for a bad name, DataError if it is taken."""
        if name.endswith(b"/"):
            os.makedirs(os.path.join(self._folder, checked_name(name)), exist_ok=True)
            return
        with self._new(name) as file:
            write_entry(file, way, wrapper, parts)

    def add_picture(self, name: bytes, picture: NDArray[Any], depth: int) -> None:
        """Write a picture that was no file as a PNG of `depth` bits; errors as `add`, FormatError if it cannot be."""
        colour = {0: 0, 1: 0, 2: 4, 3: 2, 4: 6}.get(picture.shape[2] if picture.ndim == 3 else 0, 0)
        with self._new(name) as file:
            write_png(file, picture, depth, colour, [(b"IDAT", b"")])

    def _new(self, name: bytes) -> BinaryIO:
        target = os.path.join(self._folder, checked_name(name))
        if name in self._taken or os.path.lexists(target):
            raise DataError(f"{os.fsdecode(name)} occurs twice, or differs in case only from another name")
        self._taken.add(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return open(target, "xb")


def write_entry(file: BinaryIO, way: int, wrapper: bytes, parts: Iterable[NDArray[Any]]) -> None:
    """Write the file of an entry, whose items come in parts."""
    if way == FILE:
        if wrapper:
            raise FormatError("a file that is kept as it is has no wrapper")
        for part in parts:
            file.write(np.ascontiguousarray(part, np.uint8).data)
    else:
        rewrap(file, np.concatenate(list(parts)), way, wrapper)


@contextmanager
def restoring(path: Path) -> Iterator[FolderWriter]:
    """Yield a writer of a folder that appears at `path` whole or not at all; errors as for `check_target`."""
    with whole_or_nothing(path, folder=True) as draft:
        yield FolderWriter(draft)


def _read_file(path: bytes) -> NDArray[np.uint8]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size >= _LARGE:
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
        return np.frombuffer(file.read(), np.uint8)


def _nothing(_: Any) -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


def _below(folder: bytes, prefix: bytes, follow: bool, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    """Yield the entries of a folder. `above`: the folders that hold it, so that links in a circle are found."""
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        raise DataError(f"{os.fsdecode(folder)} is a link to a folder that holds it: remove the link")
    above |= {(here.st_dev, here.st_ino)}
    empty = True
    with os.scandir(folder) as found:
        for each in found:
            empty = False
            if each.is_symlink() and not follow:
                raise DataError(f"{os.fsdecode(each.path)} is a symbolic link: --follow takes what it leads to")
            mode = each.stat().st_mode
            if stat.S_ISDIR(mode):
                yield from _below(each.path, prefix + each.name + b"/", follow, above)
            elif stat.S_ISREG(mode):
                yield Entry(prefix + each.name, each.path, _read_file)
            else:
                raise DataError(f"{os.fsdecode(each.path)} is neither a file nor a folder: move it out")
    if empty and prefix:
        yield Entry(prefix, None, _nothing)


def is_npz(path: Path) -> bool:
    """Return whether a zip holds arrays of numpy, as .npz does."""
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _zip_entries(path: Path, scope: ExitStack) -> list[Entry]:
    archive = scope.enter_context(zipfile.ZipFile(path))
    found = []
    for member in archive.infolist():
        if member.flag_bits & 1:
            raise DataError(f"{path} is encrypted: unpack it, and give the folder")
        name = _member_name(member.filename, path)
        read = _nothing if member.is_dir() else lambda item: np.frombuffer(archive.read(item), np.uint8)
        found.append(Entry(name, member, read))
    return _once(found, path)


def _tar_entries(path: Path, scope: ExitStack) -> list[Entry]:
    archive = scope.enter_context(tarfile.open(path))  # noqa: SIM115
    if archive.fileobj is not None and not isinstance(archive.fileobj, io.FileIO | io.BufferedReader):
        # It is compressed: unpacked once, so that members can be read in any order.
        spooled = scope.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        archive.fileobj.seek(0)
        while piece := archive.fileobj.read(_LARGE):
            spooled.write(piece)
        spooled.seek(0)
        archive = scope.enter_context(tarfile.TarFile(fileobj=spooled))
    found = []

    def read(member: tarfile.TarInfo) -> NDArray[np.uint8]:
        file = archive.extractfile(member)
        assert file is not None
        return np.frombuffer(file.read(), np.uint8)

    for member in archive.getmembers():
        name = _member_name(member.name, path)
        if member.isdir():
            found.append(Entry(name + b"/", None, _nothing))
        elif member.isreg():
            found.append(Entry(name, member, read))
        else:
            raise DataError(f"{path}: {member.name} is neither a file nor a folder: unpack it, and give the folder")
    return _once(found, path)


def _member_name(name: str, path: Path) -> bytes:
    try:
        return checked_name(os.fsencode(name.removeprefix("./")))
    except FormatError as error:
        raise DataError(f"{path}: {error}") from None


def _once(found: list[Entry], path: Path) -> list[Entry]:
    """Return the entries without folders that are not empty. Raises DataError if two have one name."""
    names = [entry.restored_name for entry in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} holds {os.fsdecode(twice)} twice: unpack it, and give the folder")
    used = {name[: at + 1] for name in names for at in range(len(name) - 1) if name[at : at + 1] == b"/"}
    return [entry for entry in found if entry.restored_name not in used]


def _natural(name: bytes) -> list[tuple[list[tuple[int, bytes]], bytes]]:
    """Return a key in whose order "scan 9" comes before "scan 10", folder by folder."""
    key = []
    for part in name.split(b"/"):
        pieces = re.split(rb"([0-9]+)", part)
        key.append(([(int(piece), b"") if piece.isdigit() else (-1, piece) for piece in pieces], part))
    return key
