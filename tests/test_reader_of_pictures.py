"""Files of pictures need no mcbits: the reader of docs/ decodes what mcbits wrote, and writes the same files back."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus
import mcbits_reader as reader
import numpy as np
import pytest
from builders import frozen_pixels, smooth_pictures
from numpy.typing import NDArray
from PIL import Image

from mcbits import compress
from mcbits.archive import writing
from mcbits.archive.collection import Collection
from mcbits.archive.gathering import Family
from mcbits.archive.picture_blocks import Settings
from mcbits.archive.pictures import compress_pictures, knowing, of_array
from mcbits.archive.writing import Chosen, write_pictures
from mcbits.exact import packing
from mcbits.exact.model_io import ModelFile
from mcbits.images.folders import entries
from mcbits.images.png import write_png
from mcbits.images.wrappers import FILE, FRAMED, PNG, Unwrapped, unwrap
from mcbits.latents.frozen import FrozenModel

READER = Path(reader.__file__)
MODELS = corpus.models()
PIXELS = [
    MODELS["grey"],
    frozen_pixels(2),
    frozen_pixels(3),
    frozen_pixels(4),
    frozen_pixels(symbols=1 << 16, unit=5),
    MODELS["coins"],
    MODELS["palette"],
]
SHAPE = (5, 6)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(READER), *map(str, arguments)], capture_output=True, text=True)


def smooth(*shape: int, symbols: int = 256, seed: int = 0) -> NDArray[Any]:
    dtype = np.uint16 if symbols > 256 else np.uint8
    return smooth_pictures((1, *shape), symbols, seed)[0].astype(dtype)


def png(samples: NDArray[Any], depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    out = io.BytesIO()
    write_png(out, samples, depth, colour, [*chunks, (b"IDAT", b""), (b"tEXt", b"after\0the samples")])
    return out.getvalue()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def pngs() -> dict[bytes, bytes]:
    """A PNG of each colour type and depth."""
    found = {}
    for colour, channels in ((0, 1), (2, 3), (3, 1), (4, 2), (6, 4)):
        for depth in {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16)):
            shape = SHAPE if channels == 1 else (*SHAPE, channels)
            samples = smooth(*shape, symbols=1 << depth, seed=depth)
            palette = [(b"PLTE", bytes(range(192)) * 4)] if colour == 3 else []
            found[b"%d-%d.png" % (colour, depth)] = png(samples, depth, colour, *palette, (b"gAMA", b"\0\0\xb1\x8f"))
    return found


def plain_files() -> dict[bytes, bytes]:
    """A file of each format that is rebuilt byte for byte, in each of its layouts."""
    x, rgba, deep = smooth(*SHAPE, 3), smooth(*SHAPE, 4), smooth(*SHAPE, symbols=1 << 16)
    grey, bits = x[..., 0].copy(), smooth(*SHAPE, symbols=2)
    pages = [Image.fromarray(grey + i) for i in range(3)]
    planes = np.moveaxis(x, 2, 0).tobytes()
    tags = {256: 6, 257: 5, 258: 8, 259: 1, 262: 2, 273: 8, 277: 3, 278: 5, 279: len(planes), 284: 2}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return {
        b"24.bmp": saved(Image.fromarray(x), "BMP"),
        b"32.bmp": saved(Image.fromarray(rgba), "BMP"),
        b"8.bmp": saved(Image.fromarray(grey), "BMP"),
        b"1.bmp": saved(Image.fromarray(bits.astype(bool)), "BMP"),
        b"bits.pbm": b"P4\n# by hand\n6 5\n" + np.packbits(bits, axis=1).tobytes(),
        b"grey.pgm": b"P5 6 5 255\n" + grey.tobytes() + b"and more",
        b"deep.pgm": b"P5\n6 5\n65535\n" + deep.astype(">u2").tobytes(),
        b"colour.ppm": b"P6 6 5 255\n" + x.tobytes(),
        b"stack.idx": b"\0\0\x08\3" + struct.pack(">III", 2, *SHAPE) + grey.tobytes() * 2,
        b"deep.npy": npy(deep),
        b"big.npy": npy(deep.astype(">u2")),
        b"stack.npy": npy(np.stack([grey, grey + 1])),
        b"bits.tif": saved(Image.fromarray(bits.astype(bool)), "TIFF", description="a page"),
        b"pages.tif": saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
        b"planes.tif": b"II*\0" + struct.pack("<I", 8 + len(planes)) + planes + struct.pack("<H", len(tags)) + rows + bytes(4),
    }


def others() -> dict[bytes, bytes]:
    """Files that are no pictures, or damaged ones, and names that are hard to keep."""
    return {
        b"notes.txt": b"a line\n" * 40,
        b"nothing": b"",
        b"deep/er/\xff\xfe \n.bin": bytes(range(256)),
        b"damaged.png": png(smooth(*SHAPE), 8, 0)[:-3],
        b"scan09.png": png(smooth(*SHAPE, seed=3), 8, 0),
        b"scan10.png": png(smooth(*SHAPE, seed=4), 8, 0),
        b"scan11.png": png(smooth(*SHAPE, seed=3), 8, 0),
    }


def folder_of(path: Path, files: dict[bytes, bytes]) -> Path:
    (path / "an empty" / "folder").mkdir(parents=True)
    for name, data in files.items():
        target = os.path.join(os.fsencode(path), name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
    return path


def files_below(path: Path) -> dict[bytes, bytes]:
    found = {}
    for folder, folders, names in os.walk(os.fsencode(path)):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.relpath(file.name, os.fsencode(path))] = file.read()
        if not folders and not names:
            found[os.path.relpath(folder, os.fsencode(path)) + b"/"] = b""
    return found


def opened(data: bytes) -> Unwrapped:
    return unwrap(np.frombuffer(data, np.uint8))


def same(restored: dict[bytes, bytes], given: dict[bytes, bytes]) -> None:
    """Files are the same: PNGs in samples, chunks and their order, others in every byte."""
    assert restored.keys() == given.keys()
    for name, data in given.items():
        before, after = opened(data), opened(restored[name])
        if before.way == PNG:
            assert after.wrapper == before.wrapper
            np.testing.assert_array_equal(after.pixels, before.pixels)
        else:
            assert restored[name] == data, name


@pytest.fixture
def always_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that a model codes is never stored, though that would be smaller."""
    before = writing._Writer._coded

    def coded(self: Any, *given: Any) -> Any:
        return replace(found := before(self, *given), stored=bytes(len(found.payload) + (1 << 20)))

    monkeypatch.setattr(writing._Writer, "_coded", coded)


