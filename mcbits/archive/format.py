"""Every byte of a .mcb file is covered by a checksum, and a size in it costs memory only as far as its bytes exist.

    magic 89 "mcb", version 1                                           5 bytes
    length of the packed header                                         u16
    header: canonical JSON, raw deflate with the dictionary below
    SHA-256 of the frozen model                                        32 bytes
    length of the embedded model (0: none), and the model               u32 + bytes
    CRC-32 of everything above                                          u32
    blocks: length, payload, CRC-32 of block number and payload         u32 + bytes + u32 each
    end: u32 0xFFFFFFFF, number of images u64, SHA-256 of their bytes  32 bytes, CRC-32 of the end   u32

Integers are little-endian. A payload has these parts, in this order:
- the number of images (LEB128);
- if an image is a sequence: the number of frames of each (LEB128);
- for each lane of the stack: its head, the number of its tail words and that of the initial words drawn (both LEB128);
- all tail words, lane after lane, bottom first, as they are after the block's last step has ended (see Stack.step).
A head has ceil((lprec + bprec) / 8) bytes, a word ceil(bprec / 8). A block with fewer images than lanes has as many
lanes as images.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self

from mcbits.errors import DataError, FormatError, StackError

if TYPE_CHECKING:  # reading only a header must not import numpy
    from numpy.typing import NDArray

    from mcbits._rans import Stack

MAGIC = b"\x89mcb"
VERSION, PICTURES = 1, 2
END = 0xFFFFFFFF
MAX_HEADER = 1 << 16
MAX_BLOCK = 1 << 30
MAX_LANES = 1 << 20
RAMP_UNIT = 256
"""A ramp is an integer. A ramp of this value adds one particle in each step."""

# The most frequent text of headers, so that they pack to a few dozen bytes. It is part of the format.
DICTIONARY = (
    b'"num_steps":"lprec":32,"bprec":32}simplestochasticbb-cisbb-isbb-elbo'
    b'{"block_size":2048,"coder":"bb-is","dtype":"uint8","lanes":1,"options":{"num_particles":50},"precisions":'
    b'{"bprec":32,"cond_mprec":16,"index_mprec":24,"log_num_bucket":8,"lprec":32,"prior_mprec":8,"prop_mprec":16},'
    b'"ramp":100,"refinement":{"lr":0.01,"steps":50},"shape":[28,28]}'
)


@dataclass(frozen=True)
class Header:
    """The header: everything that a decoder must know besides the blocks.

    `coder` and its `options`; `precisions`; `shape` and `dtype` of an image; `lanes`; `block_size`, most images of a
    block.
    `ramp`: step t of a block is coded with min(N, 1 + floor(t * ramp / 256)) particles; 0 means N from the start.
    `refinement`: the number of `steps` and the learning rate `lr` of the refinement of q(z|x), or empty.
    `sequences`: whether an image is a sequence of frames. Then the first size of `shape` is the number of frames of
    the longest sequence.
    `model_id`: SHA-256 of the frozen model. `model`: the embedded model, or empty.
    An empty `refinement` and a false `sequences` are left out of the bytes.
    """

    coder: str
    options: dict[str, Any]
    precisions: dict[str, int]
    shape: tuple[int, ...]
    dtype: str
    lanes: int
    block_size: int
    ramp: int
    refinement: dict[str, int | float] = field(default_factory=dict)
    sequences: bool = False
    model_id: bytes = field(default=bytes(32), repr=False)
    model: bytes = field(default=b"", repr=False)

    @property
    def itemsize(self) -> int:
        """The bytes of a sample in memory."""
        return 2 if self.dtype == "uint16" else 1

    def pack(self) -> bytes:
        """Return the bytes up to the first block. Raises FormatError if the coder's options are too long."""
        document = {k: v for k, v in vars(self).items() if k not in ("model_id", "model")}
        document = {k: v for k, v in document.items() if k not in ("refinement", "sequences") or v}
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        deflate = zlib.compressobj(9, wbits=-15, zdict=DICTIONARY)
        packed = deflate.compress(text) + deflate.flush()
        if len(packed) > 0xFFFF or len(text) > MAX_HEADER:
            raise FormatError("the coder's options are too long for a file's header")
        start = MAGIC + struct.pack("<BH", VERSION, len(packed)) + packed
        start += self.model_id + struct.pack("<I", len(self.model)) + self.model
        return start + struct.pack("<I", zlib.crc32(start))


