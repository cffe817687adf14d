"""The index of a file of version 2 says what is where, and is believed only as far as its checksum and its bytes go.

    magic 89 "mcb", version 2                                           5 bytes
    payloads of the blocks, then embedded models, one after the other
    packed index: the index, or what raw deflate makes of it
    CRC-32 of the first five bytes and the packed index                 u32
    twice the length of the packed index, and 1 if it is deflated: LEB128, its bytes in the opposite order, so that it
    is read from the end

docs/format.md, section 16, has the index number by number.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

from mcbits.archive.format import MAGIC, PICTURES, write_leb128
from mcbits.errors import FormatError

if TYPE_CHECKING:  # reading only an index must not import numpy
    from collections.abc import Sequence


START = MAGIC + bytes([PICTURES])
MAX_INDEX = 1 << 27
MAX_ENTRIES = 1 << 22
MAX_ITEM = 1 << 30
"""Most samples of a picture."""

MAX_SAMPLES, MAX_PICTURES = 1 << 20, 1 << 11
"""Most samples of a block with more than one item, and most pictures of a block."""

ID_BYTES = 8
"""How much of a SHA-256 names a model."""

DIGEST_BYTES = 4
"""How much of the SHA-256 of a block's samples stands in the index. As much stands at the beginning of the block."""

TYPES = ("bool", "uint8", "uint16", "bytes")

_NUMBERED = re.compile(rb"((?:.*[^0-9])?)([0-9]{1,18})([^0-9]*)", re.DOTALL)