def ways_and_models(blob: bytes) -> tuple[set[int], set[int]]:
    held = reader.Collection(blob)
    return {form.way for form in held.entries}, {block.model for block in held.blocks}


@pytest.mark.usefixtures("always_coded")
def test_a_folder_of_every_kind_comes_back_in_every_file(tmp_path: Path) -> None:
    given = {**pngs(), **plain_files(), **others()}
    with entries(folder_of(tmp_path / "in", given)) as found:
        compress_pictures(found, tmp_path / "x.mcb", knowing(PIXELS, embed=True))
    blob = (tmp_path / "x.mcb").read_bytes()
    ways, models = ways_and_models(blob)
    assert ways == {FILE, PNG, FRAMED} and models == set(range(len(models))) and len(models) > 6
    done = run(tmp_path / "x.mcb", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    same(files_below(tmp_path / "out"), {**given, b"an empty/folder/": b""})


def test_stored_blocks_come_back_in_every_file(tmp_path: Path) -> None:
    given = {**pngs(), **plain_files(), **others()}
    with entries(folder_of(tmp_path / "in", given)) as found:
        compress_pictures(found, tmp_path / "x.mcb", lambda *_: None)
    blob = (tmp_path / "x.mcb").read_bytes()
    assert ways_and_models(blob)[1] == {0}
    same(dict(reader.files_of(blob)), {**given, b"an empty/folder/": b""})


def pictures_with(model: FrozenModel, settings: dict[str, Any], shapes: list[tuple[int, ...]], symbols: int) -> bytes:
    """A file of arrays of these shapes (n, h, w, ...) that a model codes."""
    arrays = [smooth(*shape, symbols=symbols, seed=sum(shape)) for shape in shapes]
    items = [entry for array in arrays for entry in of_array(array)]
    out = io.BytesIO()
    write_pictures(out, items, lambda *_: Chosen(model, Settings.of(settings)))
    return out.getvalue()


def agree(blob: bytes, *models: bytes) -> None:
    """The reader decodes the samples that mcbits decodes."""
    held = reader.Collection(blob, *models)
    found = [item for items in held.items() for item in items]
    with Collection(io.BytesIO(blob), corpus.load_frozen(models[0]) if models else None) as expected:
        assert len(found) == len(expected) > 0
        for got, want in zip(found, expected, strict=True):
            assert list(got) == want.ravel().tolist()


FEW = {"coder": "bb-is", "options": {"num_particles": 3}}
NARROW = {"lprec": 16, "bprec": 8, "cond_mprec": 14, "prior_mprec": 5, "log_num_bucket": 4, "prop_mprec": 12, "index_mprec": 10}


@pytest.mark.usefixtures("always_coded")
@pytest.mark.parametrize(
    "name, settings, shapes",
    [
        ("dense", {}, [(5, 8, 8)]),
        ("dense", {"coder": "bb-elbo", "lanes": 3}, [(7, 8, 8)]),
        ("dense", {**FEW, "ramp": 200, "lanes": 2}, [(5, 8, 8)]),
        ("dense", {**FEW, "refinement": {"lr": 0.01, "steps": 2}}, [(2, 8, 8)]),
        ("dense", {"coder": "bb-cis", "options": {"num_particles": 2}, "precisions": NARROW}, [(3, 8, 8)]),
        ("pixel-vae", {**FEW, "lanes": 2}, [(3, *MODELS["pixel-vae"].shape)]),
        ("grey", {"lanes": 3, "precisions": {"lprec": 24, "bprec": 16, "cond_mprec": 20}}, [(4, 5, 6), (2, 7, 3), (1, 6, 4, 1)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_coder_and_setting_is_read(name: str, settings: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    symbols = MODELS[name].num_symbols
    blob = pictures_with(MODELS[name], settings, shapes, symbols)
    assert 0 not in ways_and_models(blob)[1]
    agree(blob)