@dataclass(frozen=True)
class End:
    """The end of a file: the number of images and the SHA-256 of their bytes, in C order, one after the other."""

    SIZE: ClassVar[int] = 48

    num_images: int
    digest: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the End of these bytes: the inverse of `pack`. Raises FormatError if the checksum does not match."""
        if len(data) != cls.SIZE or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise FormatError("the end of the file is damaged")
        return cls(int.from_bytes(data[4:12], "little"), data[12:-4])

    def pack(self) -> bytes:
        """Return the bytes after the last block."""
        end = struct.pack("<IQ", END, self.num_images) + self.digest
        return end + struct.pack("<I", zlib.crc32(end))


def pack_block(number: int, payload: bytes) -> bytes:
    """Return the bytes of block `number`: its length, its payload and its checksum."""
    return struct.pack("<I", len(payload)) + payload + struct.pack("<I", _block_crc(number, payload))


def read_header(file: BinaryIO) -> Header:
    """Read and return the header. `file` is then at the first block. Raises FormatError if it is damaged."""
    start = _take(file, 7)
    if start[:4] != MAGIC:
        raise FormatError("this is no .mcb file")
    version, length = struct.unpack("<BH", start[4:])
    if version != VERSION:
        raise FormatError(f"format version {version} is not known: expected {VERSION} here")
    packed = _take(file, length)
    tail = _take(file, 36)
    model_length = struct.unpack("<I", tail[32:])[0]
    model = _take(file, model_length)
    (crc,) = struct.unpack("<I", _take(file, 4))
    if crc != zlib.crc32(start + packed + tail + model):
        raise FormatError("the header is damaged")
    if model and sha256(model).digest() != tail[:32]:
        raise FormatError("the embedded model is not the one the file names")
    try:
        inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
        text = inflate.decompress(packed, MAX_HEADER)
        if not inflate.eof or inflate.unused_data:
            raise ValueError
        document = json.loads(text)
        document["shape"] = tuple(document["shape"])
        header = Header(**document, model_id=tail[:32], model=model)
    except (zlib.error, ValueError, TypeError, KeyError, RecursionError):
        raise FormatError("the header is not one that mcbits writes") from None
    _check(header)
    return header


def read_blocks(file: BinaryIO) -> Iterator[bytes | End]:
    """Yield the payload of each block, checked, and then the End.

    Raises FormatError for damage, truncation or bytes beyond the end.
    """
    number = 0
    while True:
        (length,) = struct.unpack("<I", _take(file, 4))
        if length == END:
            break
        if length > MAX_BLOCK:
            raise FormatError(f"block {number} is damaged")
        payload = _take(file, length)
        (crc,) = struct.unpack("<I", _take(file, 4))
        if crc != _block_crc(number, payload):
            raise FormatError(f"block {number} is damaged")
        yield payload
        number += 1
    end = End.unpack(struct.pack("<I", END) + _take(file, End.SIZE - 4))
    if file.read(1):
        raise FormatError("there are bytes beyond the end of the file's content")
    yield end


def read_ahead(file: BinaryIO) -> End | None:
    """Return the End of a file without moving `file`, so that a truncated file is refused at once. None for a pipe.

    Raises FormatError if the end is missing or damaged.
    """
    if not file.seekable():
        return None
    position = file.tell()
    file.seek(max(position, file.seek(0, os.SEEK_END) - End.SIZE))
    data = file.read()
    file.seek(position)
    try:
        return End.unpack(data)
    except FormatError:
        raise FormatError("the file is truncated, or its end damaged") from None


def claimed_by_block(payload: bytes) -> int:
    """Return the number of images that a payload claims. Raises FormatError if it has no such number."""
    return read_leb128(BytesIO(payload[:9]))


def version_of(file: BinaryIO) -> int:
    """Return the format version of a file, 1 or 2, and leave it at its start. Raises FormatError for any other."""
    start = _take(file, 5)
    file.seek(0)
    if start[:4] != MAGIC:
        raise FormatError("this is no .mcb file")
    if start[4] not in (VERSION, PICTURES):
        raise FormatError(f"format version {start[4]} is not known: this mcbits reads versions 1 and 2")
    return start[4]


def info(source: str | Path) -> dict[str, Any]:
    """Return what a .mcb file says about itself. Checks all checksums but decodes nothing.

    "file" is in bits per "unit"; sizes are in bytes, "raw_bytes" being that of the images in memory. Raises FormatError
    for damage, DataError if the file cannot be opened.
    """
    with open_file(source) as file:
        header = read_header(file)
        start, blocks, frames = file.tell(), 0, 0
        for piece in read_blocks(file):
            if isinstance(piece, End):
                end = piece
            else:
                blocks += 1
                frames += sum(_read_counts(BytesIO(piece), header)[1])
        size = file.seek(0, os.SEEK_END)
    dims = end.num_images * prod(header.shape)
    units = frames if header.sequences else dims
    return {
        "coder": header.coder,
        "options": header.options,
        "precisions": header.precisions,
        "num_images": end.num_images,
        **({"num_frames": frames} if header.sequences else {}),
        "shape": list(header.shape),
        "dtype": header.dtype,
        "lanes": header.lanes,
        "blocks": blocks,
        "block_size": header.block_size,
        "ramp": header.ramp / RAMP_UNIT,
        "refinement": header.refinement,
        "model_id": header.model_id.hex(),
        "embedded_model_bytes": len(header.model),
        "sha256": end.digest.hex(),
        "file_bytes": size,
        "raw_bytes": dims * header.itemsize,
        "header_bytes": start - len(header.model),
        "file": 8 * size / units if units else 0.0,
        "unit": "frame" if header.sequences else "dim",
    }


def sample_bytes(images: NDArray[Any]) -> bytes:
    """Return the bytes that the file's digest is of: samples in order, those of uint16 with the low byte first."""
    little: NDArray[Any] = images.astype(images.dtype.newbyteorder("<"), copy=False)
    return little.tobytes()


