"""Every file is looked at once before the first is coded: what it is, what it repeats, what a model needs to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.index import MAX_ITEM, Form, Index, Kind
from mcbits.errors import DataError
from mcbits.images.wrappers import FILE, Unwrapped

SAMPLES = 1 << 24
"""Most samples of pictures that are held for a model to learn from."""

SPARSE = 1 / 2
"""Symbols stand for the values that occur where these are at most this share of those between the extremes."""

TABLE_SAMPLES = 64
"""Least samples for each value of a table, which takes about a byte of the file."""


class Entry(Protocol):
    """A file, or an array, that can be read again and again."""

    @property
    def restored_name(self) -> bytes:
        """The name under which it comes back, or b"" if it has none."""

    def unwrap(self, metadata: bool = True) -> Unwrapped:
        """Return its pixels and what is kept beside them."""


@dataclass
class Family:
    """Pictures that one model codes: of one type of samples and one number of channels.

    palette: whether samples are indices. used: the values that occur, one flag each. samples: of all pictures, those
    coded twice left out. held: pictures to learn from, (h, w) or (h, w, channels), samples.
    """

    type: str
    channels: int
    palette: bool = False
    pair: tuple[int, ...] = ()
    used: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1 << 16, bool), repr=False)
    samples: int = 0
    held: list[NDArray[Any]] = field(default_factory=list, repr=False)
    _seen: int = 0
    _held_samples: int = 0

    def table(self) -> list[int]:
        """Return the values that symbols stand for; empty if symbols are the samples."""
        if self.type == "bool" or self.pair == (0, 1):
            return []
        if self.pair:
            return list(self.pair)
        values = np.flatnonzero(self.used)
        spread = int(values[-1] - values[0]) + 1
        pays = 2 <= len(values) <= SPARSE * spread and self.samples > TABLE_SAMPLES * len(values)
        return values.tolist() if pays else []

    @property
    def num_symbols(self) -> int:
        """K: symbols are 0 ... K - 1."""
        if self.type == "bool" or self.pair:
            return 2
        return len(self.table()) or int(np.flatnonzero(self.used)[-1]) + 1

    def add(self, pixels: NDArray[Any], rng: np.random.Generator) -> None:
        """Take note of pictures (n, h, w) or (n, h, w, channels) that no other entry has."""
        self.samples += pixels.size
        if not self.pair:
            self.used[np.unique(pixels)] = True
        for picture in pixels:
            self._seen += 1
            # Each picture has about the same chance to be held, however many there are.
            room = max(1, SAMPLES // picture.size)
            if self._held_samples + picture.size <= SAMPLES or not self.held:
                self.held.append(picture.copy())
                self._held_samples += picture.size
            elif rng.random() * self._seen < room:
                place = int(rng.integers(len(self.held)))
                if self._held_samples - self.held[place].size + picture.size <= SAMPLES:
                    self._held_samples += picture.size - self.held[place].size
                    self.held[place] = picture.copy()


@dataclass
class Gathered:
    """All entries of a job, their rows in the index so far, and the families of their pictures.

    kind_families: of each kind, the number of its family, or -1 for bytes. digests: of each entry, SHA-256 of what it
    held when it was looked at. raw: bytes of samples in all. notes: (name, what to say of it).
    """

    entries: list[Entry]
    index: Index
    families: list[Family]
    kind_families: list[int]
    digests: list[bytes]
    raw: int = 0
    pictures: int = 0
    repeated: int = 0
    notes: list[tuple[bytes, str]] = field(default_factory=list)


def gather(entries: Iterable[Entry], metadata: bool = True) -> Gathered:
    """Look at all entries. Raises DataError for what cannot be read, and if there are none."""
    found = Gathered(list(entries), Index(), [], [], [])
    if not found.entries:
        raise DataError("there is nothing to compress")
    families: dict[tuple[Any, ...], int] = {}
    kinds: dict[tuple[Any, ...], int] = {}
    forms: dict[Form, int] = {}
    wrappers: dict[bytes, int] = {}
    first: dict[bytes, int] = {}
    rng, taken = np.random.default_rng(0), {entry.restored_name for entry in found.entries}
    for number, entry in enumerate(found.entries):
        got = entry.unwrap(metadata)
        if got.note:
            found.notes.append((entry.restored_name, got.note))
        kind, family = _kind_of(got)
        if family is not None and family not in families:
            families[family] = len(found.families)
            type_, channels, palette, pair = family
            found.families.append(Family(type_, channels, palette, pair))
        if kind not in kinds:
            kinds[kind] = len(kinds)
            found.index.kinds.append(Kind(*kind[:4]))
            found.kind_families.append(families[family] if family is not None else -1)
        wrapper = wrappers.setdefault(got.wrapper, len(wrappers) + 1) if got.wrapper else 0
        form = Form(kinds[kind], len(got.pixels), got.way, wrapper)
        found.index.entry_forms.append(forms.setdefault(form, len(forms)))
        found.index.names.append(_renamed(entry.restored_name, got.renamed, taken))
        key = content(got)
        found.digests.append(key)
        same = first.setdefault(key + repr((kind, len(got.pixels))).encode(), number)
        found.index.sources.append(number - same if len(got.pixels) else 0)
        if same != number and len(got.pixels):
            found.repeated += 1
        elif family is not None:
            found.families[families[family]].add(got.pixels, rng)
        found.pictures += 0 if family is None else len(got.pixels)
        found.raw += got.pixels.nbytes
    found.index.wrappers = list(wrappers)
    found.index.forms = list(forms)
    _ordered(found)
    return found


def _renamed(name: bytes, ending: str, taken: set[bytes]) -> bytes:
    """Return the name under which a file comes back that is then of another format: one that no other has."""
    if not ending:
        return name
    stem = name.rpartition(b".")[0] or name
    new = next(each for each in (stem + ending.encode(), name + ending.encode()) if each not in taken)
    taken.add(new)
    return new


def content(got: Unwrapped) -> bytes:
    """Return the SHA-256 of what was read of an entry."""
    return sha256(np.ascontiguousarray(got.pixels).data).digest() if got.pixels.size else bytes(32)


def _kind_of(got: Unwrapped) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """Return what makes a kind, ending in what makes its family; the family is None for bytes."""
    pixels = got.pixels
    if got.way == FILE:
        return ("bytes", 0, 0, 0), None
    shape = pixels.shape[1:]
    if not 2 <= len(shape) <= 3 or prod(shape) > MAX_ITEM:
        raise DataError(f"expected pictures (h, w) or (h, w, channels) of at most 2^30 samples, got shape {shape}")
    channels = shape[2] if len(shape) == 3 else 0
    type_ = "uint16" if pixels.dtype == np.uint16 else "uint8"
    pair: tuple[int, ...] = ()
    if channels < 2 and not got.palette:
        if pixels.dtype != np.uint16 and int(pixels.max(initial=0)) < 2:
            type_ = "bool"
        else:
            pair = _pair(pixels)
    family = (type_, channels, got.palette, pair)
    return (type_, shape[0], shape[1], channels, family), family


def _pair(pixels: NDArray[Any]) -> tuple[int, ...]:
    """Return the two values that pictures have, if they are no more: so do scans of text that are stored as grey."""
    low, high = int(pixels.min()), int(pixels.max())
    if low == high or pixels.flat[:4096].max() not in (low, high):
        return ()
    return (low, high) if bool(((pixels == low) | (pixels == high)).all()) else ()


def _ordered(found: Gathered) -> None:
    """Number the kinds so that those of a family follow each other, and give them their tables."""
    index = found.index
    order = sorted(range(len(index.kinds)), key=lambda k: (found.kind_families[k], k))
    place = {old: new for new, old in enumerate(order)}
    tables: dict[int, int] = {}
    for number, family in enumerate(found.families):
        if table := family.table():
            index.levels.append(table)
            tables[number] = len(index.levels)
    kinds = [index.kinds[old] for old in order]
    families = [found.kind_families[old] for old in order]
    index.kinds = [
        Kind(kind.type, kind.height, kind.width, kind.channels, tables.get(family, 0))
        for kind, family in zip(kinds, families, strict=True)
    ]
    found.kind_families = families
    index.forms = [Form(place[form.kind], form.count, form.way, form.wrapper) for form in index.forms]
