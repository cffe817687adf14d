"""A file of version 2 holds every entry it was given, each block in its cheapest form, models only where they pay."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.gathering import Entry, Family, Gathered, content, gather
from mcbits.archive.index import ID_BYTES, MAX_PICTURES, MAX_SAMPLES, START, BlockRow, Index, Kind, ModelRow, joined
from mcbits.archive.picture_blocks import Group, PictureCodec, Settings, digest, plain, stored, symbols
from mcbits.errors import DataError, FormatError
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins.registry import registry

BUFFERED = 1 << 22
"""A family of so many samples is coded as a whole before it is decided whether its model pays."""

MAX_FILE_BLOCK = 1 << 20

ModelOf = Callable[[Family, list[NDArray[Any]], float], "Chosen | None"]
"""Returns the model of a family, given symbols of pictures to learn from and its share of all samples; or None."""


@dataclass(frozen=True)
class Chosen:
    """A model, and whether the file holds it (else it must be found again by its id)."""

    model: FrozenModel
    settings: Settings = field(default_factory=lambda: Settings.of({}))
    embed: bool = True


@dataclass
class Written:
    """What became of a job: counts of entries, pictures and repeated ones, and bytes of all samples, models and file.

    stored: entries kept as they are, byte for byte. samples: of pictures, those coded twice left out. ideal: their
    codelength in bits, where a model codes them. saved: bytes that models save beside what deflate makes of the same.
    """

    entries: int
    pictures: int
    stored: int
    repeated: int
    raw_bytes: int
    samples: int
    model_bytes: int = 0
    file_bytes: int = 0
    ideal: float = 0.0
    saved: int = 0


def write_pictures(
    file: BinaryIO,
    entries: Iterable[Entry],
    model_of: ModelOf,
    metadata: bool = True,
    base: tuple[Index, BinaryIO] | None = None,
) -> Written:
    """Write a whole file of version 2. Raises DataError for what cannot be read, or changes while it is read.

    base: the index of a file, and the file, which the new one goes on from: its blocks are copied.
    """
    found = gather(entries, metadata)
    there = set(base[0].names) if base else set()
    for name in (each for each in found.index.names if each and each in there):
        raise DataError(f"the file holds {name.decode(errors='replace')} already: rename the new one")
    for name, note in found.notes:
        registry().hook.mcbits_notice(message=f"{name.decode(errors='replace')}: {note}")
    samples = sum(family.samples for family in found.families)
    written = Written(
        entries=len(found.entries),
        pictures=found.pictures,
        stored=sum(found.kind_families[form.kind] < 0 for form in map(found.index.form, range(len(found.entries)))),
        repeated=found.repeated,
        raw_bytes=found.raw,
        samples=samples,
    )
    writer = _Writer(file, found, written, metadata)
    writer.base = base
    chosen: list[Chosen | None] = []
    for family in found.families:
        table = Kind(family.type, levels=1) if family.table() else Kind(family.type)
        held = [symbols(picture, table, [family.table()]) for picture in family.held]
        family.held = []
        chosen.append(model_of(family, held, family.samples / max(1, samples)))
    registry().hook.mcbits_started(job="compress", total=found.pictures)
    writer.start()
    for number in range(-1, len(found.families)):
        writer.family(number, chosen[number] if number >= 0 else None)
    writer.end()
    registry().hook.mcbits_finished(job="compress", metrics={})
    return written


class _Writer:
    """The file that is written, and the entries that are read a second time for it."""

    def __init__(self, file: BinaryIO, found: Gathered, written: Written, metadata: bool) -> None:
        self._file, self._found, self._written, self._metadata = file, found, written, metadata
        self._models: list[FrozenModel] = []
        self._done = 0
        self.base: tuple[Index, BinaryIO] | None = None

    def start(self) -> None:
        self._put(START)
        if self.base:
            self._copy(len(START), sum(block.length for block in self.base[0].blocks))

    def _copy(self, begin: int, length: int) -> None:
        """Copy bytes of the file that this one goes on from."""
        assert self.base is not None
        self.base[1].seek(begin)
        while length:
            piece = self.base[1].read(min(length, 1 << 20))
            if not piece:
                raise FormatError("the file is truncated")
            self._put(piece)
            length -= len(piece)

    def family(self, number: int, chosen: Chosen | None) -> None:
        """Write the blocks of a family of pictures, or with number -1 of bytes."""
        index: Index = self._found.index
        if chosen is None:
            for groups, kinds in self._blocks(number):
                self._write(self._stored(plain(groups, kinds)), sum(map(len, groups)), 0)
            return
        codec, row = PictureCodec(chosen.model, chosen.settings), self._row(chosen)
        whole = self._found.families[number].samples <= BUFFERED
        held: list[tuple[_Coded, int]] = []
        paid = 0
        index.models.append(row)
        self._models.append(chosen.model)
        first = len(index.blocks) + (len(self.base[0].blocks) if self.base else 0)
        for block, (groups, kinds) in enumerate(self._blocks(number), first):
            coded = self._coded(codec, block, groups, kinds)
            paid += len(coded.stored) - len(coded.payload)
            if whole:
                held.append((coded, sum(map(len, groups))))
            else:
                self._take(coded, sum(map(len, groups)), len(index.models))
        if whole:
            pays = paid > row.length + ID_BYTES + 2
            if not pays:
                index.models.pop()
                self._models.pop()
            for coded, items in held:
                self._take(coded if pays else coded.as_stored(), items, len(index.models) if pays else 0)

    def end(self) -> None:
        """Write the models and the index."""
        index, before = self._found.index, self.base[0] if self.base else Index()
        whole = joined(before, index)
        if self.base:
            blocks = sum(block.length for block in before.blocks)
            self._copy(len(START) + blocks, sum(row.length for row in before.models))
        for row in whole.models[len(before.models) :]:
            if row.length:
                self._put(self._models[index.models.index(row)].data)
        self._written.model_bytes = sum(row.length for row in whole.models)
        self._put(whole.pack())

    def _row(self, chosen: Chosen) -> ModelRow:
        data = chosen.model.data
        return ModelRow(sha256(data).digest()[:ID_BYTES], len(data) if chosen.embed else 0, chosen.settings.row())

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._written.file_bytes += len(data)

    def _coded(self, codec: PictureCodec, number: int, groups: list[Group], kinds: list[Kind]) -> _Coded:
        levels, data = self._found.index.levels, plain(groups, kinds)
        begin, rest = digest(data)
        payload, ideal = codec.encode(
            number, [symbols(group, kind, levels) for group, kind in zip(groups, kinds, strict=True)], begin
        )
        self._advanced(sum(map(len, groups)))
        return _Coded(payload, stored(data), rest, ideal)

    def _stored(self, data: bytes) -> _Coded:
        return _Coded(b"", stored(data), digest(data)[1], 0.0).as_stored()

    def _take(self, coded: _Coded, items: int, model: int) -> None:
        """Write a block in its cheaper form."""
        if len(coded.stored) <= len(coded.payload):
            coded, model = coded.as_stored(), 0
        self._written.ideal += coded.ideal
        self._written.saved += len(coded.stored) - len(coded.payload)
        self._write(coded, items, model)

    def _write(self, coded: _Coded, items: int, model: int) -> None:
        payload = coded.payload
        row = BlockRow(len(payload), items, model, zlib.crc32(payload), coded.digest)
        self._found.index.blocks.append(row)
        self._put(payload)

    def _advanced(self, items: int) -> None:
        self._done += items
        registry().hook.mcbits_advanced(
            job="compress", done=self._done, metrics={"file": f"{self._written.file_bytes:,} bytes"}
        )

    def _blocks(self, family: int) -> Iterator[tuple[list[Group], list[Kind]]]:
        """Yield the groups of each block of a family, and their kinds."""
        groups: list[tuple[int, list[Group]]] = []
        items = samples = 0
        kinds = self._found.index.kinds
        for number, part in self._items(family):
            at = 0
            while at < len(part):
                size = max(1, kinds[number].size)
                room = min((MAX_SAMPLES - samples) // size, (MAX_FILE_BLOCK if family < 0 else MAX_PICTURES) - items)
                if room < 1 and items:
                    yield self._joined(groups)
                    groups, items, samples = [], 0, 0
                    continue
                taken = part[at : at + max(1, room)]
                at += len(taken)
                items, samples = items + len(taken), samples + len(taken) * size
                if not groups or groups[-1][0] != number:
                    groups.append((number, []))
                groups[-1][1].append(taken)
        if groups:
            yield self._joined(groups)

    def _joined(self, groups: list[tuple[int, list[Group]]]) -> tuple[list[Group], list[Kind]]:
        kinds = self._found.index.kinds
        return [np.concatenate(parts) for _, parts in groups], [kinds[number] for number, _ in groups]

    def _items(self, family: int) -> Iterator[tuple[int, Group]]:
        """Yield (number of the kind, items) of each entry of a family, in order of kinds, entries read again."""
        found, index = self._found, self._found.index
        forms = np.array([form.kind for form in index.forms])[index.entry_forms]
        own = np.array(index.sources) == 0
        of_family = np.array(found.kind_families)[forms] == family
        for entry in np.argsort(np.where(of_family & own, forms, len(index.kinds)), kind="stable"):
            if not (of_family[entry] and own[entry]):
                return
            got = found.entries[entry].unwrap(self._metadata)
            if content(got) != found.digests[entry]:
                name = found.entries[entry].restored_name.decode(errors="replace")
                raise DataError(f"{name} changed while it was compressed: nothing is written, so start again")
            yield int(forms[entry]), got.pixels


@dataclass(frozen=True)
class _Coded:
    """A block in both forms."""

    payload: bytes
    stored: bytes
    digest: bytes
    ideal: float

    def as_stored(self) -> _Coded:
        return _Coded(self.stored, self.stored, self.digest, 0.0)
