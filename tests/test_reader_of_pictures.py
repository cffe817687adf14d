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
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mcbits import compress
from mcbits.archive import writing
from mcbits.archive.collection import Collection
from mcbits.archive.index import START, Form, Index, Kind
from mcbits.archive.options import CodingOptions
from mcbits.archive.picture_blocks import Settings
from mcbits.archive.pictures import compress_pictures, knowing, of_array
from mcbits.archive.writing import Chosen, write_pictures
from mcbits.errors import FormatError
from mcbits.exact import packing
from mcbits.exact.model_io import ModelFile
from mcbits.images.folders import entries
from mcbits.images.png import write_png
from mcbits.images.wrappers import FILE, FRAMED, PNG, Unwrapped, rewrap, unwrap
from mcbits.latents.frozen import FrozenModel

READER = Path(reader.__file__)
MODELS = corpus.models()
PIXELS = [
    MODELS["palette"],
    MODELS["coins"],
    MODELS["grey"],
    frozen_pixels(2),
    frozen_pixels(3),
    frozen_pixels(4),
    frozen_pixels(symbols=1 << 16, unit=5),
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
    begin = struct.pack(f"<4sI{len(planes)}s", b"II*\0", 8 + len(planes), planes)
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
        b"planes.tif": begin + struct.pack("<H", len(tags)) + rows + bytes(4),
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


def same(restored: dict[bytes, bytes], files: dict[bytes, bytes]) -> None:
    """Files are the same: PNGs in samples, chunks and their order, others in every byte."""
    assert restored.keys() == files.keys()
    for name, data in files.items():
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

    def coded(self: Any, *arguments: Any) -> Any:
        return replace(found := before(self, *arguments), stored=bytes(len(found.payload) + (1 << 20)))

    monkeypatch.setattr(writing._Writer, "_coded", coded)


def ways_and_models(blob: bytes) -> tuple[set[int], set[int]]:
    held = reader.Collection(blob)
    return {form.way for form in held.entries}, {block.model for block in held.blocks}


@pytest.mark.usefixtures("always_coded")
def test_a_folder_of_every_kind_comes_back_in_every_file(tmp_path: Path) -> None:
    files = {**pngs(), **plain_files(), **others()}
    with entries(folder_of(tmp_path / "in", files)) as found:
        compress_pictures(found, tmp_path / "x.mcb", knowing(PIXELS, CodingOptions.of(embed_model=True)))
    blob = (tmp_path / "x.mcb").read_bytes()
    ways, models = ways_and_models(blob)
    assert ways == {FILE, PNG, FRAMED} and models == set(range(len(models))) and len(models) > 6
    done = run(tmp_path / "x.mcb", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    same(files_below(tmp_path / "out"), {**files, b"an empty/folder/": b""})


def test_stored_blocks_come_back_in_every_file(tmp_path: Path) -> None:
    files = {**pngs(), **plain_files(), **others()}
    with entries(folder_of(tmp_path / "in", files)) as found:
        compress_pictures(found, tmp_path / "x.mcb", lambda *_: None)
    blob = (tmp_path / "x.mcb").read_bytes()
    assert ways_and_models(blob)[1] == {0}
    same(dict(reader.files_of(blob)), {**files, b"an empty/folder/": b""})


def pictures_with(model: FrozenModel, coding: dict[str, Any], shapes: list[tuple[int, ...]], symbols: int) -> bytes:
    """A file of arrays of these shapes (n, h, w, ...) that a model codes."""
    arrays = [smooth(*shape, symbols=symbols, seed=sum(shape)) for shape in shapes]
    items = [entry for array in arrays for entry in of_array(array)]
    out = io.BytesIO()
    write_pictures(out, items, lambda *_: Chosen(model, Settings.of(coding)))
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
NARROW = {
    "lprec": 16,
    "bprec": 8,
    "cond_mprec": 14,
    "prior_mprec": 5,
    "log_num_bucket": 4,
    "prop_mprec": 12,
    "index_mprec": 10,
}


@pytest.mark.usefixtures("always_coded")
@pytest.mark.parametrize(
    "name, coding, shapes",
    [
        ("dense", {}, [(5, 8, 8)]),
        ("dense", {"coder": "bb-elbo", "lanes": 3}, [(7, 8, 8)]),
        ("dense", {**FEW, "ramp": 200, "lanes": 2}, [(5, 8, 8)]),
        ("dense", {**FEW, "refinement": {"lr": 0.01, "steps": 2}}, [(2, 8, 8)]),
        ("dense", {"coder": "bb-cis", "options": {"num_particles": 2}, "precisions": NARROW}, [(3, 8, 8)]),
        ("pixel-vae", {**FEW, "lanes": 2}, [(3, 5, 6)]),
        ("coins", {"lanes": 2}, [(3, 5, 6, 2)]),
        ("palette", {}, [(1, 6, 4, 1), (2, 6, 4)]),
        ("categorical", {"coder": "stochastic"}, [(3, 3, 4)]),
        (
            "grey",
            {"lanes": 3, "precisions": {"lprec": 24, "bprec": 16, "cond_mprec": 20}},
            [(4, 5, 6), (2, 7, 3), (1, 6, 4, 1)],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_coder_and_setting_is_read(name: str, coding: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    symbols = MODELS[name].num_symbols
    blob = pictures_with(MODELS[name], coding, shapes, symbols)
    assert 0 not in ways_and_models(blob)[1]
    agree(blob)


@pytest.mark.usefixtures("always_coded")
def test_several_blocks_and_kinds_and_tables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_PICTURES", 3)
    sparse = (smooth(4, 30, 30, symbols=5).astype(np.uint16) * 1000).astype(np.uint16)
    pair = np.where(smooth(2, 5, 6, symbols=2), 200, 7).astype(np.uint8)
    arrays = [sparse, pair, smooth(4, 6, 5), smooth(3, 5, 6), smooth(4, 6, 5)]
    out = io.BytesIO()
    write_pictures(
        out,
        [entry for array in arrays for entry in of_array(array)],
        knowing(PIXELS, CodingOptions.of(embed_model=True)),
    )
    held = reader.Collection(out.getvalue())
    assert sum(kind.table is not None for kind in held.kinds) == 2 and any(held.sources)
    assert len(held.blocks) > len(held.kinds) and max(map(len, held.groups())) == 2
    assert {block.model for block in held.blocks} == {1, 2}
    agree(out.getvalue())


@pytest.mark.usefixtures("always_coded")
def test_a_model_kept_outside_is_found_by_its_id() -> None:
    out, model = io.BytesIO(), MODELS["grey"]
    write_pictures(out, of_array(smooth(2, 5, 6)), knowing([model], CodingOptions.of(embed_model=False)))
    agree(out.getvalue(), model.data)
    held = reader.Collection(out.getvalue(), MODELS["rgb"].data, model.data)
    assert [list(item) for items in held.items() for item in items] == smooth(2, 5, 6).reshape(2, -1).tolist()
    with pytest.raises(reader.Damaged, match="needs the model whose id begins with"):
        reader.Collection(out.getvalue(), MODELS["rgb"].data).items()


def integers_of(networks: dict[str, reader.Network]) -> dict[str, Any]:
    """All that a network computes with."""
    return {
        name: (
            network.known,
            {k: (list(w.shape), list(w.flat), list(bias)) for k, (w, bias) in network.weights.items()},
            {k: list(table) for k, table in network.tables.items()},
            [layer.get("shifts") for layer in network.layers],
        )
        for name, network in networks.items()
    }


@pytest.mark.parametrize("name", [*MODELS, "networks"])
def test_a_packed_model_is_read_with_all_its_integers(name: str) -> None:
    stored = corpus.lzma.decompress(corpus.NETWORKS.read_bytes()) if name == "networks" else corpus.model_bytes(name)
    file = ModelFile(stored)
    (meta, networks), (packed_meta, packed) = reader.load(stored), reader.load(packing.pack(file.networks(), file.meta))
    assert meta == packed_meta and integers_of(networks) == integers_of(packed)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_arrays_become_npy_files_of_their_type(tmp_path: Path, dtype: str) -> None:
    arrays = [smooth(3, 5, 6, symbols=2).astype(dtype), smooth(1, 5, 6, 3, symbols=2).astype(dtype)]
    items = [entry for array in arrays for entry in of_array(array)]
    compress_pictures(items, tmp_path / "x.mcb", lambda *_: None)
    assert run(tmp_path / "x.mcb", "-o", tmp_path / "out").returncode == 0
    for i, array in enumerate(arrays):
        found = np.load(tmp_path / "out" / f"{i}.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "name, images",
    [("grey", smooth(2, 5, 6)), ("rgba", smooth(2, 5, 6, 4)), ("grey", smooth(2, 5, 6, symbols=2).astype(bool))],
    ids=["grey", "rgba", "bool"],
)
def test_images_of_version_1_become_pngs_with_a_packed_model(tmp_path: Path, name: str, images: NDArray[Any]) -> None:
    model = MODELS[name].packed()
    (tmp_path / "x.mcb").write_bytes(compress(images, model))
    (tmp_path / "model").write_bytes(model.data)
    done = run(tmp_path / "x.mcb", "-o", tmp_path / "out", tmp_path / "model")
    assert (done.returncode, done.stderr) == (0, "")
    for i, picture in enumerate(images):
        np.testing.assert_array_equal(opened((tmp_path / "out" / f"{i}.png").read_bytes()).pixels[0], picture)
    assert run(tmp_path / "x.mcb", tmp_path / "model").stdout.startswith(f"2 {list(images.shape[1:])} ")


def test_the_command_lists_names_and_sizes_without_a_model(tmp_path: Path) -> None:
    files = {b"a.png": png(smooth(*SHAPE, 3), 8, 2), b"b\n.txt": b"text", b"\xff": b""}
    with entries(folder_of(tmp_path / "in", files)) as found:
        compress_pictures(found, tmp_path / "x.mcb", lambda *_: None)
    lines = ["a.png  1 x 5 x 6 x 3 uint8", "an empty/folder/  0 bytes", r"'b\n.txt'  4 bytes", r"\xff  0 bytes"]
    assert run(tmp_path / "x.mcb").stdout.splitlines() == lines


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    compress_pictures(of_array(smooth(1, 5, 6)), tmp_path / "x.mcb", lambda *_: None)
    (tmp_path / "out").mkdir()
    done = run(tmp_path / "x.mcb", "-o", tmp_path / "out")
    assert done.returncode == 1 and "exists" in done.stderr and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", [b"", b"/a", b"a//b", b"..", b"a/../b", b"a/.", b"a\0", b"/", b"./a"])
def test_names_that_lead_out_are_refused_by_the_reader(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(reader.Damaged, match="leads out"):
        reader.write(tmp_path / "out", [(b"good", b""), (name, b"")])
    assert not list(tmp_path.iterdir())


def test_the_reader_writes_no_file_twice(tmp_path: Path) -> None:
    with pytest.raises(reader.Damaged, match="one name"):
        reader.write(tmp_path / "out", [(b"a", b"1"), (b"a", b"2")])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("always_coded")
def test_the_reader_believes_no_flipped_bit_of_a_collection() -> None:
    blob = pictures_with(MODELS["grey"], {"lanes": 2}, [(3, 3, 4)], 256)
    for bit in range(0, 8 * len(blob), 3):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((reader.Damaged, zlib.error)):
            reader.Collection(bytes(damaged)).items()


def test_the_dictionary_of_packed_models_is_that_of_the_reader() -> None:
    assert reader.PACKED_DICTIONARY == packing.DICTIONARY


def chunks(data: bytes) -> list[bytes]:
    """The chunks of a PNG, each with its checksum, but those of the samples as one that is empty."""
    found, at = [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunk = data[at:end] if data[at + 4 : at + 8] != b"IDAT" else b""
        found += [chunk] if chunk or found[-1] else []
        at = end
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_reader_takes_the_wrappers_that_mcbits_takes(data: st.DataObject) -> None:
    got = opened(data.draw(st.sampled_from([*pngs().values(), *plain_files().values()])))
    wrapper = bytearray(got.wrapper)
    for _ in range(data.draw(st.integers(0, 2))):
        wrapper[data.draw(st.integers(0, min(30, len(wrapper)) - 1))] = data.draw(st.integers(0, 255))
    out, items = io.BytesIO(), [picture.ravel().tolist() for picture in got.pixels]
    try:
        rewrap(out, got.pixels, got.way, bytes(wrapper))
    except FormatError:
        with pytest.raises(reader.Damaged):
            reader.restored(got.way, got.pixels.shape[1:], bytes(wrapper), items)
        return
    found = reader.restored(got.way, got.pixels.shape[1:], bytes(wrapper), items)
    if got.way == FRAMED:
        assert found == out.getvalue()
    else:
        assert chunks(found) == chunks(out.getvalue())
        before, after = opened(out.getvalue()), opened(found)
        assert before.way == after.way == FILE or np.array_equal(before.pixels, after.pixels)


@given(st.lists(st.text("a/.0189\n\xff", max_size=22).map(lambda text: text.encode("latin-1")), max_size=20))
def test_names_of_any_bytes_and_numbers_are_read(names: list[bytes]) -> None:
    names += [b"%b%03d.png" % (name, i) for name in names for i in (8, 9, 10, 999, 1000)]
    index = Index(kinds=[Kind("bytes")], forms=[Form(0, 0, FILE, 0)], names=names)
    index.entry_forms, index.sources = [0] * len(names), [0] * len(names)
    assert reader.Collection(START + index.pack()).names == names