def open_file(source: str | Path) -> BinaryIO:
    """Open a file to read. Raises DataError, which names the file, if it cannot be opened."""
    try:
        return open(source, "rb")
    except OSError as error:
        raise DataError(f"{source}: {error.strerror}") from None


def pack_stack(num_images: int, lengths: Iterable[int], stack: Stack) -> bytes:
    """Return the payload of a block. `lengths` are the frames of each sequence, empty for images."""
    import numpy as np

    head_bytes, word_bytes = (stack.lprec + stack.bprec + 7) // 8, (stack.bprec + 7) // 8
    fixed, words = bytearray(b"".join(map(write_leb128, [num_images, *lengths]))), bytearray()
    for lane, (head, drawn) in enumerate(zip(stack.heads, stack.initial_words, strict=True)):
        tail = stack.tail(lane)
        fixed += int(head).to_bytes(head_bytes, "little") + write_leb128(len(tail)) + write_leb128(int(drawn))
        words += tail.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :word_bytes].tobytes()
    return bytes(fixed + words)


def unpack_stack(payload: bytes, header: Header) -> tuple[int, list[int], Stack]:
    """Return the number of images, the lengths of sequences and the stack of a payload.

    Raises FormatError if the payload is not exactly these.
    """
    import numpy as np

    from mcbits._rans import Stack

    lprec, bprec = header.precisions["lprec"], header.precisions["bprec"]
    head_bytes, word_bytes = (lprec + bprec + 7) // 8, (bprec + 7) // 8
    source = BytesIO(payload)
    num_images, lengths = _read_counts(source, header)
    heads, sizes, drawn = [], [], []
    for _ in range(min(header.lanes, num_images)):
        heads.append(int.from_bytes(_take(source, head_bytes), "little"))
        sizes.append(read_leb128(source))
        drawn.append(read_leb128(source))
    if source.tell() + sum(sizes) * word_bytes != len(payload):
        raise FormatError("a block's length does not fit its content")
    raw = np.zeros((sum(sizes), 8), np.uint8)
    raw[:, :word_bytes] = np.frombuffer(source.read(), np.uint8).reshape(-1, word_bytes)
    words = raw.view("<u8").reshape(-1).astype(np.uint64)
    try:
        tails = np.split(words, np.cumsum(sizes)[:-1])
        stack = Stack.from_words(np.array(heads, np.uint64), tails, lprec, bprec, initial_words=drawn)
        return num_images, lengths, stack
    except (StackError, OverflowError) as error:
        raise FormatError(f"a block holds no valid stack: {error}") from None


