"""A block of pictures of several sizes is one stack, or its samples as they are; its digest vouches for the samples.

Half of the digest stands in the index. The other half is what the first lane's head begins with, and so costs nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.blocks import check_memory, flat
from mcbits.archive.format import MAX_LANES, read_leb128, write_leb128
from mcbits.archive.index import DIGEST_BYTES, BlockRow, Kind
from mcbits.archive.ramp import coder_at
from mcbits.coders.base import Coder, make_coder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import DataError, FormatError, McbitsError, StackError, UsageError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement

SEED = 42

Group = NDArray[Any]
"""Items of one kind: samples (n, *shape), or symbols of the same shape; or bytes (n,)."""


@dataclass(frozen=True)
class Settings:
    """How a model of a file codes its blocks: what the index says of it beside what everybody does."""

    coder: Coder
    precisions: Precisions
    lanes: int = 1
    ramp: int = 0
    refinement: Refinement | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Settings:
        """Return the settings of an index's row. Raises FormatError for what no writer writes."""
        try:
            known = {"coder", "options", "precisions", "lanes", "ramp", "refinement"}
            lanes, ramp = given.get("lanes", 1), given.get("ramp", 0)
            if given.keys() - known or type(lanes) is not int or type(ramp) is not int:
                raise ValueError
            if not (1 <= lanes <= MAX_LANES and 0 <= ramp <= 1 << 32):
                raise ValueError
            refinement = given.get("refinement")
            return cls(
                make_coder(given.get("coder", "simple"), given.get("options", {})),
                Precisions(**given.get("precisions", {})),
                lanes,
                ramp,
                Refinement(**refinement) if refinement else None,
            )
        except (McbitsError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"the file needs what this mcbits does not have: {error or 'other settings'}") from None

    def row(self) -> dict[str, Any]:
        """Return the row of these settings: what differs from `Settings.of({})`."""
        usual = asdict(Precisions())
        row = {
            "coder": self.coder.short if self.coder.short != "simple" else None,
            "options": self.coder.get_config(),
            "precisions": {name: value for name, value in asdict(self.precisions).items() if value != usual[name]},
            "lanes": self.lanes if self.lanes != 1 else None,
            "ramp": self.ramp,
            "refinement": asdict(self.refinement) if self.refinement else None,
        }
        return {name: value for name, value in row.items() if value}


