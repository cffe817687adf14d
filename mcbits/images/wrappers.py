"""A picture file is its pixels and a wrapper, from which the file is rebuilt; what cannot be is kept byte for byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.errors import DataError, FormatError
from mcbits.images.framed import frame, rebuild, unframed
from mcbits.images.pictures import png_samples
from mcbits.images.png import MAGIC as PNG_MAGIC
from mcbits.images.png import chunks_of, write_png

FILE, PNG, FRAMED, ARRAY = 0, 1, 2, 3

MAX_SAMPLES = 1 << 30

_LOOKS = (b"PLTE", b"tRNS", b"iCCP", b"gAMA", b"sRGB", b"cHRM", b"sBIT", b"cICP", b"pHYs", b"IDAT")
"""The chunks of a PNG that change how it looks."""


@dataclass(frozen=True)
class Unwrapped:
    """What is read of an entry: its pixels, how the file is rebuilt, and what is kept beside the pixels.

    pixels: PNG: uint8 or uint16 (1, h, w) or (1, h, w, C), samples as the file has them, of a palette the indices;
    FRAMED: (n, h, w) or (n, h, w, C); FILE: uint8 (size,), the bytes. palette: whether samples are indices. note: in
    plain words what a user should know of it. renamed: the ending that the restored file has, if it is another one.
    """

    pixels: NDArray[Any]
    way: int
    wrapper: bytes
    palette: bool = False
    note: str = ""
    renamed: str = ""


def unwrap(data: NDArray[np.uint8], metadata: bool = True) -> Unwrapped:
    """Return what a file of these bytes is made of. Content, not name, decides; nothing that is read is lost.

    metadata: keep what does not change how a picture looks.
    """
    begin = data[:16].tobytes()
    for magic, reader in _READERS:
        if begin.startswith(magic):
            try:
                if got := reader(data.tobytes(), metadata):
                    return got
            except DataError as error:
                return _as_is(data, f"kept as it is: {error}")
            except Exception as error:  # numpy, struct, zlib and Pillow raise many kinds on damaged input
                reason = " ".join(str(error).split()) or type(error).__name__
                return _as_is(data, f"kept as it is: {reason}")
    return _as_is(data)


def rewrap(file: BinaryIO, pixels: NDArray[Any], way: int, wrapper: bytes) -> None:
    """Write the file of these pixels, (n, ...), to `file`. Raises FormatError if they do not fit the wrapper."""
    if way == FILE and not wrapper and pixels.ndim == 1:
        file.write(np.ascontiguousarray(pixels, np.uint8).data)
    elif way == PNG and len(pixels) == 1:
        depth, colour, chunks = _png_wrapper(wrapper)
        write_png(file, pixels[0], depth, colour, chunks)
    elif way == FRAMED:
        rebuild(file, pixels, wrapper)
    else:
        raise FormatError(f"an entry is to be restored by way {way}, which this mcbits does not know")


def _as_is(data: NDArray[np.uint8], note: str = "") -> Unwrapped:
    return Unwrapped(data, FILE, b"", note=note)


def _png(data: bytes, metadata: bool) -> Unwrapped | None:
    try:
        chunks = list(chunks_of(data))
    except DataError as error:
        raise DataError(f"a damaged PNG: {error}") from None
    header = chunks[0][1]
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    if any(kind == b"acTL" for kind, _ in chunks):
        raise DataError("several frames")
    if width * height * 4 > MAX_SAMPLES:
        raise DataError("more samples than a picture may have")
    samples: NDArray[Any] = png_samples(BytesIO(data), depth, colour).astype(np.uint16 if depth == 16 else np.uint8)
    if depth in (2, 4) and colour == 0:
        samples = samples // (255 // ((1 << depth) - 1))
    return Unwrapped(samples[None], PNG, _wrapped(depth, colour, chunks, metadata), colour == 3)


def _wrapped(depth: int, colour: int, chunks: list[tuple[bytes, bytes]], metadata: bool) -> bytes:
    """Return the wrapper: depth, colour type, and the chunks that are kept; an empty IDAT stands for the pixels."""
    out, placed = bytearray([depth, colour]), False
    for kind, content in chunks:
        if kind in (b"IHDR", b"IEND") or (kind == b"IDAT" and placed):
            continue
        if not metadata and kind not in _LOOKS and not (kind == b"eXIf" and _turned(content)):
            continue
        placed = placed or kind == b"IDAT"
        content = b"" if kind == b"IDAT" else content
        out += kind + struct.pack("<I", len(content)) + content
    return bytes(out)


def _turned(exif: bytes) -> bool:
    """Return whether EXIF says that the picture is to be turned, or cannot be read."""
    found = Image.Exif()
    try:
        found.load(exif)
    except Exception:
        return True
    return bool(found.get(274, 1) != 1)


def _png_wrapper(wrapper: bytes) -> tuple[int, int, list[tuple[bytes, bytes]]]:
    chunks, at = [], 2
    while at < len(wrapper):
        kind = wrapper[at : at + 4]
        size = int.from_bytes(wrapper[at + 4 : at + 8], "little")
        chunks.append((kind, wrapper[at + 8 : at + 8 + size]))
        at += 8 + size
    names = [kind for kind, _ in chunks]
    samples = [content for kind, content in chunks if kind == b"IDAT"]
    good = len(wrapper) >= 2 and at == len(wrapper) and samples == [b""]
    if not good or not all(kind.isalpha() and kind not in (b"IHDR", b"IEND") for kind in names):
        raise FormatError("the wrapper of a PNG is damaged")
    return wrapper[0], wrapper[1], chunks


def _framed(data: bytes, metadata: bool) -> Unwrapped | None:
    found = frame(data)
    if found is None:
        return None
    pixels, wrapper, palette = found
    out = BytesIO()
    rebuild(out, pixels, wrapper)
    return Unwrapped(pixels, FRAMED, wrapper, palette) if out.getvalue() == data else None


def _tiff(data: bytes, metadata: bool) -> Unwrapped | None:
    return _framed(data, metadata) or _framed(unframed(data), metadata)


def _gif(data: bytes, metadata: bool) -> Unwrapped | None:
    with Image.open(BytesIO(data), formats=["GIF"]) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise DataError("several frames")
        image.load()
        if image.mode != "P" or image.info.get("comment"):
            raise DataError(f"a GIF of mode {image.mode}, or with a comment")
        palette = (image.getpalette("RGB") or [])[: 3 * 256]
        indices = np.asarray(image)
        if 3 * (int(indices.max()) + 1) > len(palette):
            raise DataError("a GIF with indices beyond its palette")
        chunks = [(b"PLTE", bytes(palette))]
        if (clear := image.info.get("transparency")) is not None:
            chunks.append((b"tRNS", b"\xff" * int(clear) + b"\0"))
    chunks.append((b"IDAT", b""))
    wrapper = _wrapped(8, 3, chunks, metadata)
    return Unwrapped(indices[None], PNG, wrapper, True, "comes back as a PNG", ".png")


def _webp(data: bytes, metadata: bool) -> Unwrapped | None:
    if data[8:12] != b"WEBP" or data[12:16] not in (b"VP8L", b"VP8X"):
        return None
    if data[12:16] == b"VP8X" and b"VP8L" not in data[20:]:
        return None
    with Image.open(BytesIO(data), formats=["WEBP"]) as image:
        if getattr(image, "n_frames", 1) > 1 or b"VP8 " in _riff_chunks(data):
            raise DataError("several frames, or a lossy WebP")
        image.load()
        pixels, colour = np.asarray(image), {"RGB": 2, "RGBA": 6}.get(image.mode)
        if colour is None:
            raise DataError(f"a WebP of mode {image.mode}")
        chunks: list[tuple[bytes, bytes]] = []
        if profile := image.info.get("icc_profile"):
            chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile, 9)))
        chunks.append((b"IDAT", b""))
        if exif := image.info.get("exif"):
            chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
        if xmp := image.info.get("xmp"):
            chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    wrapper = _wrapped(8, colour, chunks, metadata)
    return Unwrapped(pixels[None], PNG, wrapper, note="comes back as a PNG", renamed=".png")


def _riff_chunks(data: bytes) -> list[bytes]:
    at, kinds = 12, []
    while at + 8 <= len(data):
        kinds.append(data[at : at + 4])
        at += 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2
    return kinds


_READERS: tuple[tuple[bytes, Callable[[bytes, bool], Unwrapped | None]], ...] = (
    (PNG_MAGIC, _png),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"BM", _framed),
    (b"P4", _framed),
    (b"P5", _framed),
    (b"P6", _framed),
    (b"\x93NUMPY", _framed),
    (b"\0\0\x08", _framed),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)
