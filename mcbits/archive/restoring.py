"""What is asked for of a file of version 2 comes back whole, as files or as one array; or nothing is written."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.collection import Collection
from mcbits.archive.picture_blocks import plain_size
from mcbits.errors import DataError, SizeError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.folders import restoring, write_entry
from mcbits.images.formats import write_images
from mcbits.images.wrappers import ARRAY, FILE
from mcbits.plugins.registry import registry


def chosen(pictures: Collection, patterns: Sequence[str]) -> list[int]:
    """Return the entries whose names match one of the patterns (as a shell's), all without a pattern.

    Raises UsageError for a pattern that matches nothing.
    """
    names = [os.fsdecode(name) for name in pictures.contents.names]
    if not patterns:
        return list(range(len(names)))
    taken: set[int] = set()
    for pattern in patterns:
        found = [i for i, name in enumerate(names) if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise UsageError(f"the file holds nothing named {pattern}: see mcbits list")
        taken.update(found)
    return sorted(taken)


def check_size(pictures: Collection, entries: Sequence[int], max_size: int | None) -> None:
    """Raise SizeError if entries restore to more bytes than `max_size`."""
    contents = pictures.contents
    size = sum(plain_size(contents.kinds[form.kind]) * form.count for form in map(contents.form, entries))
    if max_size is not None and size > max_size:
        raise SizeError(f"the file holds {size:,} bytes, and {max_size:,} are allowed: raise max_size")


def as_array(pictures: Collection, max_size: int | None = None) -> NDArray[Any]:
    """Return all pictures as one array (n, h, w) or (n, h, w, channels), of the type that they were given in.

    Raises DataError if they differ in size or type, or if some entries are no pictures; SizeError as `check_size`.
    """
    contents = pictures.contents
    entries = range(len(contents.names))
    check_size(pictures, entries, max_size)
    forms = {contents.form(entry) for entry in entries}
    shapes = {(contents.kinds[form.kind].shape, _type(pictures, form.kind, form.way, form.wrapper)) for form in forms}
    if len(shapes) != 1 or any(form.way == FILE for form in forms):
        raise DataError("the file holds pictures of several sizes or types, or other files: restore it to a folder")
    ((_, dtype),) = shapes
    return np.concatenate([part for entry in entries for part in pictures.items(entry)]).astype(dtype, copy=False)


def _type(pictures: Collection, kind: int, way: int, wrapper: int) -> str:
    contents = pictures.contents
    if way == ARRAY and wrapper and (name := contents.wrappers[wrapper - 1]) in (b"bool", b"uint8", b"uint16"):
        return name.decode()
    return "uint16" if contents.kinds[kind].type == "uint16" else "uint8"


def restore_array(pictures: Collection, destination: str | Path, max_size: int | None) -> tuple[int, ...]:
    """Write all pictures as one array, as `write_images` does, and return its shape."""
    images = as_array(pictures, max_size)
    write_images(destination, images)
    return images.shape


def restore_folder(pictures: Collection, entries: Sequence[int], destination: Path) -> None:
    """Write entries as files below a folder, which must not exist or be empty. Raises DataError if it cannot be."""
    names, contents = pictures.contents.names, pictures.contents
    with restoring(destination) as folder, _counted(len(entries)) as advance:
        for entry in pictures.in_order(entries):
            form, wrapper = contents.form(entry), _wrapper(pictures, entry)
            if form.way != ARRAY:
                folder.add(names[entry], form.way, wrapper, pictures.items(entry))
            else:
                depth = {"bool": 1, "uint8": 8, "uint16": 16}[contents.kinds[form.kind].type]
                digits, first = len(str(max(1, len(pictures) - 1))), pictures.first(entry)
                for number, picture in enumerate(_pictures(pictures, entry), first):
                    folder.add_picture(f"{number:0{digits}d}.png".encode(), picture, depth)
            advance()


def restore_file(pictures: Collection, entry: int, destination: Path | BinaryIO) -> None:
    """Write the one file that an entry is. Raises UsageError for images that were no file."""
    form = pictures.contents.form(entry)
    if form.way == ARRAY:
        raise UsageError("these images were no file: restore them as .npy, .npz or .idx, or to a folder")
    with _counted(1) as advance:
        if isinstance(destination, Path):
            with whole_or_nothing(destination) as draft, open(draft, "wb") as file:
                write_entry(file, form.way, _wrapper(pictures, entry), pictures.items(entry))
        else:
            write_entry(destination, form.way, _wrapper(pictures, entry), pictures.items(entry))
        advance()


def is_array(pictures: Collection) -> bool:
    """Return whether all that the file holds is one array that was no file."""
    contents = pictures.contents
    return len(contents.names) == 1 and contents.form(0).way == ARRAY


def _wrapper(pictures: Collection, entry: int) -> bytes:
    wrapper = pictures.contents.form(entry).wrapper
    return pictures.contents.wrappers[wrapper - 1] if wrapper else b""


def _pictures(pictures: Collection, entry: int) -> Iterator[NDArray[Any]]:
    for part in pictures.items(entry):
        yield from part


@contextmanager
def _counted(total: int) -> Iterator[Any]:
    """Tell listeners of a job of decompressing `total` entries, each of which calls what is yielded."""
    hook, done = registry().hook, 0

    def advance() -> None:
        nonlocal done
        done += 1
        hook.mcbits_advanced(job="decompress", done=done, metrics={})

    hook.mcbits_started(job="decompress", total=total)
    yield advance
    hook.mcbits_finished(job="decompress", metrics={})