@dataclass(frozen=True)
class ModelRow:
    """A model of the file: the first bytes of its SHA-256, its length if it is embedded (else 0), how it codes."""

    id: bytes
    length: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """What items are: pictures (h, w) or, with channels, (h, w, channels) of a type; or of type "bytes" single bytes.

    levels: number of the table of values that the symbols of a model stand for, from 1; 0 if they are the samples.
    """

    type: str
    height: int = 0
    width: int = 0
    channels: int = 0
    levels: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an item; () of a byte."""
        if self.type == "bytes":
            return ()
        return (self.height, self.width, self.channels) if self.channels else (self.height, self.width)

    @property
    def size(self) -> int:
        """The samples of an item."""
        return prod(self.shape)


@dataclass(frozen=True)
class Form:
    """How an entry is made: how many items of which kind (by number), by which way and wrapper (by number; or 0)."""

    kind: int
    count: int
    way: int
    wrapper: int


@dataclass(frozen=True)
class BlockRow:
    """A block: bytes of its payload, number of items, model (from 1; 0: stored), CRC-32, half of the digest."""

    length: int
    items: int
    model: int
    crc: int
    digest: bytes


@dataclass
class Index:
    """All rows of an index. An entry i has a name, a form (by number) and a source.

    sources[i]: 0, or how many entries before it the one stands whose items it has too.
    levels: tables of values, rising. wrappers: what is kept of files beside their pixels.
    """

    models: list[ModelRow] = field(default_factory=list)
    levels: list[list[int]] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    wrappers: list[bytes] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    entry_forms: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    blocks: list[BlockRow] = field(default_factory=list)

    def pack(self) -> bytes:
        """Return the end of the file: packed index, checksum and length."""
        out = bytearray()
        out += write_leb128(len(self.models))
        for model in self.models:
            text = json.dumps(model.settings, sort_keys=True, separators=(",", ":")) if model.settings else ""
            out += model.id + write_leb128(model.length) + _sized(text.encode())
        out += write_leb128(len(self.levels))
        for table in self.levels:
            steps = [table[0], *(b - a for a, b in zip(table, table[1:], strict=False))]
            out += write_leb128(len(table)) + _all(steps)
        out += write_leb128(len(self.kinds))
        for kind in self.kinds:
            out += _all([TYPES.index(kind.type)])
            if kind.type != "bytes":
                out += _all([kind.height, kind.width, kind.channels, kind.levels])
        out += write_leb128(len(self.wrappers)) + b"".join(map(_sized, self.wrappers))
        out += write_leb128(len(self.forms))
        out += _all(value for form in self.forms for value in (form.kind, form.count, form.way, form.wrapper))
        out += write_leb128(len(self.names)) + _runs(self.entry_forms) + _runs(self.sources) + _names(self.names)
        out += write_leb128(len(self.blocks))
        for block in self.blocks:
            out += _all([block.length, block.items, block.model]) + block.crc.to_bytes(4, "little") + block.digest
        return _ending(bytes(out))

    @classmethod
    def unpack(cls, data: bytes) -> Index:
        """Return the index of these bytes, every row of it checked. Raises FormatError."""
        source = _Source(data)
        index = cls()
        for _ in range(source.count(ID_BYTES + 2)):
            id_, length, text = source.take(ID_BYTES), source.number(), source.sized()
            index.models.append(ModelRow(id_, length, _settings(text)))
        for _ in range(source.count(2)):
            index.levels.append(_table(source))
        for _ in range(source.count(1)):
            index.kinds.append(_kind(source, len(index.levels)))
        for _ in range(source.count(1)):
            index.wrappers.append(source.sized())
        for _ in range(source.count(4)):
            form = Form(*(source.number() for _ in range(4)))
            if form.kind >= len(index.kinds) or form.wrapper > len(index.wrappers) or form.count >= 1 << 48:
                raise FormatError(_DAMAGED)
            if (form.way == 0) != (index.kinds[form.kind].type == "bytes"):
                raise FormatError(_DAMAGED)
            index.forms.append(form)
        entries = source.count(1)
        if entries > MAX_ENTRIES:
            raise FormatError(f"the file claims {entries} entries, and may have {MAX_ENTRIES}")
        index.entry_forms = _read_runs(source, entries, len(index.forms))
        index.sources = _read_runs(source, entries, MAX_ENTRIES)
        index.names = _read_names(source, entries)
        for _ in range(source.count(3 + 4 + DIGEST_BYTES)):
            length, items, model = source.number(), source.number(), source.number()
            crc = int.from_bytes(source.take(4), "little")
            index.blocks.append(BlockRow(length, items, model, crc, source.take(DIGEST_BYTES)))
        source.end()
        index._check()
        return index

    def form(self, entry: int) -> Form:
        """Return the form of an entry."""
        return self.forms[self.entry_forms[entry]]

    def _check(self) -> None:
        """Raise FormatError unless entries and blocks fit each other."""
        totals = [0] * len(self.kinds)
        for entry, (number, source) in enumerate(zip(self.entry_forms, self.sources, strict=True)):
            form = self.forms[number]
            if source:
                other = entry - source
                if other < 0 or self.sources[other]:
                    raise FormatError(_DAMAGED)
                same = self.forms[self.entry_forms[other]]
                if (same.kind, same.count) != (form.kind, form.count):
                    raise FormatError(_DAMAGED)
            else:
                totals[form.kind] += form.count
        if sum(totals) != sum(block.items for block in self.blocks):
            raise FormatError(_DAMAGED)
        for block, groups in zip(self.blocks, self.dealt(totals), strict=True):
            kinds = [self.kinds[kind] for kind, _ in groups]
            samples = sum(kind.size * n for kind, (_, n) in zip(kinds, groups, strict=True))
            raw = [kind.type == "bytes" for kind in kinds]
            if (
                not 1 <= block.items <= (MAX_SAMPLES if raw[0] else MAX_PICTURES)
                or (block.items > 1 and samples > MAX_SAMPLES)
                or samples > MAX_ITEM
                or block.model > len(self.models)
                or (any(raw) and (block.model or not all(raw)))
            ):
                raise FormatError(_DAMAGED)

    def dealt(self, totals: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
        """Yield for each block its groups: (kind, number of items), of `totals` items of each kind."""
        kind, left = 0, list(totals)
        for block in self.blocks:
            groups, items = [], block.items
            while items and kind < len(left):
                if n := min(items, left[kind]):
                    groups.append((kind, n))
                    left[kind] -= n
                    items -= n
                if not left[kind]:
                    kind += 1
            if items or not groups:
                raise FormatError(_DAMAGED)
            yield groups


def joined(first: Index, second: Index) -> Index:
    """Return the index of a file that goes on: the entries of `first`, then those of `second`, models only once."""
    whole, places = Index(models=list(first.models)), []
    known = [(model.id, model.settings) for model in first.models]
    for model in second.models:
        if (model.id, model.settings) not in known:
            known.append((model.id, model.settings))
            whole.models.append(model)
        places.append(known.index((model.id, model.settings)) + 1)
    tables, kinds, wrappers, forms = (len(each) for each in (first.levels, first.kinds, first.wrappers, first.forms))
    whole.levels, whole.wrappers = first.levels + second.levels, first.wrappers + second.wrappers
    whole.kinds = first.kinds + [replace(k, levels=k.levels + tables if k.levels else 0) for k in second.kinds]
    whole.forms = first.forms + [
        replace(form, kind=form.kind + kinds, wrapper=form.wrapper + wrappers if form.wrapper else 0)
        for form in second.forms
    ]
    whole.names, whole.sources = first.names + second.names, first.sources + second.sources
    whole.entry_forms = first.entry_forms + [number + forms for number in second.entry_forms]
    whole.blocks = first.blocks + [
        replace(block, model=places[block.model - 1] if block.model else 0) for block in second.blocks
    ]
    return whole


def read_index(file: BinaryIO) -> Index:
    """Return the index of a file of version 2, read from its end. Raises FormatError if it is damaged."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(START)) != START:
        raise FormatError("this is no .mcb file of version 2")
    file.seek(max(0, size - 9))
    tail = file.read()[::-1]
    digits = next((k for k, byte in enumerate(tail) if byte < 128), len(tail))
    length, deflated = divmod(sum((byte & 127) << 7 * k for k, byte in enumerate(tail[: digits + 1])), 2)
    begin = size - digits - 1 - 4 - length
    if digits == len(tail) or begin < len(START):
        raise FormatError(_TRUNCATED)
    file.seek(begin)
    packed, crc = file.read(length), int.from_bytes(file.read(4), "little")
    if crc != zlib.crc32(packed, zlib.crc32(START)):
        raise FormatError(_TRUNCATED)
    index = Index.unpack(_inflated(packed) if deflated else packed)
    body = sum(block.length for block in index.blocks) + sum(model.length for model in index.models)
    if len(START) + body != begin:
        raise FormatError(_TRUNCATED)
    return index


