"""Files of version 2: what goes in comes out, one picture needs one block, and no damage is believed."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcbits import fit
from mcbits.archive.collection import Collection
from mcbits.archive.gathering import Family
from mcbits.archive.index import START, BlockRow, Form, Index, Kind, ModelRow, read_index
from mcbits.archive.writing import Chosen, write_pictures
from mcbits.errors import DataError, FormatError, ModelError
from mcbits.images.wrappers import ARRAY, FILE, Unwrapped
from mcbits.latents.frozen import FrozenModel


class Item:
    def __init__(self, name: bytes, pixels: NDArray[Any], way: int = ARRAY, palette: bool = False) -> None:
        self.restored_name, self._got = name, Unwrapped(pixels, way, b"", palette)

    def unwrap(self, metadata: bool = True) -> Unwrapped:
        return self._got


def smooth(*shape: int, seed: int = 0, scale: float = 4) -> NDArray[np.uint8]:
    steps = np.random.default_rng(seed).normal(size=shape) * scale
    return np.clip(128 + np.cumsum(steps, axis=1), 0, 255).astype(np.uint8)


def document(name: bytes, content: bytes) -> Item:
    return Item(name, np.frombuffer(content, np.uint8), FILE)


def items() -> list[Item]:
    rng = np.random.default_rng(5)
    return [
        *(Item(b"a%d.png" % i, smooth(1, 40 + i % 3, 50, seed=i)) for i in range(6)),
        document(b"notes.txt", b"a line\n" * 99),
        document(b"empty", b""),
        Item(b"again.png", smooth(1, 40, 50)),
        Item(b"page.png", (smooth(1, 60, 70) > 128).astype(np.uint8) * 255),
        Item(b"page1.png", (smooth(1, 60, 70) > 128).astype(np.uint8)),
        Item(b"colour.png", smooth(1, 32, 96).reshape(1, 32, 32, 3)),
        Item(b"deep.tif", smooth(1, 64, 64).astype(np.uint16) * 16 + 2000),
        Item(b"stack.tif", smooth(5, 30, 31)),
        Item(b"icons.png", rng.integers(0, 5, (1, 30, 30)).astype(np.uint8), palette=True),
        Item(b"one.png", np.zeros((1, 1, 1), np.uint8)),
        Item(b"noise.png", rng.integers(0, 256, (1, 50, 50)).astype(np.uint8)),
    ]


@pytest.fixture(scope="module")
def grey() -> FrozenModel:
    return fit(smooth(8, 40, 50), seconds=1).packed()


def only(model: FrozenModel, embed: bool = True) -> Any:
    def model_of(family: Family, held: list[NDArray[Any]], share: float) -> Chosen | None:
        fits = (family.type, family.channels, family.palette, family.pair) == ("uint8", 0, False, ())
        return Chosen(model, embed=embed) if fits else None

    return model_of


@pytest.fixture(scope="module")
def blob(grey: FrozenModel) -> bytes:
    file = io.BytesIO()
    write_pictures(file, items(), only(grey))
    return file.getvalue()


def pictures(given: list[Item]) -> list[NDArray[Any]]:
    return [picture for item in given if item.unwrap().way != FILE for picture in item.unwrap().pixels]


def test_a_mixed_folder_comes_back_in_its_order(blob: bytes) -> None:
    with Collection(io.BytesIO(blob)) as found:
        expected = pictures(items())
        assert len(found) == len(expected)
        for got, want in zip(found, expected, strict=True):
            assert np.array_equal(got, want) and got.dtype == want.dtype
        assert found.names[:2] == ["a0.png", "a1.png"] and "stack.tif[4]" in found.names


def test_every_picture_can_be_had_alone_and_from_the_end(blob: bytes) -> None:
    with Collection(io.BytesIO(blob)) as found:
        expected = pictures(items())
        for i in reversed(range(len(found))):
            assert np.array_equal(found[i], expected[i])
            assert np.array_equal(found[i - len(found)], expected[i])
        assert all(map(np.array_equal, found[3:9:2], expected[3:9:2]))
        with pytest.raises(IndexError):
            found[len(found)]


def test_other_files_come_back_byte_for_byte(blob: bytes) -> None:
    with Collection(io.BytesIO(blob)) as found:
        for number, item in enumerate(items()):
            if item.unwrap().way == FILE:
                got = b"".join(part.tobytes() for part in found.items(number))
                assert got == item.unwrap().pixels.tobytes()


def test_a_repeated_picture_costs_no_block(blob: bytes) -> None:
    index = read_index(io.BytesIO(blob))
    assert [source for source in index.sources if source] == [8]
    with Collection(io.BytesIO(blob)) as found:
        assert found.bits(8) == 0
        assert sum(map(found.bits, range(len(index.names)))) / 8 == pytest.approx(sum(b.length for b in index.blocks))


def test_noise_is_stored_and_costs_little_more_than_its_bytes(grey: FrozenModel) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (1, 700, 700)).astype(np.uint8)
    file = io.BytesIO()
    write_pictures(file, [Item(b"noise.png", noise)], only(grey))
    assert len(file.getvalue()) <= noise.nbytes * 1.001 + 200
    assert not read_index(file).models


def test_a_model_that_does_not_pay_is_left_out(grey: FrozenModel) -> None:
    file = io.BytesIO()
    write_pictures(file, [Item(b"dot.png", smooth(1, 9, 7))], only(grey))
    assert len(file.getvalue()) < 63 + 64
    with Collection(file) as found:
        assert np.array_equal(found[0], smooth(1, 9, 7)[0])


def test_a_picture_with_a_known_model_costs_at_most_64_bytes_more(grey: FrozenModel) -> None:
    file = io.BytesIO()
    written = write_pictures(file, [Item(b"a.png", smooth(1, 40, 50))], only(grey, embed=False))
    assert len(file.getvalue()) - written.ideal / 8 <= 64
    with pytest.raises(ModelError, match="needs the model whose id"):
        read_all(file.getvalue())
    with Collection(file, grey) as found:
        assert np.array_equal(found[0], smooth(1, 40, 50)[0])


def test_a_file_that_changes_meanwhile_is_an_error(grey: FrozenModel) -> None:
    class Changing(Item):
        calls = 0

        def unwrap(self, metadata: bool = True) -> Unwrapped:
            self.calls += 1
            return Unwrapped(smooth(1, 9, 9, seed=self.calls), ARRAY, b"")

    with pytest.raises(DataError, match="changed while"):
        write_pictures(io.BytesIO(), [Changing(b"a.png", smooth(1, 9, 9))], only(grey))


def read_all(data: bytes) -> None:
    with Collection(io.BytesIO(data)) as found:
        found.verify()


def test_every_flipped_bit_of_a_collection_is_an_error(grey: FrozenModel) -> None:
    file = io.BytesIO()
    write_pictures(file, [Item(b"a.png", smooth(3, 20, 21)), document(b"t", b"text")], only(grey))
    data = file.getvalue()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            read_all(bytes(damaged))


def test_every_truncation_of_a_collection_is_an_error(blob: bytes) -> None:
    for size in [*range(400), *range(400, len(blob), 97)]:
        with pytest.raises(FormatError):
            read_index(io.BytesIO(blob[:size]))
    with pytest.raises(FormatError):
        read_index(io.BytesIO(blob + b"\0"))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_index_is_believed_however_its_checksum_is_made(blob: bytes, data: st.DataObject) -> None:
    index = bytearray(_content(blob))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(index) - 1))
        index[place] = data.draw(st.integers(0, 255))
    forged = blob[: _place(blob)[0]] + _ended(bytes(index))
    try:
        found = Collection(io.BytesIO(forged))
        for picture in found:
            assert picture.size < 1 << 22
    except (FormatError, ModelError):
        return


def test_a_claim_of_many_pictures_costs_no_memory() -> None:
    index = Index(
        kinds=[Kind("uint8", 1 << 10, 1 << 10)],
        forms=[Form(0, 1 << 40, ARRAY, 0)],
        names=[b""],
        entry_forms=[0],
        sources=[0],
        blocks=[BlockRow(0, 1 << 40, 0, 0, bytes(4))],
    )
    with pytest.raises(FormatError):
        Index.unpack(_plain(index))


@given(st.lists(st.binary(max_size=12).filter(lambda name: b"\0" not in name), max_size=20))
def test_names_of_every_byte_come_back(names: list[bytes]) -> None:
    n = len(names)
    kinds, forms = [Kind("bytes")], [Form(0, 0, FILE, 0)]
    index = Index(kinds=kinds, forms=forms, names=names, entry_forms=[0] * n, sources=[0] * n)
    assert read_index(io.BytesIO(START + index.pack())) == index


def test_numbered_names_cost_almost_nothing() -> None:
    def size(n: int) -> int:
        names = [b"scan-%06d.png" % i for i in range(n)]
        index = Index(kinds=[Kind("bytes")], forms=[Form(0, 0, FILE, 0)], names=names)
        index.entry_forms, index.sources = [0] * n, [0] * n
        assert read_index(io.BytesIO(START + index.pack())).names == names
        return len(index.pack())

    assert size(20_000) - size(2) < 100


def test_rows_of_models_come_back() -> None:
    rows = [ModelRow(b"12345678", 0), ModelRow(b"abcdefgh", 0, {"coder": "bb-is", "options": {"num_particles": 5}})]
    index = Index(models=rows, levels=[[0, 255], [3, 4, 70]])
    assert read_index(io.BytesIO(START + index.pack())) == index


def _content(blob: bytes) -> bytes:
    begin, length, deflated = _place(blob)
    packed = blob[begin : begin + length]
    return zlib.decompress(packed, -15) if deflated else packed


def _place(blob: bytes) -> tuple[int, int, int]:
    value = digits = 0
    for byte in reversed(blob):
        value |= (byte & 127) << 7 * digits
        digits += 1
        if byte < 128:
            break
    length, deflated = divmod(value, 2)
    return len(blob) - digits - 4 - length, length, deflated


def _ended(content: bytes) -> bytes:
    from mcbits.archive.index import _ending

    return _ending(content)


def _plain(index: Index) -> bytes:
    return _content(START + index.pack())
