"""A picture of any kind gives the values that its file holds, bit for bit, or is refused by name."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcbits.errors import DataError
from mcbits.images import as_images, read_images, read_pictures, write_images
from mcbits.images.formats import write_npy
from mcbits.images.pictures import read_picture

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
COLOURS = {"grey": 1, "grey + alpha": 2, "RGB": 3, "RGBA": 4}
KINDS = [(bits, colour) for bits in (8, 16) for colour in COLOURS]
DTYPES = {8: np.uint8, 16: np.uint16}


def random(bits: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << bits, shape, DTYPES[bits])


def picture(bits: int, colour: str, height: int = 9, width: int = 11, seed: int = 0) -> np.ndarray:
    pixels = random(bits, height, width, COLOURS[colour], seed=seed)
    return pixels[..., 0] if colour == "grey" else pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def paeth(a: int, b: int, c: int) -> int:
    return min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]


def scanlines(pixels: np.ndarray) -> bytes:
    """The filtered scanlines of one pass, by the standard: each of the five filters in turn."""
    rows = [row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels]
    step, above, lines = len(pixels[:1, :1].tobytes()), bytes(len(rows[0])), bytearray()
    for y, row in enumerate(rows):
        lines.append(y % 5)
        for i, value in enumerate(row):
            a, b, c = row[i - step] if i >= step else 0, above[i], above[i - step] if i >= step else 0
            lines.append((value - (0, a, b, (a + b) // 2, paeth(a, b, c))[y % 5]) % 256)
        above = row
    return bytes(lines)


def png(pixels: np.ndarray, interlaced: bool = False) -> bytes:
    height, width, channels = (*pixels.shape, 1)[:3]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header += bytes([8 * pixels.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, interlaced])
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [pixels]
    body = zlib.compress(b"".join(scanlines(part) for part in parts if part.size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, "TIFF", **options)
    return path


def retag(path: Path, tag: int, value: int) -> Path:
    """Change the value of a tag in a TIFF that Pillow wrote, little-endian, not what else is there."""
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    for entry in range(first + 2, first + 2 + 12 * int.from_bytes(data[first : first + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == tag:
            data[entry + 8 : entry + 12] = value.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def folder_of(path: Path, *files: bytes, suffix: str = "png") -> Path:
    path.mkdir()
    for i, data in enumerate(files):
        (path / f"{i}.{suffix}").write_bytes(data)
    return path


# PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits, colour", KINDS)
def test_a_png_of_any_kind_gives_the_values_of_its_scanlines(
    tmp_path: Path, bits: int, colour: str, interlaced: bool
) -> None:
    pixels = picture(bits, colour)
    (tmp_path / "a.png").write_bytes(png(pixels, interlaced))
    found, kind = read_picture(tmp_path / "a.png")
    assert kind == f"{bits}-bit {colour}" and found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


@given(st.data())
def test_no_value_of_16_bits_is_halved(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    height, width, channels = (data.draw(st.integers(1, most)) for most in (5, 5, 4))
    values = st.lists(st.integers(0, 65535), min_size=height * width * channels, max_size=height * width * channels)
    pixels = np.array(data.draw(values), np.uint16).reshape(height, width, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels
    folder = folder_of(tmp_path_factory.mktemp("deep") / "x", png(pixels, data.draw(st.booleans())))
    np.testing.assert_array_equal(read_images(folder)[0], pixels)


@pytest.mark.parametrize("bits, colour", [kind for kind in KINDS if kind[0] == 8 or kind[1] == "grey"])
def test_a_folder_that_is_written_is_read_as_the_same_array(tmp_path: Path, bits: int, colour: str) -> None:
    for case, images in enumerate((picture(bits, colour)[None], np.stack([picture(bits, colour) & 1] * 2))):
        write_images(tmp_path / str(case), images)
        found = read_images(tmp_path / str(case))
        assert found.dtype == images.dtype
        np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("colour", ["grey + alpha", "RGB", "RGBA"])
def test_what_png_files_do_not_keep_is_refused_by_name(tmp_path: Path, colour: str) -> None:
    with pytest.raises(DataError, match=f"16-bit {colour}".replace("+", r"\+") + ".*write to .npy"):
        write_images(tmp_path / "x", picture(16, colour)[None])
    assert not any(tmp_path.iterdir())


def test_colour_under_alpha_0_stays(tmp_path: Path) -> None:
    for colour in ("grey + alpha", "RGBA"):
        images = picture(8, colour)[None].copy()
        images[..., -1] = 0
        write_images(tmp_path / colour, images)
        np.testing.assert_array_equal(read_images(tmp_path / colour), images)


# TIFF


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("bits, colour", [kind for kind in KINDS if kind[0] == 8 or kind[1] == "grey"])
def test_a_tiff_gives_the_values_that_it_holds(tmp_path: Path, bits: int, colour: str, compression: str | None) -> None:
    pixels = picture(bits, colour)
    found, kind = read_picture(tiff(tmp_path / "a.tif", pixels, compression=compression))
    assert kind == f"{bits}-bit {colour}" and found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


def test_big_endian_tiffs_give_the_values_that_they_hold(tmp_path: Path) -> None:
    pixels = picture(16, "grey")
    tags = {256: 11, 257: 9, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 9, 279: pixels.nbytes}
    body = pixels.astype(">u2").tobytes()
    entries = b"".join(
        tag.to_bytes(2, "big") + b"\0\4\0\0\0\1" + value.to_bytes(4, "big") for tag, value in tags.items()
    )
    directory = len(tags).to_bytes(2, "big") + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"MM\0*" + (8 + len(body)).to_bytes(4, "big") + body + directory)
    found, _ = read_picture(tmp_path / "a.tif")
    assert found.dtype == np.uint16 and found.dtype.isnative
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("compression", [None, "group4"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_1_is_white_in_a_1_bit_tiff(tmp_path: Path, photometric: int, compression: str | None) -> None:
    pixels = picture(8, "grey") > 127
    path = tiff(tmp_path / "a.tif", pixels, compression=compression)
    with Image.open(path) as image:
        inverted = image.tag_v2[262] != photometric
    found, kind = read_picture(retag(path, 262, photometric))
    assert kind == "1-bit grey" and found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels ^ inverted)


def test_tiffs_that_an_array_cannot_keep_are_refused_by_name(tmp_path: Path) -> None:
    grey, rgb, rgba = picture(8, "grey"), picture(8, "RGB"), picture(8, "RGBA")
    path = tmp_path / "a.tif"
    refused = {
        "2 pages": lambda: tiff(path, grey, save_all=True, append_images=[Image.fromarray(grey)]),
        "compression 7": lambda: tiff(path, rgb, compression="jpeg"),
        "orientation 6": lambda: tiff(path, grey, tiffinfo={274: 6}),
        "predictor 3": lambda: retag(tiff(path, grey, tiffinfo={317: 2}, compression="tiff_lzw"), 317, 3),
        "fill order 2": lambda: retag(tiff(path, grey, tiffinfo={266: 1}, compression="tiff_lzw"), 266, 2),
        "SubIFDs": lambda: tiff(path, grey, tiffinfo={330: 8}),
        "photometric 3": lambda: Image.fromarray(grey).convert("P").save(path),
        "photometric 0": lambda: retag(tiff(path, grey), 262, 0),
        "photometric 5": lambda: Image.fromarray(rgb).convert("CMYK").save(path),
        "plane of its own": lambda: retag(tiff(path, rgb), 284, 2),
        "real numbers": lambda: tiff(path, grey.astype(np.float32)),
        "signed": lambda: retag(tiff(path, grey, tiffinfo={339: 1}, compression="tiff_lzw"), 339, 2),
        r"extra samples \(1,\)": lambda: retag(tiff(path, rgba), 338, 1),
    }
    for name, make in refused.items():
        make()
        with pytest.raises(DataError, match=f"{name}.*expected"):
            read_picture(path)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits"])
def test_every_truncation_of_a_tiff_is_an_error(tmp_path: Path, compression: str | None) -> None:
    whole = tiff(tmp_path / "a.tif", picture(16, "grey"), compression=compression).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.tif").write_bytes(whole[:size])
        with pytest.raises(DataError):
            read_picture(tmp_path / "a.tif")


@given(st.data())
def test_damaged_tiffs_raise_nothing_but_data_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.tif"
    compression = data.draw(st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate"]))
    payload = bytearray(tiff(path, picture(8, "RGB", 4, 4), compression=compression).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(payload)
    try:
        read_picture(path)
    except DataError as error:
        assert "\n" not in str(error)


def test_what_pillow_does_not_know_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = retag(tiff(tmp_path / "a.tif", picture(8, "RGBA")), 262, 5)
    with pytest.raises(DataError, match="a.tif is damaged or of a kind that Pillow does not know") as caught:
        read_picture(path)
    assert "BufferedReader" not in str(caught.value)


# Folders


def test_pngs_and_tiffs_of_one_kind_may_be_in_one_folder(tmp_path: Path) -> None:
    first, second = picture(16, "grey"), picture(16, "grey", seed=1)
    folder = folder_of(tmp_path / "x", png(first))
    tiff(folder / "1.tiff", second)
    np.testing.assert_array_equal(read_images(folder), [first, second])


def test_pictures_of_several_sizes_are_a_list_and_no_array(tmp_path: Path) -> None:
    pictures = [picture(8, "RGB", height, 3 + height) for height in (9, 2, 5)]
    folder = folder_of(tmp_path / "x", *map(png, pictures))
    for found, expected in zip(read_pictures(folder), pictures):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        DataError, match=r"1.png is 8-bit RGB of shape \(2, 5, 3\), but 0.png 8-bit RGB of \(9, 12, 3\)"
    ):
        read_images(folder)


@pytest.mark.parametrize("read", [read_images, read_pictures])
@pytest.mark.parametrize("other", [(8, "grey"), (16, "RGB"), (8, "RGBA")])
def test_pictures_of_two_kinds_are_refused_by_their_names(tmp_path: Path, read, other: tuple[int, str]) -> None:
    folder = folder_of(tmp_path / "x", png(picture(8, "RGB")), png(picture(*other)))
    with pytest.raises(DataError) as caught:
        read(folder)
    assert f"1.png is {other[0]}-bit {other[1]}" in str(caught.value) and "0.png 8-bit RGB" in str(caught.value)


def test_the_pictures_of_an_array_file_are_its_rows(tmp_path: Path) -> None:
    images = random(16, 3, 4, 5)
    np.save(tmp_path / "a.npy", images)
    found = read_pictures(tmp_path / "a.npy")
    assert isinstance(found, list) and found[0].dtype == np.uint16
    np.testing.assert_array_equal(found, images)


def test_a_single_picture_is_no_folder_of_pictures(tmp_path: Path) -> None:
    for path in (tiff(tmp_path / "a.tif", picture(8, "grey")), tmp_path / "a.png"):
        path.with_suffix(".png").write_bytes(png(picture(8, "grey")))
        with pytest.raises(DataError, match="folder"):
            read_images(path)


# Arrays of 16 bits


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "pngs"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_uint16_of_either_byte_order_comes_back_unchanged(tmp_path: Path, name: str, order: str) -> None:
    images = random(16, 3, 4, 5)
    write_images(tmp_path / name, images.astype(order))
    found = read_images(tmp_path / name)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, images)


def test_a_big_endian_array_becomes_native_with_the_same_values(tmp_path: Path) -> None:
    images = random(16, 3, 4, 5)
    np.save(tmp_path / "a.npy", images.astype(">u2"))
    for found in (read_images(tmp_path / "a.npy"), as_images(images.astype(">u2"))):
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, images)


def test_a_npy_in_blocks_keeps_16_bits(tmp_path: Path) -> None:
    images = random(16, 7, 4, 5)
    write_npy(tmp_path / "a.npy", iter([images[:4], images[4:].astype(">u2")]))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), images)


def test_idx_takes_no_16_bits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="uint16.*npy"):
        write_images(tmp_path / "a.idx", random(16, 3, 4, 5))
    assert not any(tmp_path.iterdir())


def test_a_read_of_bytes_that_are_no_picture_names_the_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", b"no picture")
    with pytest.raises(DataError, match="0.png is damaged"):
        read_images(folder)
