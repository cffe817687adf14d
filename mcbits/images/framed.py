"""A file of plain samples is rebuilt byte for byte: from the samples, their layout, and the bytes around them.

A wrapper of this way is, in this order:
- bits of a sample: 1, 8 or 16, a byte;
- flags, a byte, the sum of: 1, samples of 16 bits have the high byte first; 2, the last row comes first; 4, each
  channel is a plane of its own; 8, the first three channels stand in the opposite order;
- a byte: each row takes a multiple of so many bytes, 1 ... 8; what is added are zeros;
- the number of pieces, and for each the number of literal bytes and of bytes of samples, all LEB128;
- the literal bytes of all pieces, one after the other.

The samples make one sequence of bytes: picture after picture, plane after plane, row after row; in a row pixel after
pixel, in a pixel channel after channel; of 1 bit, eight samples a byte, the first one highest, each row beginning a new
byte. The file is, for each piece, its literal bytes and then the next bytes of that sequence.
"""

from __future__ import annotations

import ast
import re
import struct
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from mcbits.errors import DataError, FormatError
from mcbits.images.png import packed_rows
from mcbits.images.tiff import read_tiff

BIG, BOTTOM_UP, PLANAR, REVERSED = 1, 2, 4, 8

_PNM = re.compile(rb"P([456])" + 2 * rb"(?:\s|#[^\n]*\n)+(\d{1,9})" + rb"(?:(?:\s|#[^\n]*\n)+(\d{1,5}))?\s", re.DOTALL)


