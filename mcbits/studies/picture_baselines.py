"""Other compressors get the same pictures in the best layout there is for them, and every byte of theirs counts."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import UsageError, lacking
from mcbits.plugins.registry import registry
from mcbits.studies.baselines import Baseline

Picture = NDArray[Any]

_JXL_MAX_SIDE, _WEBP_MAX_SIDE = 1 << 18, 16383


def baselines_of_pictures(pictures: list[Picture]) -> list[Baseline]:
    """Compress pictures (h, w) or (h, w, channels), uint8 or uint16, of any sizes, with every codec that takes them.

    One by one (mode "each"): JPEG XL of efforts 7 and 9, WebP and PNG, without containers. All in one file
    ("archive"): xz and zstd of the samples; JPEG XL and WebP of sheets, on each of which pictures of one size are laid
    out as about a square. Raises UsageError if imagecodecs is missing.
    """
    try:
        codecs = import_module("imagecodecs")
    except ModuleNotFoundError:
        raise UsageError(f"to measure other compressors needs {lacking('imagecodecs')}") from None
    coders: list[tuple[str, int, Callable[[Picture], bytes]]] = [
        *((f"JPEG XL e{effort}", _JXL_MAX_SIDE, partial(_jpeg_xl, codecs, effort)) for effort in (7, 9)),
        ("WebP lossless", _WEBP_MAX_SIDE, partial(_webp, codecs)),
        ("PNG", 1 << 31, lambda picture: bytes(codecs.png_encode(picture, level=9))),
    ]
    samples, raw = sum(map(np.size, pictures)), b"".join(np.ascontiguousarray(each).tobytes() for each in pictures)
    found = [("xz -9e", "archive", "bytes", len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)))]
    found.append(("zstd -19", "archive", "bytes", len(codecs.zstd_encode(raw, level=19))))
    hook = registry().hook
    hook.mcbits_started(job="baselines", total=len(coders))
    for done, (name, side, encode) in enumerate(coders, 1):
        if all(map(partial(_fits, name, side), pictures)):
            found.append((name, "each", "one by one", sum(len(encode(each)) for each in pictures)))
            sheets = list(_sheets(pictures, side))
            if len(sheets) < len(pictures):
                found.append((name, "archive", "sheets", sum(map(len, map(encode, sheets)))))
        hook.mcbits_advanced(job="baselines", done=done, metrics={})
    hook.mcbits_finished(job="baselines", metrics={})
    return [
        Baseline(name, size, 8 * size / samples, "dim", "each" if mode == "each" else "archive", layout)
        for name, mode, layout, size in found
    ]


def _fits(name: str, side: int, picture: Picture) -> bool:
    """Return whether a format takes a picture."""
    if name == "WebP lossless" and (picture.dtype != np.uint8 or picture.shape[2:] == (2,)):
        return False
    return bool(max(picture.shape[:2]) <= side)


def _sheets(pictures: list[Picture], side: int) -> Iterator[Picture]:
    """Yield sheets of pictures of one size and type each, rows and columns about as many."""
    groups: dict[Any, list[Picture]] = {}
    for each in pictures:
        groups.setdefault((each.shape, each.dtype), []).append(each)
    for (shape, dtype), group in groups.items():
        columns = min(max(1, round((len(group) * shape[0] / shape[1]) ** 0.5)), side // shape[1])
        most = columns * (side // shape[0])
        for begin in range(0, len(group), most):
            part = group[begin : begin + most]
            rows = -(-len(part) // columns)
            sheet = np.zeros((rows * columns, *shape), dtype)
            sheet[: len(part)] = part
            laid = sheet.reshape(rows, columns, *shape).swapaxes(1, 2)
            yield np.ascontiguousarray(laid.reshape(rows * shape[0], columns * shape[1], *shape[2:]))


def _jpeg_xl(codecs: Any, effort: int, picture: Picture) -> bytes:
    return bytes(codecs.jpegxl_encode(picture, lossless=True, effort=effort, numthreads=2, usecontainer=False))


def _webp(codecs: Any, picture: Picture) -> bytes:
    colour = (
        picture if picture.ndim == 3 and picture.shape[2] > 1 else np.dstack([picture.reshape(picture.shape[:2])] * 3)
    )
    return bytes(codecs.webp_encode(np.ascontiguousarray(colour), lossless=True, level=100, method=6))
