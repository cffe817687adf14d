"""A file of a user's folder is rebuilt: plain formats byte for byte, PNGs sample for sample with all their chunks."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mcbits.errors import DataError, FormatError
from mcbits.images.folders import checked_name, entries, restoring, write_entry
from mcbits.images.png import check_png, write_png
from mcbits.images.wrappers import FILE, FRAMED, PNG, Unwrapped, rewrap, unwrap

RNG = np.random.default_rng(7)
SIZES = [(1, 1), (1, 9), (9, 1), (5, 8), (13, 17)]


def opened(data: bytes, metadata: bool = True) -> Unwrapped:
    return unwrap(np.frombuffer(data, np.uint8), metadata)


def rebuilt(got: Unwrapped) -> bytes:
    out = io.BytesIO()
    write_entry(out, got.way, got.wrapper, [got.pixels])
    return out.getvalue()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(samples: NDArray[Any], depth: int, colour: int, chunks: list[tuple[bytes, bytes]] | None = None) -> bytes:
    out = io.BytesIO()
    write_png(out, samples, depth, colour, [*(chunks or []), (b"IDAT", b"")])
    return out.getvalue()


def samples(size: tuple[int, int], depth: int, channels: int) -> NDArray[Any]:
    shape = size if channels == 1 else (*size, channels)
    return RNG.integers(0, 1 << depth, shape).astype(np.uint16 if depth == 16 else np.uint8)


KINDS = [(d, 0, 1) for d in (1, 2, 4, 8, 16)] + [(d, 3, 1) for d in (1, 2, 4, 8)]
KINDS += [(d, colour, channels) for d in (8, 16) for colour, channels in ((2, 3), (4, 2), (6, 4))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "colour", "channels"), KINDS)
def test_a_png_of_every_kind_comes_back(depth: int, colour: int, channels: int, size: tuple[int, int]) -> None:
    x = samples(size, depth, channels)
    palette = [(b"PLTE", bytes(range(3 << depth if depth < 8 else 3)) * (1 if depth < 8 else 256))]
    data = png(x, depth, colour, palette if colour == 3 else None)
    assert check_png(io.BytesIO(data)) == (depth, colour)
    got = opened(data)
    assert (got.way, got.palette, got.note) == (PNG, colour == 3, "")
    assert np.array_equal(got.pixels[0], x) and got.pixels.dtype == x.dtype
    again = opened(rebuilt(got))
    assert np.array_equal(again.pixels, got.pixels) and again.wrapper == got.wrapper


def test_the_png_written_is_what_other_readers_see() -> None:
    for depth, colour, channels, mode in ((8, 2, 3, "RGB"), (8, 6, 4, "RGBA"), (8, 4, 2, "LA"), (8, 0, 1, "L")):
        x = np.cumsum(samples((40, 50), 2, channels), axis=1).astype(np.uint8)
        with Image.open(io.BytesIO(png(x, depth, colour))) as image:
            assert image.mode == mode and np.array_equal(np.asarray(image), x)


def test_every_chunk_of_a_png_is_kept_in_its_place() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a leaf")
    info.add_itxt("Comment", "grün", "de")
    data = saved(Image.new("RGB", (4, 5), (1, 2, 3)), "PNG", pnginfo=info, dpi=(300, 300), icc_profile=b"profile")
    got = opened(data)
    with Image.open(io.BytesIO(rebuilt(got))) as image:
        image.load()
        assert image.info["Title"] == "a leaf" and image.info["Comment"] == "grün"
        assert image.info["icc_profile"] == b"profile" and round(image.info["dpi"][0]) == 300
    without = opened(data, metadata=False)
    with Image.open(io.BytesIO(rebuilt(without))) as image:
        image.load()
        assert "Title" not in image.info and image.info["icc_profile"] == b"profile"
        assert round(image.info["dpi"][0]) == 300


def test_a_transparent_colour_is_kept() -> None:
    x = samples((6, 7), 8, 3)
    got = opened(png(x, 8, 2, [(b"tRNS", b"\0\1\0\2\0\3")]))
    assert np.array_equal(got.pixels[0], x) and b"tRNS" in rebuilt(got)


def test_a_damaged_or_moving_png_is_kept_as_it_is() -> None:
    data = png(samples((6, 7), 8, 1), 8, 0)
    for damaged in (data[:-5], data + b"x", data.replace(b"IDAT", b"IDAX")):
        got = opened(damaged)
        assert got.way == FILE and "damaged" in got.note and rebuilt(got) == damaged
    frames = [Image.new("L", (4, 4), c) for c in (0, 200)]
    moving = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    got = opened(moving)
    assert got.way == FILE and "frames" in got.note and rebuilt(got) == moving


def plain_files() -> dict[str, bytes]:
    x = samples((7, 9), 8, 3)
    grey, deep, bits = samples((7, 9), 8, 1), samples((7, 9), 16, 1), samples((7, 9), 1, 1)
    files = {
        "24.bmp": saved(Image.fromarray(x), "BMP"),
        "8.bmp": saved(Image.fromarray(grey), "BMP", dpi=(200, 200)),
        "32.bmp": saved(Image.fromarray(samples((7, 9), 8, 4)), "BMP"),
        "1.bmp": saved(Image.fromarray(bits.astype(bool)), "BMP"),
        "p4.pbm": b"P4\n# made by hand\n9 7\n" + np.packbits(bits, axis=1).tobytes(),
        "p5.pgm": b"P5 9 7 255\n" + grey.tobytes(),
        "p5-16.pgm": b"P5\n9 7\n65535\n" + deep.astype(">u2").tobytes(),
        "p6.ppm": b"P6\n#a\n#b\n9 7 255\n" + x.tobytes() + b"and more",
        "idx": b"\0\0\x08\3" + struct.pack(">III", 2, 7, 9) + samples((14, 9), 8, 1).tobytes(),
    }
    for name, array in {"g": grey, "rgb": x, "d": deep, "n": samples((14, 9), 8, 1).reshape(2, 7, 9)}.items():
        out = io.BytesIO()
        np.save(out, array)
        files[f"{name}.npy"] = out.getvalue()
    out = io.BytesIO()
    np.save(out, deep.astype(">u2"))
    files["big.npy"] = out.getvalue()
    for name, image in {
        "g": Image.fromarray(grey),
        "rgb": Image.fromarray(x),
        "d": Image.fromarray(deep),
        "b": Image.fromarray(bits.astype(bool)),
    }.items():
        files[f"{name}.tif"] = saved(image, "TIFF", dpi=(300, 300), description="a page")
    pages = [Image.fromarray(samples((7, 9), 8, 1)) for _ in range(3)]
    files["pages.tif"] = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    files["palette.tif"] = saved(Image.fromarray(x).quantize(16), "TIFF")
    return files


@pytest.mark.parametrize("name", plain_files())
def test_a_plain_file_comes_back_byte_for_byte(name: str) -> None:
    data = plain_files()[name]
    got = opened(data)
    assert got.way == FRAMED and rebuilt(got) == data
    assert got.palette == (name == "palette.tif")
    assert got.pixels.shape[0] == {"pages.tif": 3, "n.npy": 2, "idx": 2}.get(name, 1)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_tiff_keeps_its_values_and_tags(compression: str) -> None:
    x = np.cumsum(samples((30, 40), 2, 3), axis=1).astype(np.uint8)
    data = saved(Image.fromarray(x), "TIFF", compression=compression, dpi=(300, 300), software="camera")
    got = opened(data)
    assert got.way == FRAMED and np.array_equal(got.pixels[0], x)
    with Image.open(io.BytesIO(rebuilt(got))) as image:
        assert np.array_equal(np.asarray(image), x) and image.info["dpi"] == (300, 300)
        assert image.tag_v2[305] == "camera"


def test_a_still_gif_keeps_indices_palette_and_transparency() -> None:
    image = Image.fromarray(samples((9, 9), 8, 3)).quantize(8)
    got = opened(saved(image, "GIF", transparency=2))
    assert (got.way, got.renamed, got.palette) == (PNG, ".png", True)
    with Image.open(io.BytesIO(saved(image, "GIF", transparency=2))) as before:
        expected = np.asarray(before.convert("RGBA"))
    with Image.open(io.BytesIO(rebuilt(got))) as after:
        assert np.array_equal(np.asarray(after.convert("RGBA")), expected)


def test_a_lossless_webp_keeps_colour_where_it_is_transparent() -> None:
    x = samples((9, 9), 8, 4)
    x[0, 0, 3] = 0
    got = opened(saved(Image.fromarray(x), "WEBP", lossless=True, exact=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"))
    assert got.way == PNG and np.array_equal(got.pixels[0], x) and b"eXIf" in rebuilt(got)


def test_what_is_no_picture_or_loses_something_is_kept_byte_for_byte() -> None:
    picture = Image.fromarray(samples((9, 9), 8, 3))
    moving = saved(picture, "GIF", save_all=True, append_images=[picture.rotate(90)])
    others = [b"", b"text", b"P5 text", b"BM", b"II*\0", saved(picture, "JPEG"), saved(picture, "WEBP"), moving]
    others += [b"\x93NUMPY\1\0\x10\0{not a header}"]
    out = io.BytesIO()
    np.save(out, np.zeros((3, 3), np.float32))
    for data in [*others, out.getvalue()]:
        got = opened(data)
        assert got.way == FILE and rebuilt(got) == data


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_wrapper_is_believed(data: st.DataObject) -> None:
    files = [*plain_files().values(), png(samples((5, 6), 8, 3), 8, 2, [(b"tEXt", b"a\0b")])]
    got = opened(data.draw(st.sampled_from(files)))
    wrapper = bytearray(got.wrapper)
    for _ in range(data.draw(st.integers(1, 3))):
        wrapper[data.draw(st.integers(0, min(40, len(wrapper)) - 1))] = data.draw(st.integers(0, 255))
    try:
        rewrap(io.BytesIO(), got.pixels, data.draw(st.sampled_from([got.way, PNG, FRAMED])), bytes(wrapper))
    except FormatError:
        return


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_picture_is_rebuilt_or_kept(data: st.DataObject) -> None:
    original = bytearray(data.draw(st.sampled_from(list(plain_files().values()))))
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(0, min(120, len(original)) - 1))] = data.draw(st.integers(0, 255))
    got = opened(bytes(original))
    if got.way in (FILE, FRAMED) and not got.renamed and original[:4] not in (b"II*\0", b"MM\0*"):
        assert rebuilt(got) == bytes(original)


def names(path: Path, follow: bool = False) -> list[bytes]:
    with entries(path, follow) as found:
        return [entry.restored_name for entry in found]


def test_a_folder_is_listed_in_natural_order_with_all_it_holds(tmp_path: Path) -> None:
    for name in ["scan 10.png", "scan 9.png", ".hidden", "b/2.txt", "b/10.txt", "a/x"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    expected = [b".hidden", b"a/x", b"b/2.txt", b"b/10.txt", b"empty/inner/", b"scan 9.png", b"scan 10.png"]
    assert names(tmp_path) == expected


def test_names_of_every_byte_come_back_from_a_folder(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    odd = [bytes([byte]) + b"-" + bytes([byte]) for byte in range(1, 256) if byte != 0x2F]
    for name in odd:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    with entries(tmp_path / "in") as found, restoring(tmp_path / "out") as writer:
        for entry in found:
            got = entry.unwrap()
            writer.add(entry.restored_name, got.way, got.wrapper, [got.pixels])
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted(odd)


def test_links_are_refused_or_followed_and_circles_are_found(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real/a")
    with pytest.raises(DataError, match="--follow"):
        names(tmp_path)
    assert names(tmp_path, follow=True) == [b"link", b"real/a"]
    (tmp_path / "real" / "up").symlink_to("..")
    with pytest.raises(DataError, match="holds it"):
        names(tmp_path, follow=True)


def test_pipes_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is neither"):
        names(tmp_path)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_is_listed_as_its_folder_is(tmp_path: Path, ending: str) -> None:
    content = {"s/10.png": png(samples((4, 5), 8, 1), 8, 0), "s/9.png": b"no picture", "t.txt": b"text"}
    path = tmp_path / f"a{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{ending.removeprefix('.tar').removeprefix('.')}") as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    assert names(path) == [b"s/9.png", b"s/10.png", b"t.txt"]
    with entries(path) as found:
        for entry in reversed(found):
            got = entry.unwrap()
            if got.way == FILE:
                assert rebuilt(got) == content[entry.restored_name.decode()]
        assert found[1].unwrap().way == PNG


def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../out", b"x")
    with pytest.raises(DataError, match="out of the folder"):
        names(tmp_path / "a.zip")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(DataError, match="neither a file"):
        names(tmp_path / "a.tar")


@pytest.mark.parametrize("name", [b"", b"/a", b"a//b", b"..", b"a/../b", b"a/.", b"a\0", b"/"])
def test_names_that_lead_out_are_refused(name: bytes) -> None:
    with pytest.raises(FormatError):
        checked_name(name)


def test_a_folder_that_fails_midway_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"), restoring(tmp_path / "out") as writer:
        for _ in range(2):
            writer.add(b"deep/a.txt", FILE, b"", [np.zeros(3, np.uint8)])
    assert list(tmp_path.iterdir()) == []


def test_a_large_picture_is_no_bomb() -> None:
    header = struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    got = opened(b"\x89PNG\r\n\x1a\n" + chunk)
    assert got.way == FILE