_DAMAGED = "the index is not one that mcbits writes"
_TRUNCATED = "the file is truncated, or its end damaged"


def _ending(content: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(content) + deflate.flush()
    deflated = len(packed) < len(content)
    packed = packed if deflated else content
    crc = zlib.crc32(packed, zlib.crc32(START))
    return packed + crc.to_bytes(4, "little") + write_leb128(2 * len(packed) + deflated)[::-1]


def _inflated(packed: bytes) -> bytes:
    inflate = zlib.decompressobj(-15)
    try:
        content = inflate.decompress(packed, MAX_INDEX)
    except zlib.error:
        raise FormatError(_DAMAGED) from None
    if not inflate.eof or inflate.unused_data:
        raise FormatError(_DAMAGED)
    return content


class _Source:
    """The bytes of an index, read from the first to the last."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise FormatError(_DAMAGED)
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        value = shift = 0
        while shift < 63:
            if self.at >= len(self.data):
                raise FormatError(_DAMAGED)
            digit = self.data[self.at]
            self.at += 1
            value |= (digit & 127) << shift
            if digit < 128:
                return value
            shift += 7
        raise FormatError(_DAMAGED)

    def count(self, least: int) -> int:
        """Read the number of rows of a list, each of which has at least `least` bytes."""
        number = self.number()
        if number * least > len(self.data) - self.at:
            raise FormatError(_DAMAGED)
        return number

    def sized(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self.at != len(self.data):
            raise FormatError(_DAMAGED)


def _settings(text: bytes) -> dict[str, Any]:
    try:
        settings = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise FormatError(_DAMAGED) from None
    if not isinstance(settings, dict):
        raise FormatError(_DAMAGED)
    return settings


def _table(source: _Source) -> list[int]:
    size, table = source.count(1), [0]
    for _ in range(size):
        table.append(table[-1] + source.number())
    table = table[1:]
    if not 2 <= size <= 1 << 16 or table[-1] >= 1 << 16 or len(set(table)) != size:
        raise FormatError(_DAMAGED)
    return table


def _kind(source: _Source, tables: int) -> Kind:
    code = source.number()
    if code >= len(TYPES):
        raise FormatError(_DAMAGED)
    if TYPES[code] == "bytes":
        return Kind("bytes")
    kind = Kind(TYPES[code], *(source.number() for _ in range(4)))
    if not (kind.height and kind.width) or kind.size > MAX_ITEM or kind.channels > 1 << 16 or kind.levels > tables:
        raise FormatError(_DAMAGED)
    return kind


def _runs(column: list[int]) -> bytes:
    """Return a column as the number of its runs, and length and value of each; 0 runs of a column of zeros."""
    runs = [(sum(1 for _ in run), value) for value, run in groupby(column)]
    runs = [] if not any(column) else runs
    return write_leb128(len(runs)) + _all(number for run in runs for number in run)


def _read_runs(source: _Source, size: int, below: int) -> list[int]:
    number, column = source.count(2), list[int]()
    for _ in range(number):
        run, value = source.number(), source.number()
        if value >= below or run > size - len(column):
            raise FormatError(_DAMAGED)
        column += [value] * run
    if number and len(column) != size:
        raise FormatError(_DAMAGED)
    return column or [0] * size


def _names(names: list[bytes]) -> bytes:
    """Return names, each by the one before: 0 if its last number is one more, else 1 + how many bytes are the same."""
    out, before = bytearray(), b""
    for name in names:
        if name == _next_name(before):
            out.append(0)
        else:
            same = len(os.path.commonprefix([before, name]))
            out += write_leb128(1 + same) + _sized(name[same:])
        before = name
    return bytes(out)


def _next_name(name: bytes) -> bytes | None:
    """Return the name with its last number (of at most 18 digits) one higher, or None if it has none."""
    if not (found := _NUMBERED.fullmatch(name)):
        return None
    before, digits, after = found.groups()
    return before + str(int(digits) + 1).encode().zfill(len(digits)) + after


def _read_names(source: _Source, size: int) -> list[bytes]:
    names: list[bytes] = []
    data, before = source.data, b""
    parts: tuple[bytes, int, int, bytes] | None = None
    for _ in range(size):
        if source.at < len(data) and data[source.at] == 0:
            source.at += 1
            if parts is None:
                if not (found := _NUMBERED.fullmatch(before)):
                    raise FormatError(_DAMAGED)
                head, digits, rest = found.groups()
                parts = head, int(digits), len(digits), rest
            head, number, width, rest = parts
            parts = head, number + 1, width, rest
            before = b"%b%0*d%b" % (head, width, number + 1, rest)
        else:
            same = source.number() - 1
            if not 0 <= same <= len(before):
                raise FormatError(_DAMAGED)
            before, parts = before[:same] + source.sized(), None
            if len(before) >= 1 << 16:
                raise FormatError(_DAMAGED)
        names.append(before)
    return names


def _sized(data: bytes) -> bytes:
    return write_leb128(len(data)) + data


def _all(values: Iterable[int]) -> bytes:
    return b"".join(map(write_leb128, values))