@dataclass(frozen=True)
class _Layout:
    """Where the samples of pictures (n, h, w) or (n, h, w, C) are, pieces of (offset, bytes), and how they lie."""

    shape: tuple[int, ...]
    bits: int
    pieces: tuple[tuple[int, int], ...]
    flags: int = 0
    align: int = 1
    palette: bool = False

    @property
    def channels(self) -> int:
        return self.shape[3] if len(self.shape) == 4 else 1

    @property
    def row(self) -> int:
        """The bytes of a row, of a plane if channels are planes."""
        samples = self.shape[2] * (1 if self.flags & PLANAR else self.channels)
        used = (samples * self.bits + 7) // 8
        return (used + self.align - 1) // self.align * self.align

    @property
    def size(self) -> int:
        """The bytes of all samples."""
        return self.shape[0] * self.shape[1] * self.row * (self.channels if self.flags & PLANAR else 1)

    @classmethod
    def whole(cls, shape: tuple[int, ...], bits: int, offset: int, flags: int = 0) -> _Layout:
        """Return the layout of an array whose bytes begin at an offset."""
        return cls(shape, bits, ((offset, prod(shape) * bits // 8),), flags)


def frame(data: bytes) -> tuple[NDArray[Any], bytes, bool] | None:
    """Return samples, wrapper and whether they are indices, of a file of plain samples; None for any other.

    That the file is rebuilt exactly remains to be checked: there may be other bytes where zeros are expected.
    """
    found = next(filter(None, (parse(data) for parse in (_pnm, _bmp, _npy, _idx, _tiff))), None)
    if found is None or prod(found.shape) == 0 or sum(size for _, size in found.pieces) != found.size:
        return None
    stream, literals, ends, at = bytearray(), bytearray(), [], 0
    for offset, size in found.pieces:
        if offset < at or offset + size > len(data):
            return None
        ends.append((offset - at, size))
        literals += data[at:offset]
        stream += data[offset : offset + size]
        at = offset + size
    ends.append((len(data) - at, 0))
    literals += data[at:]
    out = bytearray([found.bits, found.flags, found.align]) + _leb128(len(ends))
    out += b"".join(_leb128(number) for pair in ends for number in pair) + literals
    return _samples(np.frombuffer(bytes(stream), np.uint8), found), bytes(out), found.palette


def rebuild(file: BinaryIO, pixels: NDArray[Any], wrapper: bytes) -> None:
    """Write the file of these samples (n, h, w) or (n, h, w, C). Raises FormatError if they do not fit the wrapper."""
    if len(wrapper) < 4 or not 3 <= pixels.ndim <= 4:
        raise FormatError(_DAMAGED)
    bits, flags, align = wrapper[:3]
    if bits not in (1, 8, 16) or flags > 15 or not 1 <= align <= 8 or int(pixels.max(initial=0)) >> bits:
        raise FormatError(_DAMAGED)
    layout = _Layout(pixels.shape, bits, (), flags, align)
    count, at = _read_leb128(wrapper, 3)
    if count > len(wrapper):
        raise FormatError(_DAMAGED)
    sizes = []
    for _ in range(2 * count):
        size, at = _read_leb128(wrapper, at)
        sizes.append(size)
    if sum(sizes[::2]) != len(wrapper) - at or sum(sizes[1::2]) != layout.size:
        raise FormatError(_DAMAGED)
    stream, done = _stream(pixels, layout), 0
    for literal, size in zip(sizes[::2], sizes[1::2], strict=True):
        file.write(wrapper[at : at + literal])
        file.write(stream[done : done + size])
        at, done = at + literal, done + size


def unframed(data: bytes) -> bytes:
    """Return a TIFF without compression that has the samples and the tags of this one.

    Raises DataError for what Pillow would change or lose.
    """
    values, _ = read_tiff(BytesIO(data))
    with Image.open(BytesIO(data), formats=["TIFF"]) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in image.tag_v2.items():
            if tag not in _OF_STORAGE:
                tags[tag] = value
                tags.tagtype[tag] = image.tag_v2.tagtype[tag]
        image.load()
        out = BytesIO()
        image.save(out, "TIFF", compression="raw", tiffinfo=tags)
        before = {tag: value for tag, value in image.tag_v2.items() if tag not in _OF_STORAGE}
    again, _ = read_tiff(out)
    with Image.open(out, formats=["TIFF"]) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        lost = [tag for tag, value in before.items() if image.tag_v2.get(tag) != value]
    if lost or not np.array_equal(values, again):
        raise DataError(f"tags {lost} would be lost")
    return out.getvalue()


_DAMAGED = "the wrapper of a file of plain samples is damaged"
_OF_STORAGE = (259, 273, 278, 279, 317)


def _samples(stream: NDArray[np.uint8], layout: _Layout) -> NDArray[Any]:
    n, h, w = layout.shape[:3]
    planes = layout.channels if layout.flags & PLANAR else 1
    inner = w * layout.channels // planes
    x: NDArray[Any]
    rows: NDArray[np.uint8] = stream.reshape(n, planes, h, layout.row)
    if layout.bits == 1:
        x = np.unpackbits(rows, axis=3, count=inner)
    elif layout.bits == 8:
        x = rows[..., :inner]
    else:
        pairs = np.ascontiguousarray(rows[..., : 2 * inner])
        x = pairs.view(">u2" if layout.flags & BIG else "<u2").astype(np.uint16)
    if layout.flags & BOTTOM_UP:
        x = x[:, :, ::-1]
    x = x.reshape(n, planes, h, w, -1)
    x = np.moveaxis(x[..., 0], 1, 3) if planes > 1 else x[:, 0]
    if layout.flags & REVERSED:
        x = x[..., _order(layout.channels)]
    return np.ascontiguousarray(x.reshape(layout.shape))


def _stream(pixels: NDArray[Any], layout: _Layout) -> bytes:
    n, h, w = pixels.shape[:3]
    x: NDArray[Any] = pixels.reshape(n, h, w, -1)
    if layout.flags & REVERSED:
        x = x[..., _order(layout.channels)]
    x = np.moveaxis(x, 3, 1)[..., None] if layout.flags & PLANAR else x[:, None]
    if layout.flags & BOTTOM_UP:
        x = x[:, :, ::-1]
    flat = np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1] * h, -1)
    rows = packed_rows(flat, layout.bits)
    if layout.bits == 16 and not layout.flags & BIG:
        rows = rows.reshape(len(rows), -1, 2)[:, :, ::-1].reshape(len(rows), -1)
    padded = np.zeros((len(rows), layout.row), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.tobytes()


def _order(channels: int) -> list[int]:
    return [2, 1, 0, *range(3, channels)] if channels >= 3 else list(range(channels))


def _pnm(data: bytes) -> _Layout | None:
    found = _PNM.match(data[:4096]) if data[:1] == b"P" else None
    if found is None:
        return None
    kind, w, h = (int(text) for text in found.groups()[:3])
    if kind == 4:
        found = re.compile(rb"P4" + 2 * rb"(?:\s|#[^\n]*\n)+(\d{1,9})" + rb"\s").match(data[:4096])
        if found is None:
            return None
        layout = _Layout((1, h, w), 1, ())
    elif found.group(4) is None:
        return None
    else:
        bits = 8 if int(found.group(4)) < 256 else 16
        layout = _Layout((1, h, w, 3) if kind == 6 else (1, h, w), bits, (), BIG if bits == 16 else 0)
    return _Layout(layout.shape, layout.bits, ((found.end(), layout.size),), layout.flags)


def _bmp(data: bytes) -> _Layout | None:
    if data[:2] != b"BM" or len(data) < 54:
        return None
    offset, size = struct.unpack_from("<II", data, 10)
    w, h, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if size < 40 or compression or w < 1 or not h or bits not in (1, 8, 24, 32):
        return None
    shape = (1, abs(h), w) if bits <= 8 else (1, abs(h), w, bits // 8)
    flags = (BOTTOM_UP if h > 0 else 0) | (REVERSED if bits > 8 else 0)
    used = struct.unpack_from("<I", data, 46)[0] or 256
    grey = all(data[14 + size + 4 * i : 17 + size + 4 * i] == bytes([i] * 3) for i in range(used))
    layout = _Layout(shape, min(bits, 8), (), flags, 4)
    return _Layout(shape, layout.bits, ((offset, layout.size),), flags, 4, bits == 8 and not grey)


def _npy(data: bytes) -> _Layout | None:
    if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
        return None
    width = 2 if data[6] == 1 else 4
    begin = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    head = ast.literal_eval(data[8 + width : begin].decode())
    shape, kind = tuple(head["shape"]), head["descr"]
    flags = {"|u1": 0, "|b1": 0, "<u2": 0, ">u2": BIG}.get(kind)
    if flags is None or head["fortran_order"] or not 2 <= len(shape) <= 4:
        return None
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4) and shape[0] > 4):
        shape = (1, *shape)
    if len(shape) == 4 and shape[3] > 4:
        return None
    return _Layout.whole(shape, 16 if kind.endswith("u2") else 8, begin, flags)


def _idx(data: bytes) -> _Layout | None:
    if data[:4] != b"\0\0\x08\x03" or len(data) < 16:
        return None
    shape = struct.unpack_from(">III", data, 4)
    return _Layout.whole(shape, 8, 16) if len(data) == 16 + prod(shape) else None


def _tiff(data: bytes) -> _Layout | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    pages: list[_Layout] = []
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    while at and len(pages) < 1 << 16:
        page, at = _tiff_page(data, at, order)
        if page is None:
            return None
        pages.append(page)
    first = pages[0]
    if any((each.shape, each.bits, each.flags) != (first.shape, first.bits, first.flags) for each in pages):
        return None
    shape, pieces = (len(pages), *first.shape[1:]), tuple(piece for page in pages for piece in page.pieces)
    return _Layout(shape, first.bits, pieces, first.flags, 1, first.palette)


def _tiff_page(data: bytes, at: int, order: str) -> tuple[_Layout | None, int]:
    """Return a page of uncompressed strips, None if it is another one, and where the next page is."""
    (number,) = struct.unpack_from(f"{order}H", data, at)
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(number):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, at + 2 + 12 * entry)
        if kind in (1, 3, 4) and count < 1 << 24:
            code, size = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}[kind]
            place = at + 10 + 12 * entry
            if count * size > 4:
                (place,) = struct.unpack_from(f"{order}I", data, place)
            tags[tag] = struct.unpack_from(f"{order}{count}{code}", data, place)
    (following,) = struct.unpack_from(f"{order}I", data, at + 2 + 12 * number)
    one = {tag: values[0] for tag, values in tags.items() if values}
    bits, samples = tags.get(258, (1,)), one.get(277, 1)
    if (
        one.get(259, 1) != 1
        or one.get(266, 1) != 1
        or 330 in tags
        or 322 in tags
        or len(set(bits)) != 1
        or bits[0] not in (1, 8, 16)
        or any(value != 1 for value in tags.get(339, (1,)))
        or not 1 <= samples <= 4
        or (bits[0] == 1 and samples > 1)
        or not (tags.get(273) and tags.get(279) and 256 in one and 257 in one)
    ):
        return None, following
    shape = (1, one[257], one[256]) if samples == 1 else (1, one[257], one[256], samples)
    flags = (BIG if order == ">" and bits[0] == 16 else 0) | (PLANAR if one.get(284, 1) == 2 and samples > 1 else 0)
    pieces = tuple(zip(tags[273], tags[279], strict=True))
    layout = _Layout(shape, bits[0], pieces, flags, 1, one.get(262) == 3)
    return (layout if sum(size for _, size in pieces) == layout.size else None), following


def _leb128(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise FormatError(_DAMAGED)