class PictureCodec:
    """A codec that turns groups of symbols into the payload of one block and back, with one model."""

    def __init__(self, frozen: FrozenModel, settings: Settings) -> None:
        """Raises UsageError if the model and the settings do not fit each other."""
        if frozen.sequences:
            raise UsageError("a model of sequences codes no pictures")
        if not frozen.latent_dim and settings.coder.short != "simple":
            raise UsageError(f"{settings.coder.short} needs latents, and the model has none")
        self._frozen, self._settings = frozen, settings
        self._precisions = settings.precisions.of(frozen.observation)

    def encode(self, number: int, groups: Sequence[Group], begin: bytes) -> tuple[bytes, float]:
        """Return the payload of block `number`, and its ideal codelength in bits. `begin`: half of the digest."""
        p, lanes = self._precisions, min(self._settings.lanes, max(map(len, groups)))
        seed = SEED ^ number << 32
        heads = Stack(lanes, p.lprec, p.bprec, seed).heads
        heads[0] = self._first_head(begin)
        stack = Stack.from_words(heads, [[]] * lanes, p.lprec, p.bprec, seed)
        ideal, step = 0, 0
        for symbols in groups:
            lanes = min(stack.lanes, len(symbols))
            for part, model in self._model(symbols.shape[1:]).steps(flat(symbols), lanes):
                active = stack.select(0, min(len(part), lanes))
                active.step(step)
                coder = coder_at(self._settings.coder, self._settings.ramp, step)
                ideal += int(coder.encode(active, part, model).sum())
                step += 1
        stack.step(None)
        return self._packed(stack), ideal * CODELENGTH_UNIT

    def decode(self, payload: bytes, kinds: Sequence[tuple[Kind, int]]) -> tuple[list[Group], int]:
        """Return the symbols (n, *shape) of each group, given its kind and n, and the head that the block began with.

        Raises FormatError if the payload does not hold symbols that were pushed.
        """
        try:
            return self._decode(payload, kinds)
        except (DataError, StackError, UsageError) as error:
            raise FormatError(f"a block does not decode: {error}") from None
        except MemoryError:
            raise FormatError("a block does not decode: its pictures do not fit in memory") from None

    def begins_with(self, head: int, begin: bytes) -> bool:
        """Return whether a block whose samples have this half of a digest began with this head."""
        return head == self._first_head(begin)

    def _first_head(self, begin: bytes) -> int:
        lprec = self._precisions.lprec
        return (1 << lprec) + int.from_bytes(begin, "little") % (1 << lprec)

    def _decode(self, payload: bytes, kinds: Sequence[tuple[Kind, int]]) -> tuple[list[Group], int]:
        stack = self._unpacked(payload, min(self._settings.lanes, max(n for _, n in kinds)))
        drawn, drawn_in_all = stack.initial_words, stack.drawn
        steps = [
            (group, min(stack.lanes, n), count, model)
            for group, (kind, n) in enumerate(kinds)
            for count, model in self._model(kind.shape).layout(n, min(stack.lanes, n), [])
        ]
        parts: list[list[Group]] = [[] for _ in kinds]
        for step, (group, lanes, count, model) in reversed(list(enumerate(steps))):
            active = stack.select(0, min(count, lanes))
            active.step(step)
            coder = coder_at(self._settings.coder, self._settings.ramp, step)
            parts[group].append(coder.decode(active, model))
            if stack.drawn != drawn_in_all:
                raise FormatError("a block ends before its pictures do")
        if any(len(stack.tail(lane)) != count for lane, count in enumerate(drawn)):
            raise FormatError("a block does not end with its first picture")
        stack.step(None)
        groups = [
            np.concatenate(each[::-1]).reshape(n, *kind.shape) for each, (kind, n) in zip(parts, kinds, strict=True)
        ]
        return groups, int(stack.heads[0])

    def _model(self, shape: tuple[int, ...]) -> LatentModel:
        frozen = self._frozen.of_shape(shape)
        model = frozen.latent_model(self._precisions, self._settings.refinement)
        check_memory(self._settings.coder, model, frozen)
        return model

    def _packed(self, stack: Stack) -> bytes:
        """Return a payload: with latents the initial words of each lane; words of all lanes but the last; the stack."""
        p = self._precisions
        head_bytes, word_bytes = (p.lprec + p.bprec + 7) // 8, (p.bprec + 7) // 8
        tails = [stack.tail(lane) for lane in range(stack.lanes)]
        out = bytearray()
        if self._frozen.latent_dim:
            out += b"".join(write_leb128(int(drawn)) for drawn in stack.initial_words)
        out += b"".join(write_leb128(len(tail)) for tail in tails[:-1])
        out += b"".join(int(head).to_bytes(head_bytes, "little") for head in stack.heads)
        for tail in tails:
            out += tail.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :word_bytes].tobytes()
        return bytes(out)

    def _unpacked(self, payload: bytes, lanes: int) -> Stack:
        p, source = self._precisions, BytesIO(payload)
        head_bytes, word_bytes = (p.lprec + p.bprec + 7) // 8, (p.bprec + 7) // 8
        if lanes * head_bytes > len(payload):
            raise FormatError("a block is too short for its lanes")
        drawn = [read_leb128(source) for _ in range(lanes)] if self._frozen.latent_dim else [0] * lanes
        sizes = [read_leb128(source) for _ in range(lanes - 1)]
        heads = [int.from_bytes(source.read(head_bytes), "little") for _ in range(lanes)]
        rest, odd = divmod(len(payload) - source.tell(), word_bytes)
        if odd or rest < sum(sizes):
            raise FormatError("a block's length does not fit its content")
        raw = np.zeros((rest, 8), np.uint8)
        raw[:, :word_bytes] = np.frombuffer(source.read(), np.uint8).reshape(-1, word_bytes)
        words = raw.view("<u8").reshape(-1).astype(np.uint64)
        tails = np.split(words, np.cumsum(sizes, dtype=np.int64)) if sizes else [words]
        try:
            return Stack.from_words(np.array(heads, np.uint64), tails, p.lprec, p.bprec, initial_words=drawn)
        except OverflowError as error:
            raise FormatError(f"a block holds no valid stack: {error}") from None


def plain(groups: Sequence[Group], kinds: Sequence[Kind]) -> bytes:
    """Return the samples of a block as bytes: what its digest is of, and what deflate makes a stored block of.

    Items follow each other in C order: bytes as they are; uint16 with the low byte first; bool with eight samples a
    byte, the first one highest, each item beginning a new byte.
    """
    out = []
    for samples, kind in zip(groups, kinds, strict=True):
        if kind.type == "bool":
            out.append(np.packbits(samples.reshape(len(samples), -1).astype(bool), axis=1).tobytes())
        else:
            out.append(np.ascontiguousarray(samples, "<u2" if kind.type == "uint16" else np.uint8).tobytes())
    return b"".join(out)


