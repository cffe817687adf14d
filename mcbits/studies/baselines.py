"""Every figure is the size, with headers, of files that restore the pixels, in the best layout that was tried."""

import bz2
import gzip
import io
import lzma
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.errors import DataError, lacking
from mcbits.images.formats import as_images
from mcbits.plugins.registry import registry

Mode = Literal["archive", "each"]
_Images = NDArray[np.uint8]
_Compressor = tuple[str, Callable[[Any], bytes], dict[str, Callable[[_Images], Any]]]
_PNG_MAX_SIDE = 2**31 - 1
_WEBP_MAX_SIDE = 16383
_JXL_MAX_SIDE = 2**30


@dataclass(frozen=True)
class Baseline:
    """The result of one compressor: `file_bytes` for all images, and `file` in bits per `unit`, which is "dim".

    `mode` is "archive" (all images in one file) or "each" (one file for each image, sizes added). `layout` says how
    the pixels were arranged.
    """

    name: str
    file_bytes: int
    file: float
    unit: str
    mode: Mode
    layout: str


def baselines(images: NDArray[Any]) -> list[Baseline]:
    """Compress bool, uint8 or uint16 images (n, *shape) with every installed compressor, as one archive and one by one.

    gzip, bz2, xz and zstd get raw bytes. If all values are 0 or 1, they also get packed bits, with and without padding
    of rows to whole bytes. PNG (1-bit for 0/1), lossless WebP and JPEG XL get the images of a file, unless they are
    uint16, tiled in one picture: about a square, and as wide as the format allows. The smallest result counts.
    `left_out` returns which compressors are missing and why. Raises DataError for other types and if there are no
    images.
    """
    images = as_images(images)
    if not images.size:
        raise DataError("there are no images to compress: give at least one")
    modes: tuple[tuple[Mode, list[_Images]], ...] = (("archive", [images]), ("each", list(images[:, None])))
    jobs = [(mode, files, each) for mode, files in modes for each in _compressors(images, len(files[0]))]
    hook, results = registry().hook, []
    hook.mcbits_started(job="baselines", total=len(jobs))
    for done, (mode, files, (name, compress, layouts)) in enumerate(jobs, start=1):
        sizes = {layout: sum(len(compress(arrange(file))) for file in files) for layout, arrange in layouts.items()}
        if sizes:
            layout, size = min(sizes.items(), key=lambda item: item[1])
            results.append(Baseline(name, size, 8 * size / images.size, "dim", mode, layout))
        hook.mcbits_advanced(job="baselines", done=done, metrics={})
    hook.mcbits_finished(job="baselines", metrics={})
    return results


def left_out(results: list[Baseline]) -> dict[str, str]:
    """Return {name: reason} of the compressors without a figure in `results`, which `baselines` returned."""
    reasons = {"JBIG2": "no Python package is known to encode it"}
    if find_spec("zstandard") is None:
        reasons["zstd -22"] = f"it needs {lacking('zstandard')}"
    if find_spec("pillow_jxl") is None:
        reasons["JPEG XL lossless"] = f"it needs {lacking('pillow_jxl')}"
    for name in ("PNG", "WebP lossless", "JPEG XL lossless"):
        reasons.setdefault(name, "the images are not 8-bit (h, w) or (h, w, 3) of a size that it takes")
    found = {result.name for result in results}
    return {name: why for name, why in reasons.items() if name not in found}


def _compressors(images: _Images, images_per_file: int) -> Iterator[_Compressor]:
    """Yield the name of each compressor, its function, and {layout: function from a file's images to its input}."""
    binary = bool(images.max() <= 1)
    arrays: dict[str, Callable[[_Images], Any]] = {"bytes": _bytes}
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
    if images.itemsize == 1 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        to_picture = partial(_picture, binary=binary and images.ndim == 3)
        formats = [("PNG", _png, _PNG_MAX_SIDE), ("WebP lossless", _webp, _WEBP_MAX_SIDE)]
        with suppress(ImportError):
            import pillow_jxl  # noqa: F401, it registers the format with Pillow

            formats.append(("JPEG XL lossless", _jpeg_xl, _JXL_MAX_SIDE))
        for name, save, side in formats:
            yield (
                name,
                save,
                {
                    f"tiled {columns} wide": partial(to_picture, columns=columns)
                    for columns in _tilings(images.shape, images_per_file, side)
                },
            )


def _bytes(images: _Images) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images).view(np.uint8)


def _xz(data: NDArray[np.uint8]) -> bytes:
    # A dictionary of the size of the data gives the same result as the preset's 64 MiB, and is set up faster.
    dictionary = min(max(data.nbytes, 4096), 1 << 26)
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}
    return lzma.compress(data.data, filters=[lzma2])


def _tilings(shape: tuple[int, ...], count: int, max_side: int) -> list[int]:
    """Return the numbers of columns to try for `count` images of shape[1:] in a picture: about a square, the widest."""
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


def _jpeg_xl(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    # The plugin does not support 1-bit pictures. As bytes, 0 and 1 give smaller files than 0 and 255.
    pixels = Image.fromarray(np.asarray(picture).astype(np.uint8)) if picture.mode == "1" else picture
    pixels.save(file, "JXL", lossless=True, effort=10)
    return file.getvalue()
