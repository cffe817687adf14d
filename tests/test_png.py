"""Of a damaged PNG nothing is read: any bit that is flipped, any byte that is missing or too many, is an error."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcbits.errors import DataError
from mcbits.images import read_images, write_images
from mcbits.images.png import check_png


def png(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


GREY = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
WHOLE = png(GREY)
HEADER, DATA = WHOLE[:33], zlib.compress(b"".join(b"\0" + bytes(row) for row in GREY))


def read(data: bytes, tmp_path: Path) -> np.ndarray:
    (tmp_path / "x").mkdir(exist_ok=True)
    (tmp_path / "x" / "0.png").write_bytes(data)
    return read_images(tmp_path / "x")


def test_every_flipped_bit_is_an_error(tmp_path: Path) -> None:
    for at in range(8 * len(WHOLE)):
        data = bytearray(WHOLE)
        data[at // 8] ^= 1 << at % 8
        with pytest.raises(DataError):
            read(bytes(data), tmp_path)


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    for size in range(len(WHOLE)):
        with pytest.raises(DataError):
            read(WHOLE[:size], tmp_path)


@pytest.mark.parametrize(
    "body, reason",
    [
        (chunk(b"IDAT", DATA), "end"),
        (chunk(b"IDAT", zlib.compress(b"\0" * 18)) + chunk(b"IEND", b""), "truncated"),
        (chunk(b"IDAT", zlib.compress(b"\0" * 81)) + chunk(b"IEND", b""), "too long"),
        (chunk(b"IDAT", DATA + b"more") + chunk(b"IEND", b""), "after its end"),
        (chunk(b"IDAT", DATA[:-4]) + chunk(b"IEND", b""), "truncated"),
        (chunk(b"IDAT", DATA[:9]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", DATA[9:]) + chunk(b"IEND", b""), "interr"),
        (chunk(b"ABCD", b"") + chunk(b"IDAT", DATA) + chunk(b"IEND", b""), "critical"),
        (chunk(b"IEND", b""), "truncated"),
        (chunk(b"IDAT", DATA) + chunk(b"IEND", b"") + b"!", "after its end"),
    ],
)
def test_pixel_data_that_is_not_what_the_header_claims(tmp_path: Path, body: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read(HEADER + body, tmp_path)


def test_pixel_data_in_many_pieces_is_read(tmp_path: Path) -> None:
    pieces = b"".join(chunk(b"IDAT", DATA[i : i + 5]) for i in range(0, len(DATA), 5))
    assert np.array_equal(read(HEADER + pieces + chunk(b"IEND", b""), tmp_path)[0], GREY)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (33, 31), (8, 9, 3)])
@pytest.mark.parametrize("bits", [1, 8])
def test_whole_pictures_of_any_size_pass(shape: tuple[int, ...], bits: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = png(pixels if bits == 8 or len(shape) == 3 else pixels > 127)
    assert check_png(io.BytesIO(data))[1] == (2 if len(shape) == 3 else 0)


def test_an_interlaced_picture_has_as_many_bytes_as_its_passes(tmp_path: Path) -> None:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lines = b"".join(b"\0" + bytes(row) for x, y, dx, dy in passes for row in GREY[y::dy, x::dx])
    header = chunk(b"IHDR", WHOLE[16:28] + b"\1")
    data = WHOLE[:8] + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    assert np.array_equal(read(data, tmp_path)[0], GREY)


def test_a_file_with_two_arrays_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "two.npy", "wb") as file:
        for _ in range(2):
            np.save(file, GREY[None])
    with pytest.raises(DataError, match="goes on for"):
        read_images(tmp_path / "two.npy")


def test_numbers_in_names_are_ordered_by_value(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in (9, 10, 100, 1):
        Image.fromarray(np.full((2, 2), number, np.uint8)).save(tmp_path / "x" / f"scan {number}.png")
    assert read_images(tmp_path / "x")[:, 0, 0].tolist() == [1, 9, 10, 100]


def test_bool_arrays_come_back_as_bool_and_what_is_not_zero_is_true(tmp_path: Path) -> None:
    given = np.array([[[0, 1, 255, 7]]], np.uint8).view(bool)
    write_images(tmp_path / "a.npy", given)
    found = read_images(tmp_path / "a.npy")
    assert found.dtype == bool
    assert found.view(np.uint8).tolist() == [[[0, 1, 1, 1]]]
