"""A picture gives exactly the values that its file holds, or is refused by name: no value is scaled, none is halved."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mcbits.errors import DataError
from mcbits.images.png import check_png
from mcbits.images.tiff import MAGICS as TIFF_MAGICS
from mcbits.images.tiff import read_tiff

_SUFFIXES = (".png", ".tif", ".tiff")
_COLOURS = {0: "grey", 2: "RGB", 4: "grey + alpha", 6: "RGBA"}  # by colour type of PNG
_CHANNELS = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGBA"}


def picture_paths(folder: Path) -> list[Path]:
    """Return the pictures of a folder, at least one, in natural order: "scan 9" before "scan 10".

    Hidden files are ignored. Raises DataError if there are no pictures, and for whatever else is there.
    """
    with reading(folder):
        paths = sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_natural)
    for path in paths:
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            raise DataError(f"{folder} holds {path.name}, which is no PNG or TIFF: move it out, since it would be lost")
    if not paths:
        raise DataError(f"{folder} holds no pictures: give a folder of PNGs or TIFFs")
    return paths


def read_picture(path: Path) -> tuple[NDArray[Any], str]:
    """Return the values of a picture, uint8 or uint16 of (h, w) or (h, w, channels), and its kind, as in "8-bit RGB".

    A 1-bit picture is uint8 0/1. Raises DataError for one that is missing, damaged or cannot be kept exactly.
    """
    with reading(path), open(path, "rb") as file:
        try:
            values, bits = read_tiff(file) if file.read(4) in TIFF_MAGICS else _read_png(file)
        except DataError as error:
            raise DataError(f"{path} {error}") from None
    kind = f"{bits}-bit {_CHANNELS[values.shape[2] if values.ndim == 3 else 1]}"
    return values.astype(np.uint8) if bits == 1 else values, kind


def check_pictures(images: NDArray[Any]) -> None:
    """Raise DataError if images (n, *shape) cannot be stored as PNGs."""
    colours = images.ndim == 4 and images.shape[3] in (2, 3, 4)
    if images.size == 0 or not (images.ndim == 3 or colours):
        raise DataError(f"images of shape {images.shape} cannot be stored as PNGs: write to .npy instead")
    if images.dtype == np.uint16 and colours:
        raise DataError(f"16-bit {_CHANNELS[images.shape[3]]} cannot be stored as PNGs: write to .npy instead")


def write_pngs(folder: Path, images: NDArray[Any]) -> None:
    """Write images that `check_pictures` accepts into a new folder, one PNG for each, numbered with leading zeros."""
    folder.mkdir()
    bilevel = images.ndim == 3 and images.itemsize == 1 and images.max() <= 1
    digits = len(str(len(images) - 1))
    for i, image in enumerate(images):
        pixels = np.ascontiguousarray(image)
        Image.fromarray(pixels.view(bool) if bilevel else pixels).save(folder / f"{i:0{digits}d}.png")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is raised while `path` is read into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is damaged or of a kind that Pillow does not know: save it anew as a PNG") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # numpy, zipfile, zlib and Pillow raise many kinds on damaged input
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or not what it seems: {reason}") from error


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _read_png(file: BinaryIO) -> tuple[NDArray[Any], int]:
    file.seek(0)
    try:
        depth, colour = check_png(file)
    except DataError as error:
        raise DataError(f"is damaged: {error}") from None
    if colour == 3:
        raise DataError("has a palette: expected grey or RGB, with or without alpha; convert it without loss first")
    file.seek(0)
    with Image.open(file, formats=["PNG"]) as image:
        if "transparency" in image.info:
            raise DataError("has a transparent colour (tRNS), which would be lost: expected an alpha channel or none")
        if getattr(image, "n_frames", 1) > 1:
            raise DataError("has several frames: expected one; save each as a picture of its own")
    return png_samples(file, depth, colour), 1 if depth == 1 else max(depth, 8)


def png_samples(file: BinaryIO, depth: int, colour: int) -> NDArray[Any]:
    """Return the samples of a whole PNG, (h, w) or (h, w, channels): of 1 bit bool, of a palette indices.

    Those of 2 and 4 bits are scaled to 8. Raises DataError if Pillow would change a value.
    """
    if depth == 16 and colour == 4:
        # 16-bit grey + alpha has the very bytes, filters and passes of 8-bit RGBA.
        relabelled = _pillow(BytesIO(_relabelled(file)), "RGBA")
        pairs: NDArray[Any] = relabelled.view(">u2").astype(np.uint16)
        return pairs
    if depth == 16 and colour:
        high, low = (_pillow(file, _COLOURS[colour], half) for half in (";16B", ";16L"))
        joined: NDArray[Any] = high.astype(np.uint16) << 8 | low
        return joined
    mode = {(1, 0): "1", (16, 0): "I;16", (8, 4): "LA"}.get((depth, colour), "L" if colour == 0 else "")
    return _pillow(file, mode or ("P" if colour == 3 else _COLOURS[colour]))


def _pillow(file: BinaryIO, mode: str, half: str | None = None) -> NDArray[Any]:
    """Return the values of a PNG that Pillow opens in `mode`.

    half: for 16-bit colour, of which Pillow keeps the first byte of each value: it takes values for big-endian
    (";16B") and so keeps the high half, or for little-endian (";16L"), the low half.
    """
    file.seek(0)
    with Image.open(file, formats=["PNG"]) as image:
        if image.mode != mode:
            raise DataError(f"has a mode that Pillow does not keep: expected {mode}, got {image.mode}; update Pillow")
        if half is not None:
            if [tile.args for tile in image.tile] != [f"{mode};16B"]:
                raise DataError("has 16-bit colour, which this Pillow reads in an unknown way: use Pillow 13")
            image.tile = [image.tile[0]._replace(args=f"{mode}{half}")]
        return np.asarray(image)


def _relabelled(file: BinaryIO) -> bytes:
    """Return a PNG with a header that claims 8-bit RGBA."""
    file.seek(0)
    data = bytearray(file.read())
    data[24:26] = 8, 6
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)
