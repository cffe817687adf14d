"""A file of version 2 is a sequence of pictures: what is asked for is decoded, checked, and nothing else is."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.format import MAX_BLOCK, open_file
from mcbits.archive.index import ID_BYTES, START, Index, Kind, read_index
from mcbits.archive.models import Model, loaded, model_of_id
from mcbits.archive.picture_blocks import Group, PictureCodec, Settings, read_block
from mcbits.archive.ready_made import ready_made, ready_made_of_id
from mcbits.errors import FormatError, ModelError, UsageError
from mcbits.latents.frozen import load_frozen
from mcbits.plugins.registry import registry


class Collection(Sequence[NDArray[Any]]):
    """The pictures of a file, in its order: arrays (h, w) or (h, w, channels), each of its own size and type.

    Indexing decodes one block. Iteration decodes each block once and holds one at a time. Files that are no pictures
    are no items, but `entries` has them. Use it in a `with` block, or call `close`.
    """

    def __init__(self, file: BinaryIO, given: Model | None = None, backend: str | None = None) -> None:
        """Read the index. `given` is where models are that the file does not hold. Raises FormatError for damage."""
        self.contents: Index = read_index(file)
        self._file, self._given, self._backend = file, given, backend
        self._codecs: dict[int, PictureCodec] = {}
        self._last: tuple[int, list[Group]] | None = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Collection of {len(self)} pictures>"

    def __len__(self) -> int:
        return int(self._pictures[-1])

    @overload
    def __getitem__(self, item: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, item: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, item: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        if isinstance(item, slice):
            return [self[i] for i in range(*item.indices(len(self)))]
        number = int(item) + (len(self) if item < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} pictures, so none is number {item}")
        entry = int(np.searchsorted(self._pictures, number, "right")) - 1
        picture: NDArray[Any] = next(self.items(entry, number - int(self._pictures[entry]), 1))[0]
        return picture

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for entry in range(len(self.contents.names)):
            if not self._is_bytes(entry):
                for part in self.items(entry):
                    yield from part

    @property
    def names(self) -> list[str]:
        """The name of each picture; of one of several in a file, with its place in it, as in "stack.tif[3]"."""
        found = []
        for entry, name in enumerate(self.contents.names):
            text, count = name.decode(errors="surrogateescape"), self.contents.form(entry).count
            if self._is_bytes(entry):
                continue
            found += [text] if count == 1 and text else [f"{text}[{i}]" for i in range(count)]
        return found

    def items(self, entry: int, first: int = 0, count: int | None = None) -> Iterator[Group]:
        """Yield `count` items of an entry from item `first` on, block by block: (n, *shape), of bytes (n,)."""
        source = entry - self.contents.sources[entry]
        number = self.contents.form(entry).count - first if count is None else count
        begin = int(self._begins[source]) + first
        while number:
            block = int(np.searchsorted(self._block_ends, begin, "right"))
            group, at = self._within(block, begin)
            part = self._block(block)[group][at : at + number]
            yield part
            begin, number = begin + len(part), number - len(part)

    def first(self, entry: int) -> int:
        """Return the number of the first picture of an entry."""
        return int(self._pictures[entry])

    def in_order(self, entries: Sequence[int]) -> list[int]:
        """Return entries in an order in which each block is decoded once."""
        sources = self.contents.sources
        return sorted(entries, key=lambda entry: int(self._begins[entry - sources[entry]]))

    def bits(self, entry: int) -> float:
        """Return what an entry takes in the file: its share, by samples, of the payloads of its blocks, in bits."""
        source = self.contents.sources[entry]
        if source:
            return 0.0
        begin, count, total = int(self._begins[entry]), self.contents.form(entry).count, 0.0
        size = max(1, self.contents.kinds[self.contents.form(entry).kind].size)
        while count:
            block = int(np.searchsorted(self._block_ends, begin, "right"))
            group, at = self._within(block, begin)
            n = min(count, self._groups[block][group][1] - at)
            samples = sum(max(1, self.contents.kinds[kind].size) * items for kind, items in self._groups[block])
            total += 8 * self.contents.blocks[block].length * n * size / samples
            begin, count = begin + n, count - n
        return total

    def verify(self, decode: bool = True) -> None:
        """Check every block, and with `decode` that each decodes to its samples. Raises FormatError."""
        hook = registry().hook
        hook.mcbits_started(job="decompress", total=len(self.contents.blocks))
        for number in range(len(self.contents.blocks)):
            self._block(number) if decode else self._payload(number)
            hook.mcbits_advanced(job="decompress", done=number + 1, metrics={})
        for number, model in enumerate(self.contents.models):
            if model.length:
                self._model_data(number)
        hook.mcbits_finished(job="decompress", metrics={})

    @property
    def needs(self) -> list[bytes]:
        """The beginnings of the SHA-256 of models that neither the file holds nor mcbits and its plugins have."""
        ready = [bytes.fromhex(each.model_id)[:ID_BYTES] for each in ready_made()]
        return [model.id for model in self.contents.models if not model.length and model.id not in ready]

    def _is_bytes(self, entry: int) -> bool:
        return self.contents.kinds[self.contents.form(entry).kind].type == "bytes"

    @cached_property
    def _pictures(self) -> NDArray[np.int64]:
        """How many pictures stand before each entry, and in all."""
        counts = [0 if self._is_bytes(e) else self.contents.form(e).count for e in range(len(self.contents.names))]
        return np.concatenate([[0], np.cumsum(np.array(counts, np.int64))])

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        """The place of the first item of each entry in the order of coding; 0 for those that repeat another's."""
        index = self.contents
        forms, own = np.array(index.entry_forms, np.int64), np.array(index.sources) == 0
        kinds = np.array([form.kind for form in index.forms])[forms]
        counts = np.array([form.count for form in index.forms], np.int64)[forms]
        order = np.argsort(np.where(own, kinds, len(index.kinds)), kind="stable")
        order = order[: int(own.sum())]
        begins = np.zeros(len(own), np.int64)
        begins[order] = np.cumsum(counts[order]) - counts[order]
        return begins

    @cached_property
    def _block_ends(self) -> NDArray[np.int64]:
        return np.cumsum(np.array([block.items for block in self.contents.blocks], np.int64))

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        """Where payloads, and then embedded models, begin in the file."""
        lengths = [*(block.length for block in self.contents.blocks), *(model.length for model in self.contents.models)]
        return len(START) + np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])

    @cached_property
    def _groups(self) -> list[list[tuple[int, int]]]:
        """Of each block the groups: number of the kind, and of items."""
        totals = [0] * len(self.contents.kinds)
        for entry, source in enumerate(self.contents.sources):
            form = self.contents.form(entry)
            totals[form.kind] += 0 if source else form.count
        return list(self.contents.dealt(totals))

    def _within(self, block: int, place: int) -> tuple[int, int]:
        """Return the group of a block in which an item is, and its place there."""
        at = place - (int(self._block_ends[block - 1]) if block else 0)
        for group, (_, n) in enumerate(self._groups[block]):
            if at < n:
                return group, at
            at -= n
        raise AssertionError("the block does not hold the item")

    def _block(self, number: int) -> list[Group]:
        if self._last is None or self._last[0] != number:
            row = self.contents.blocks[number]
            kinds: list[tuple[Kind, int]] = [(self.contents.kinds[kind], n) for kind, n in self._groups[number]]
            codec = self._codec(row.model - 1) if row.model else None
            self._last = None
            self._last = number, read_block(self._payload(number), row, kinds, codec, self.contents.levels)
        return self._last[1]

    def _payload(self, number: int) -> bytes:
        row = self.contents.blocks[number]
        if row.length > MAX_BLOCK:
            raise FormatError(f"block {number} is too long")
        data = self._read(number, row.length)
        if zlib.crc32(data) != row.crc:
            raise FormatError(f"block {number} is damaged")
        return data

    def _read(self, piece: int, length: int) -> bytes:
        self._file.seek(int(self._offsets[piece]))
        data = self._file.read(length)
        if len(data) != length:
            raise FormatError("the file is truncated")
        return data

    def _model_data(self, number: int) -> bytes:
        row = self.contents.models[number]
        data = self._read(len(self.contents.blocks) + number, row.length)
        if sha256(data).digest()[:ID_BYTES] != row.id:
            raise FormatError("an embedded model is damaged")
        return data

    def _codec(self, number: int) -> PictureCodec:
        if number not in self._codecs:
            row = self.contents.models[number]
            if row.length:
                frozen = load_frozen(self._model_data(number), self._backend or "numpy")
            elif ready := ready_made_of_id(row.id.hex()):
                frozen = loaded(ready, self._backend)
            elif self._given is None:
                raise ModelError(f"the file needs the model whose id begins with {row.id.hex()}: give it with --model")
            else:
                frozen = model_of_id(row.id.hex(), self._given, self._backend)
            try:
                self._codecs[number] = PictureCodec(frozen, Settings.of(row.settings))
            except UsageError as error:
                raise FormatError(f"the file needs something that this mcbits does not have: {error}") from None
        return self._codecs[number]


def open_pictures(
    source: str | Path | BinaryIO, model: Model | None = None, *, backend: str | None = None
) -> Collection:
    """Return the pictures of a .mcb file of version 2 as a sequence, of which only what is asked for is decoded.

    model: where models are that the file does not hold: a frozen model, a path of it, or a folder that holds it.
    Raises FormatError for damage, DataError if the file cannot be opened.
    """
    file = open_file(source) if isinstance(source, str | Path) else source
    try:
        return Collection(file, model, backend)
    except BaseException:
        file.close()
        raise
