"""Every figure is the size of files that restore the pixels, headers included, in the best layout tried."""

import bz2
import gzip
import io
import lzma
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.datasets.images import as_images
from mcbits.errors import DataError

Mode = Literal["archive", "each"]
_Images = NDArray[np.uint8]
_Compressor = tuple[str, Callable[[Any], bytes], dict[str, Callable[[_Images], Any]]]
_PNG_MAX_SIDE = 2**31 - 1
_WEBP_MAX_SIDE = 16383


@dataclass(frozen=True)
class Baseline:
    """What one compressor makes of the images: `bytes` in all, `bits_per_dim` = 8 bytes / number of values.

    `mode` is "archive" (all images in one file) or "each" (a file for every image, sizes summed); `layout`
    says how the pixels were handed over.
    """

    name: str
    bytes: int
    bits_per_dim: float
    mode: Mode
    layout: str


def baselines(images: NDArray[Any]) -> list[Baseline]:
    """Compress uint8 or bool images (n, *shape) with every compressor at hand, as one archive and one by one.

    gzip, bz2, xz and zstd get raw bytes and, where all values are 0 or 1, packed bits, with and without
    padding rows to whole bytes. PNG (1-bit for 0/1) and lossless WebP get all images in one picture, a
    square or as wide a one as they allow. The smallest result counts. Left out are zstd where the package
    `zstandard` is missing, PNG and WebP where the shape is neither (h, w) nor (h, w, 3) or a picture would
    be too large. Raises DataError for other types and for no images.
    """
    images = as_images(images)
    if not images.size:
        raise DataError("there are no images to compress: hand over at least one")
    modes: tuple[tuple[Mode, list[_Images]], ...] = (("archive", [images]), ("each", list(images[:, None])))
    results = []
    for mode, files in modes:
        for name, compress, layouts in _compressors(images, len(files[0])):
            sizes = {
                layout: sum(len(compress(arrange(file))) for file in files)
                for layout, arrange in layouts.items()
            }
            if sizes:
                layout, size = min(sizes.items(), key=lambda item: item[1])
                results.append(Baseline(name, size, 8 * size / images.size, mode, layout))
    return results


def _compressors(images: _Images, images_per_file: int) -> Iterator[_Compressor]:
    """Name, what compresses, and the layouts to try by name: each turns a file's images into its input."""
    binary = bool(images.max() <= 1)
    arrays: dict[str, Callable[[_Images], Any]] = {"bytes": np.ascontiguousarray}
    if binary:
        arrays["bits"] = np.packbits
        arrays["bits, rows padded"] = partial(np.packbits, axis=-1)
    yield "gzip -9", lambda data: gzip.compress(data, 9, mtime=0), arrays
    yield "bz2 -9", bz2.compress, arrays
    yield "xz -9e", _xz, arrays
    try:
        import zstandard
    except ImportError:
        pass
    else:
        yield "zstd -22", zstandard.ZstdCompressor(level=22).compress, arrays
    if images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3):
        to_picture = partial(_picture, binary=binary and images.ndim == 3)
        for name, save, side in (("PNG", _png, _PNG_MAX_SIDE), ("WebP lossless", _webp, _WEBP_MAX_SIDE)):
            yield name, save, {
                f"tiled {columns} wide": partial(to_picture, columns=columns)
                for columns in _tilings(images.shape, images_per_file, side)
            }


def _xz(data: NDArray[np.uint8]) -> bytes:
    # A dictionary that holds all the data gives the same size as the preset's 64 MiB, and is cleared sooner.
    dictionary = min(max(data.nbytes, 4096), 1 << 26)
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}
    return lzma.compress(data, filters=[lzma2])


def _tilings(shape: tuple[int, ...], count: int, max_side: int) -> list[int]:
    """Numbers of columns for `count` images of shape[1:] in a picture: about a square, the widest allowed."""
    max_rows, max_columns = max_side // shape[1], max_side // shape[2]
    square, widest = math.isqrt(count - 1) + 1, min(count, max_columns)
    return [c for c in dict.fromkeys((square, widest)) if 0 < c <= max_columns and count <= c * max_rows]


def _picture(images: _Images, columns: int, binary: bool) -> Image.Image:
    count, height, width, *channels = images.shape
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, *images.shape[1:]), np.uint8)
    padded[:count] = images
    tiled = padded.reshape(rows, columns, height, width, *channels).swapaxes(1, 2)
    pixels = np.ascontiguousarray(tiled).reshape(rows * height, columns * width, *channels)
    return Image.fromarray(pixels.view(bool) if binary else pixels)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()
