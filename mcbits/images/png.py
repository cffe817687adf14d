"""A PNG is read only if all of it is whole: every chunk has its checksum, and the pixels are exactly those claimed.

Image libraries show what they can of a damaged picture; a codec that keeps pixels must not. See the PNG specification
(W3C, third edition), sections 5, 7 and 8.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from mcbits.errors import DataError

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
