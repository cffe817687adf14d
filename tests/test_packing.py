"""A packed model is the same model in fewer bytes, and a damaged or hostile one is a one-line ModelError."""

import contextlib
import hashlib
import json
import lzma
import re
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import frozen_pixels, smooth_pictures

import mcbits
from mcbits.errors import ModelError
from mcbits.exact import packing, stream
from mcbits.exact.model_io import ModelFile, load
from mcbits.latents.frozen import load_frozen

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "format.md").read_text()
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.safetensors*"))


def stored(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def of_text(text: bytes, rest: bytes = b"\0\0\0\0\1") -> bytes:
    """A packed model of this description and these words, well formed."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=packing.DICTIONARY)
    deflated = squeeze.compress(text) + squeeze.flush()
    return packing.MAGIC + packing._leb128(len(deflated)) + deflated + rest


def linear(shape: list[Any]) -> bytes:
    layer = {"frac": 3, "op": "linear", "weight": shape}
    head = {"inputs": [{"bound": 1, "frac": 0, "shape": [1]}], "layers": [layer], "outputs": []}
    return of_text(json.dumps({"meta": {}, "networks": {"x": head}}).encode())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name.split(".")[0])
def test_packing_gives_back_every_integer_shape_and_field(path: Path) -> None:
    file = ModelFile(stored(path))
    packed = ModelFile(packing.pack(file.networks(), file.meta))
    assert packed.meta == file.meta and packed._specs == file._specs
    assert packed._tensors.keys() == file._tensors.keys()
    for key, tensor in file._tensors.items():
        assert packed._tensors[key].dtype == tensor.dtype
        np.testing.assert_array_equal(packed._tensors[key], tensor)
    assert len(packed.data) < 0.9 * len(file.data)


def test_a_packed_model_codes_the_same_payload_and_has_an_id_of_its_own() -> None:
    plain = frozen_pixels(3)
    packed = plain.packed()
    assert packed.packed() is packed and packed.model_id == hashlib.sha256(packed.data).hexdigest() != plain.model_id
    assert load_frozen(packed.data).packed().data == packed.data == load_frozen(plain.data).packed().data
    x = smooth_pictures((2, 9, 7, 3)).astype(np.uint8)
    blob = mcbits.compress(x, packed, "simple", embed_model=True)
    np.testing.assert_array_equal(mcbits.decompress(blob), x)
    rest = [
        mcbits.compress(x, model, "simple").partition(bytes.fromhex(model.model_id))[2] for model in (plain, packed)
    ]
    assert rest[0][8:] == rest[1][8:]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_description_of_a_pixel_model_weighs_below_100_bytes(channels: int) -> None:
    data = frozen_pixels(channels).packed().data
    assert data[5] < 100


@pytest.mark.parametrize("seed", range(6))
def test_any_matrix_of_integers_comes_back(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 20, [1, 2, 5][seed % 3]).tolist())
    scale = np.exp2(generator.integers(0, 50, shape[-1]) / (1 + seed))
    x = np.rint(generator.standard_cauchy(shape) * scale).clip(-(2**52), 2**52).astype(np.int64) << seed % 3
    writer = stream.Writer()
    packing._write_tensor(writer, x, "weight", [])
    reader = stream.Reader(writer.data(), 1 << 20)
    np.testing.assert_array_equal(packing._read_tensor(reader, shape, "weight", []), x)
    reader.end()


def test_steps_that_channels_share_are_not_paid_for_in_each_number() -> None:
    x = np.random.default_rng(0).integers(-100, 101, (40, 30))
    fine, coarse = stream.Writer(), stream.Writer()
    packing._write_tensor(fine, x, "weight", [])
    packing._write_tensor(coarse, x << np.arange(30) % 5, "weight", [])
    assert coarse.cost - fine.cost < 40 * 30 * 0.1 * 2**16


def test_damaged_bytes_are_a_model_error_or_another_model() -> None:
    data = frozen_pixels().packed().data
    for length in range(len(data)):
        with pytest.raises(ModelError):
            load(data[:length])
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(data), 400):
        forged = bytearray(data)
        forged[place] ^= 1 << int(generator.integers(8))
        # The last bits of a number are coded as they are: what tells of damage to them is the id.
        with contextlib.suppress(ModelError):
            assert load(bytes(forged))[2] != hashlib.sha256(data).hexdigest()
    with pytest.raises(ModelError):
        load(data + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        linear([1 << 40, 1 << 40]), linear([1 << 20, 64]), linear([1, -1]), linear([1, True]), linear([]),
        linear([1.5]), linear([1, 1, 1]), of_text(b"{}"), of_text(b"[]"), of_text(b"[" * 60000),
        of_text(b'{"meta":{},"networks":3}'),
        of_text(b" " * (1 << 22)), of_text(b'{"meta":[],"networks":{"x":{}}}'),
        of_text(b'{"meta":{},"networks":{}}', b""),
        packing.MAGIC + b"\xff" * 20, packing.MAGIC,
        of_text(b'{"meta":{},"networks":{"x":{"inputs":[],"layers":[],"tables":{"' + b"9" * 5000 + b'":1}}}}'),
    ],
)  # fmt: skip
def test_a_hostile_description_is_a_model_error_at_once(data: bytes) -> None:
    tracemalloc.start()
    begin = time.monotonic()
    with pytest.raises(ModelError):
        load(data)
    assert time.monotonic() - begin < 2 and tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_the_page_has_the_dictionary_and_the_numbers_in_use() -> None:
    _, lines = re.findall(r"```dictionary\n(.*?)```", PAGE, re.DOTALL)
    assert lines.replace("\n", "").encode() == packing.DICTIONARY
    assert f"{len(packing.DICTIONARY)} bytes in ASCII" in PAGE


def test_reading_a_packed_model_needs_no_torch() -> None:
    code = "import sys, mcbits.exact.packing; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