def plain_size(kind: Kind) -> int:
    """Return how many bytes `plain` makes of an item."""
    return {"bool": (kind.size + 7) // 8, "uint16": 2 * kind.size}.get(kind.type, kind.size)


def from_plain(data: bytes, kinds: Sequence[tuple[Kind, int]]) -> list[Group]:
    """Return the samples of each group: the inverse of `plain`, of bytes of the right length."""
    groups, at = [], 0
    for kind, n in kinds:
        size = plain_size(kind)
        part = np.frombuffer(data, np.uint8, n * size, at).reshape(n, size)
        at += n * size
        if kind.type == "bool":
            part = np.unpackbits(part, axis=1, count=kind.size)
        elif kind.type == "uint16":
            part = part.view("<u2").astype(np.uint16)
        groups.append(part.reshape(n, *kind.shape))
    return groups


def stored(data: bytes) -> bytes:
    """Return the payload of a stored block: half of its digest, and what raw deflate makes of its samples."""
    deflate = zlib.compressobj(9, wbits=-15)
    return digest(data)[0] + deflate.compress(data) + deflate.flush()


def from_stored(payload: bytes, kinds: Sequence[tuple[Kind, int]]) -> list[Group]:
    """Return the samples of each group of a stored block. Raises FormatError if it holds others."""
    size = sum(plain_size(kind) * n for kind, n in kinds)
    inflate = zlib.decompressobj(-15)
    try:
        data = inflate.decompress(payload[DIGEST_BYTES:], size + 1)
    except zlib.error:
        raise FormatError("a stored block is damaged") from None
    if len(data) != size or not inflate.eof or inflate.unused_data or digest(data)[0] != payload[:DIGEST_BYTES]:
        raise FormatError("a stored block does not hold what the index says")
    return from_plain(data, kinds)


def digest(data: bytes) -> tuple[bytes, bytes]:
    """Return what vouches for a block whose samples have these bytes: what it begins with, and what the index says."""
    found = sha256(data).digest()
    return found[:DIGEST_BYTES], found[DIGEST_BYTES : 2 * DIGEST_BYTES]


def read_block(
    payload: bytes,
    row: BlockRow,
    kinds: Sequence[tuple[Kind, int]],
    codec: PictureCodec | None,
    levels: Sequence[Sequence[int]],
) -> list[Group]:
    """Return the samples (n, *shape) of each group of a block, known to be the original ones.

    codec: that of the block's model; None for a stored block. levels: the tables of the file.
    Raises FormatError for damage of any kind.
    """
    if codec is None:
        groups = from_stored(payload, kinds)
    else:
        decoded, head = codec.decode(payload, kinds)
        groups = [_samples(*each, levels) for each in zip(decoded, kinds, strict=True)]
    begin, rest = digest(plain(groups, [kind for kind, _ in kinds]))
    if rest != row.digest or (codec and not codec.begins_with(head, begin)):
        raise FormatError("a block decodes to other samples than were encoded")
    return groups


def symbols(samples: Group, kind: Kind, levels: Sequence[Sequence[int]]) -> Group:
    """Return the symbols of samples: their places in the kind's table, or the samples themselves if it has none."""
    if not kind.levels:
        return samples
    table = np.array(levels[kind.levels - 1])
    return np.searchsorted(table, samples).astype(np.uint16 if len(table) > 256 else np.uint8)


def _samples(symbols: Group, kind_count: tuple[Kind, int], levels: Sequence[Sequence[int]]) -> Group:
    kind, _ = kind_count
    dtype = np.uint16 if kind.type == "uint16" else np.uint8
    table = np.array(levels[kind.levels - 1]) if kind.levels else None
    most = {"bool": 2, "uint8": 1 << 8, "uint16": 1 << 16}[kind.type]
    if table is not None and table[-1] >= most:
        raise FormatError(f"a table has values beyond {most - 1}, the most of type {kind.type}")
    if prod(symbols.shape) and int(symbols.max()) >= (most if table is None else len(table)):
        raise FormatError("a block holds a symbol beyond those of its kind")
    return (symbols if table is None else table[symbols]).astype(dtype)
