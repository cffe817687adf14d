"""An array in an IDX file is read whole or not at all, whatever its header claims.

The format is that of Y. LeCun's MNIST page: two zero bytes, a type (0x08: unsigned byte), the number of dimensions,
each dimension as a big-endian uint32, then the elements in C order.
"""

import gzip
import math
import struct
import zlib
from os import PathLike
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 8
_CHUNK = 1 << 20


def read_idx(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Return the array, uint8, in an IDX file of unsigned bytes. The file may be gzipped and may have any name.

    Memory grows with the bytes in the file, not with the size in its header.
    Raises DataError if the file is missing, damaged, truncated, too long or of another type.
    """
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if gzipped:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    return _parse(unzipped, path)
            return _parse(file, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged or truncated gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def write_idx(file: BinaryIO | gzip.GzipFile, images: NDArray[np.uint8]) -> None:
    """Write an array of uint8 as IDX to an open binary file."""
    file.write(struct.pack(f">xxBB{images.ndim}I", _UNSIGNED_BYTE, images.ndim, *images.shape))
    for image in images:
        file.write(image.tobytes())


def _parse(file: BinaryIO | gzip.GzipFile, path: str | PathLike[str]) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path} is no IDX file: it does not begin with the bytes 00 00")
    kind, ndim = magic[2:]
    if kind != _UNSIGNED_BYTE:
        raise DataError(f"{path} holds IDX type 0x{kind:02x}: mcbits reads unsigned bytes (0x08) only")
    if not 1 <= ndim <= _MAX_DIMS:
        raise DataError(f"{path} has {ndim} dimensions: mcbits reads 1 to {_MAX_DIMS}")
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise DataError(f"{path} is truncated within its header: fetch it again")
    shape = struct.unpack(f">{ndim}I", header)
    size = math.prod(shape)
    # Read one byte more than the header claims: this finds data that is too long, and gzip then checks its CRC.
    data = bytearray()
    while len(data) <= size and (chunk := file.read(min(_CHUNK, size + 1 - len(data)))):
        data += chunk
    if len(data) != size:
        relation = "more" if len(data) > size else f"only {len(data)}"
        raise DataError(f"{path} claims {size} bytes of shape {shape} but holds {relation}: fetch it again")
    try:
        return np.frombuffer(data, np.uint8).reshape(shape)
    except ValueError as error:
        raise DataError(f"{path} claims the impossible shape {shape}") from error