def _read_counts(source: BinaryIO, header: Header) -> tuple[int, list[int]]:
    num_images = read_leb128(source)
    if not 1 <= num_images <= header.block_size:
        raise FormatError(f"a block claims {num_images} images, and the file at most {header.block_size} a block")
    lengths = [read_leb128(source) for _ in range(num_images if header.sequences else 0)]
    if not all(1 <= length <= header.shape[0] for length in lengths):
        raise FormatError(f"a block claims a sequence that does not have 1 to {header.shape[0]} frames")
    return num_images, lengths


def write_leb128(value: int) -> bytes:
    """Return a number, at least 0, seven bits a byte, the lowest first."""
    digits = bytearray()
    while value >= 128:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes(digits) + bytes([value])


def read_leb128(source: BinaryIO) -> int:
    """Read and return what `write_leb128` wrote. Raises FormatError if there is no such number."""
    value = 0
    for shift in range(0, 63, 7):
        (digit,) = _take(source, 1)
        value |= (digit & 127) << shift
        if digit < 128:
            return value
    raise FormatError("a number in a block is longer than any that mcbits writes")


def _check(header: Header) -> None:
    def integer(value: Any, low: int, high: int) -> bool:
        return type(value) is int and low <= value <= high

    names = {"lprec", "bprec", "log_num_bucket", "prior_mprec", "prop_mprec", "cond_mprec", "index_mprec"}
    good = (
        isinstance(header.coder, str)
        and isinstance(header.options, dict)
        and isinstance(header.precisions, dict)
        and isinstance(header.refinement, dict)
        and set(header.refinement) in (set(), {"steps", "lr"})
        and set(header.precisions) == names
        and all(integer(p, 0, 64) for p in header.precisions.values())
        and header.precisions["lprec"] >= 1
        and header.precisions["bprec"] >= 1
        and header.precisions["cond_mprec"] >= 1
        and header.precisions["lprec"] + header.precisions["bprec"] <= 64
        and type(header.sequences) is bool
        and 1 <= len(header.shape) <= 8
        and all(integer(d, 1, 1 << 24) for d in header.shape)
        and header.dtype in ("bool", "uint8", "uint16")
        and integer(header.lanes, 1, MAX_LANES)
        and integer(header.block_size, 1, MAX_BLOCK)
        and integer(header.ramp, 0, 1 << 32)
        and header.block_size * prod(header.shape) <= MAX_BLOCK
    )
    if not good:
        raise FormatError("the header is not one that mcbits writes")


def _block_crc(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<Q", number)))


def _take(file: BinaryIO, size: int) -> bytes:
    # Read piece by piece, so that a false length costs no more memory than the bytes that exist.
    pieces, missing = [], size
    while missing and (piece := file.read(min(missing, 1 << 20))):
        pieces.append(piece)
        missing -= len(piece)
    if missing:
        raise FormatError("the file is truncated")
    return b"".join(pieces)
