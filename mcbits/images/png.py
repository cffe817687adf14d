"""A PNG is read only if all of it is whole: every chunk has its checksum, and the pixels are exactly those claimed.

Image libraries show what they can of a damaged picture; a codec that keeps pixels must not. See the PNG specification
(W3C, third edition), sections 5, 7 and 8.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError, FormatError

MAGIC = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Of Adam7: first column and row of each pass, and the steps to the next.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20


def check_png(file: BinaryIO) -> tuple[int, int]:
    """Read a PNG to its end and return (bit depth, colour type).

    Raises DataError, saying what is wrong, for a missing, damaged or unknown critical chunk, for pixel data that is
    damaged, too short or too long, and for bytes after the end. Holds no more than a megabyte of pixels.
    """
    if file.read(8) != MAGIC:
        raise DataError("it does not begin as a PNG does")
    chunks = _chunks(file)
    kind, header = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(header) != 13:
        raise DataError("it has no header chunk (IHDR)")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if not width or not height or colour not in _SAMPLES or compression or filtering or interlace > 1:
        raise DataError("its header chunk (IHDR) makes no sense")
    missing = sum(_scanline_bytes(width, height, depth * _SAMPLES[colour], bool(interlace)))
    stream, before, ended, seen = zlib.decompressobj(), b"", False, False
    for kind, data in chunks:
        if kind == b"IEND":
            ended = True
        elif kind == b"IDAT":
            if seen and before != b"IDAT":
                raise DataError("its pixel data (IDAT) is interrupted by other chunks")
            seen, missing = True, missing - _inflated(stream, data)
        elif kind == b"IHDR" or (kind not in _CRITICAL and not kind[0] & 0x20):
            raise DataError(f"it has a critical chunk {kind!r} that does not belong there")
        before = kind
    if not ended:
        raise DataError("it is truncated: its end (IEND) is missing")
    if missing or not stream.eof:
        raise DataError("its pixel data is too long" if missing < 0 else "its pixel data is truncated")
    return depth, colour


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each chunk of a PNG. Raises DataError as `check_png` does."""
    file = BytesIO(data)
    check_png(file)
    file.seek(len(MAGIC))
    yield from _chunks(file)


def write_png(
    file: BinaryIO, samples: NDArray[Any], depth: int, colour: int, chunks: Sequence[tuple[bytes, bytes]]
) -> None:
    """Write a PNG of samples (h, w) or (h, w, channels), of a palette its indices, and of these chunks.

    The chunk IDAT, which is empty, stands for the samples. Raises FormatError for what no PNG can be.
    """
    channels = samples.shape[2] if samples.ndim == 3 else 1
    depths = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
    if _SAMPLES.get(colour) != channels or depth not in depths or int(samples.max(initial=0)) >> depth:
        raise FormatError(f"a PNG of colour type {colour} and depth {depth} cannot hold these samples")
    height, width = samples.shape[:2]
    file.write(MAGIC)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    for kind, content in chunks:
        if kind != b"IDAT":
            _write_chunk(file, kind, content)
            continue
        stream = zlib.compressobj(6)
        for rows in _filtered(samples.reshape(height, -1), depth, max(1, depth * channels // 8)):
            if piece := stream.compress(rows):
                _write_chunk(file, kind, piece)
        _write_chunk(file, kind, stream.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def packed_rows(samples: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Return rows of samples (h, k) as bytes (h, ceil(k depth / 8)), the first sample in the highest bits."""
    if depth == 16:
        return samples.astype(">u2").view(np.uint8)
    if depth == 8:
        return samples.astype(np.uint8)
    each = 8 // depth
    padded = np.zeros((len(samples), -(-samples.shape[1] // each) * each), np.uint8)
    padded[:, : samples.shape[1]] = samples
    shifts = np.arange(each - 1, -1, -1, dtype=np.uint8) * np.uint8(depth)
    parts: NDArray[np.uint8] = (padded.reshape(len(samples), -1, each) << shifts).sum(axis=2, dtype=np.uint8)
    return parts


def _filtered(samples: NDArray[Any], depth: int, step: int) -> Iterator[bytes]:
    """Yield scanlines of rows (h, k), each filtered by what makes it smallest, some rows at a time."""
    rows = max(1, (_PIECE << 2) // max(1, samples.shape[1] * 2))
    above = np.zeros(0, np.uint8)
    for first in range(0, len(samples), rows):
        x = packed_rows(samples[first : first + rows], depth)
        above = above if len(above) else np.zeros(x.shape[1], np.uint8)
        up = np.vstack([above[None], x[:-1]])
        left, corner = np.zeros_like(x), np.zeros_like(x)
        left[:, step:], corner[:, step:] = x[:, :-step], up[:, :-step]
        # Palettes and bits below a byte compress best as they are.
        kinds = range(5) if depth >= 8 else range(1)
        filtered = [_filter(kind, x, left, up, corner) for kind in kinds]
        sums = [np.abs(each.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for each in filtered]
        best = np.argmin(sums, axis=0)
        chosen = np.choose(best[:, None], filtered)
        yield np.hstack([best[:, None].astype(np.uint8), chosen.astype(np.uint8)]).tobytes()
        above = x[-1]


def _filter(
    kind: int, x: NDArray[np.uint8], left: NDArray[np.uint8], up: NDArray[np.uint8], corner: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    if kind < 3:
        return x - (np.uint8(0), left, up)[kind]
    a, b, c = (each.astype(np.int16) for each in (left, up, corner))
    if kind == 3:
        return x - ((a + b) >> 1).astype(np.uint8)
    p = a + b - c
    pa, pb, pc = np.abs(p - a), np.abs(p - b), np.abs(p - c)
    return x - np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk; what follows the last one is an error."""
    while head := file.read(8):
        size, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        data = file.read(size) if size < 1 << 31 else b""
        crc = file.read(4)
        if len(data) != size or len(crc) != 4:
            raise DataError("it is truncated within a chunk")
        if zlib.crc32(kind + data) != int.from_bytes(crc, "big"):
            raise DataError(f"the checksum of its chunk {kind!r} is wrong")
        yield kind, data
        if kind == b"IEND":
            if file.read(1):
                raise DataError("there are bytes after its end (IEND)")
            return


def _inflated(stream: "zlib._Decompress", data: bytes) -> int:
    """How many bytes `data` adds to the stream of scanlines."""
    size = 0
    try:
        while data:
            size += len(stream.decompress(data, _PIECE))
            if stream.unused_data:
                raise DataError("its pixel data goes on after its end")
            data = stream.unconsumed_tail
    except zlib.error as error:
        raise DataError(f"its pixel data is damaged ({error})") from None
    return size


def _scanline_bytes(width: int, height: int, bits: int, interlaced: bool) -> Iterator[int]:
    """Bytes of the scanlines of each pass, each with one byte that says how it is filtered."""
    for x, y, dx, dy in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0 and rows > 0:
            yield rows * (1 + (columns * bits + 7) // 8)
