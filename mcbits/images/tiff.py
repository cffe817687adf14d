"""A TIFF is read only if its tags say that Pillow keeps every value; anything else is refused by name.

TIFF has no checksums: what is damaged within the pixels of an uncompressed file cannot be noticed.
"""

import math
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from mcbits.errors import DataError

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNCOMPRESSED = 1
_LOSSLESS = (_UNCOMPRESSED, 2, 3, 4, 5, 8, 32773, 32946)  # then CCITT, LZW, deflate, PackBits, deflate
# (bits of each sample, photometric, extra samples) -> the mode in which Pillow keeps every value.
# Of 1-bit TIFFs, 1 is white, whichever way they are stored.
_MODES = {
    ((1,), 0, ()): "1",
    ((1,), 1, ()): "1",
    ((8,), 1, ()): "L",
    ((8, 8), 1, (2,)): "LA",
    ((8, 8, 8), 2, ()): "RGB",
    ((8, 8, 8, 8), 2, (2,)): "RGBA",
    ((16,), 1, ()): "I;16",
}


def read_tiff(file: BinaryIO) -> tuple[NDArray[Any], int]:
    """Return the values, bool, uint8 or uint16 of (h, w) or (h, w, channels), and the bits of each.

    Raises DataError, saying what is wrong, for a TIFF whose values Pillow would change, or that has more than one page.
    """
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of a truncated file and goes on
        warnings.simplefilter("default", Image.DecompressionBombWarning)
        with Image.open(file, formats=["TIFF"]) as image:
            assert isinstance(image, TiffImageFile)
            if image.n_frames > 1:
                raise DataError(f"has {image.n_frames} pages: expected one; save each as a picture of its own")
            mode, bits = _mode(image)
            if image.mode.replace("I;16B", "I;16") != mode:
                raise DataError(f"has a mode that Pillow does not keep: expected {mode}, got {image.mode}")
            _check_size(image, bits, file)
            values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("=")), bits


def _mode(image: TiffImageFile) -> tuple[str, int]:
    """Return the mode and the bits of a sample. Raises DataError for whatever could change a value."""
    tags = image.tag_v2
    compression = tags.get(259, _UNCOMPRESSED)
    if compression not in _LOSSLESS:
        raise DataError(f"has compression {compression}: expected none (1), LZW, deflate, PackBits or CCITT")
    for tag, name, expected in (
        (266, "fill order", (1,)),
        (274, "orientation", (1,)),
        (317, "predictor", (1, 2)),
    ):
        if (value := tags.get(tag, expected[0])) not in expected:
            raise DataError(f"has {name} {value}: expected {' or '.join(map(str, expected))}; save it anew so")
    if 330 in tags:
        raise DataError("has pages within its page (SubIFDs): expected one; save each as a picture of its own")
    bits, photometric, extra = tuple(tags.get(258, (1,))), tags.get(262, -1), tuple(tags.get(338, ()))
    if any(sample != 1 for sample in tags.get(339, (1,))):
        raise DataError(f"has sample format {tags[339]}, signed or real numbers: expected unsigned integers (1)")
    if len(bits) > 1 and tags.get(284, 1) != 1:
        raise DataError("keeps each channel in a plane of its own: expected planar configuration 1")
    mode = _MODES.get((bits, photometric, extra))
    if mode is None or tags.get(277, 1) != len(bits):
        deep = "; 16-bit colour TIFFs would need tifffile" if len(bits) > 1 and max(bits) == 16 else ""
        raise DataError(
            f"has {tags.get(277, 1)} samples of {bits} bits, photometric {photometric}, extra samples {extra}: "
            "expected 1-bit, 8-bit or 16-bit grey (photometric 1), or 8-bit RGB (2), the 8-bit ones with or without "
            f"unassociated alpha (2){deep}"
        )
    return mode, bits[0]


def _check_size(image: TiffImageFile, bits: int, file: BinaryIO) -> None:
    """Raise DataError if the strips or tiles of pixels end beyond the file, or are too short if uncompressed."""
    tags = image.tag_v2
    begins, sizes = (tags.get(strips, tags.get(tiles, ())) for strips, tiles in ((273, 324), (279, 325)))
    end = file.seek(0, 2)
    if not sizes or len(begins) != len(sizes) or any(b + size > end for b, size in zip(begins, sizes, strict=True)):
        raise DataError("is damaged: its pixels do not lie within the file")
    if tags.get(259, _UNCOMPRESSED) == _UNCOMPRESSED:
        row = math.ceil(image.width * bits * len(image.getbands()) / 8)
        if sum(sizes) < row * image.height:
            raise DataError(f"is damaged: expected {row * image.height} bytes of pixels, got {sum(sizes)}")
